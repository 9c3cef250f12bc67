"""The lab's PKCS#11 tokens: there, initialised, private, and seen by other programs through their `env`."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from meshhw_pkcs11 import cryptoki, modules

from meshhw.errors import StateError
from meshhw.lab import opencryptoki
from meshhw.lab.fixtures_pkcs11 import NewToken
from meshhw.lab.pkcs11_token import Pkcs11Token
from meshhw.lab.softhsm import SoftHSM


def labels(module: cryptoki.Module) -> set[str]:
    return {module.token_info(slot).label.decode().strip() for slot in module.slots()}


def test_softhsm_tokens_are_added_while_the_module_runs(new_softhsm: NewToken) -> None:
    first = new_softhsm()
    module = cryptoki.load(first.module_path)
    assert first.label in labels(module)
    second = new_softhsm()
    assert {first.label, second.label} <= labels(module)


def test_another_process_sees_a_softhsm_token_by_its_env(softhsm_token: Pkcs11Token) -> None:
    listed = subprocess.run(
        ["pkcs11-tool", "--module", softhsm_token.module_path, "--list-slots"],
        env={**os.environ, **softhsm_token.env},
        capture_output=True,
        text=True,
        check=True,
    )
    assert softhsm_token.label in listed.stdout


def test_one_process_works_with_one_softhsm_directory(softhsm_token: Pkcs11Token, tmp_path: Path) -> None:
    with SoftHSM(tmp_path) as other, pytest.raises(StateError):
        other.add("elsewhere")
    assert softhsm_token.label in labels(cryptoki.load(softhsm_token.module_path))


LATE = """
from pathlib import Path
import sys
from meshhw_pkcs11 import cryptoki
from meshhw.lab.softhsm import SoftHSM

with SoftHSM(Path(sys.argv[1])) as lab:
    module = cryptoki.load(lab.module_path)
    before = len(module.slots())
    lab.add("late")
    print(before, [bytes(module.token_info(slot).label).strip() for slot in module.slots()][:-1])
"""


def test_softhsm_started_before_with_other_tokens_works_with_these(
    softhsm_token: Pkcs11Token, tmp_path: Path
) -> None:
    """As when a look for any token, in the same process, came before the lab."""
    command, env = [sys.executable, "-c", LATE, str(tmp_path / "mine")], os.environ | softhsm_token.env
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
    others, _, ours = done.stdout.partition(" ")
    assert int(others) > 1
    assert ours == "[b'late']\n"
    assert len(list((tmp_path / "mine" / "tokens").iterdir())) == 1


def test_the_softhsm_directory_is_private_and_goes_at_the_end() -> None:
    with SoftHSM() as lab:
        assert stat.S_IMODE(lab.directory.stat().st_mode) == 0o700
    assert not lab.directory.exists()


def test_pins_are_not_shown(softhsm_token: Pkcs11Token) -> None:
    assert softhsm_token.pin not in repr(softhsm_token)
    assert softhsm_token.so_pin not in repr(softhsm_token)


def test_nss_token(nss_token: Pkcs11Token) -> None:
    spec = modules.at(nss_token.module_path)
    assert nss_token.label in labels(cryptoki.load(spec.path, spec.reserved))
    assert not any(
        nss_token.pin.encode() in path.read_bytes()
        for path in Path(nss_token.module_path).parent.iterdir()
        if path.is_file()
    )


def test_opencryptoki_token(opencryptoki_token: Pkcs11Token) -> None:
    assert opencryptoki_token.label in labels(cryptoki.load(opencryptoki_token.module_path))


ALONE = """
for place in /dev/shm /run /var/lib/opencryptoki; do mount -t tmpfs tmpfs $place || exit 77; done
mkdir /var/lib/opencryptoki/swtok /run/lock
lab() { "$python" -m meshhw --home "$home" lab "$@"; }
python=$0 home=$1 data=/var/lib/opencryptoki/swtok/NVTOK.DAT
"""
"""A system with places of its own for all that is opencryptoki's, where nobody else is disturbed."""
NO_SLOT = """
echo other >/dev/shm/var.lib.opencryptoki.swtok
lab up --opencryptoki && exit 1
find /run /var/lib/opencryptoki -name "pkcsslotd.*" -o -name .meshhw-lab
rm /dev/shm/var.lib.opencryptoki.swtok
lab up --opencryptoki >/dev/null && lab down >/dev/null
"""


def test_opencryptoki_that_has_no_slot_is_told_and_nothing_of_it_stays(tmp_path: Path) -> None:
    """The memory that its module shares with others is there, and is that of another release."""
    assert "no slot" in alone(NO_SLOT, tmp_path)


STRAGGLER = """
lab up --opencryptoki >/dev/null && cp $data /run/kept && lab down >/dev/null && cp /run/kept $data
lab up --opencryptoki >/dev/null && lab down >/dev/null || exit 1
sed 's/opencryptoki/somebody.els/' /run/kept >$data
lab up --opencryptoki && exit 1
grep -q somebody.els $data
"""


def test_a_token_of_opencryptoki_that_a_straggler_wrote_is_the_labs_and_no_other_is(tmp_path: Path) -> None:
    """A program that has the token open when its lab ends writes it down once more."""
    assert "a token that is not the lab's" in alone(STRAGGLER, tmp_path)


def alone(script: str, tmp_path: Path) -> str:
    """What a script says on stderr."""
    if os.geteuid() != 0 or opencryptoki.first_module(opencryptoki.MODULES) is None:
        pytest.skip("opencryptoki is not installed, or this is not root, which its daemon needs")
    run = ["unshare", "--mount", "--ipc", "sh", "-c", ALONE + script, sys.executable, str(tmp_path / "lab")]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode == 77:
        pytest.skip(f"this system lets nobody have a /dev/shm and a /run of one's own: {done.stderr.strip()}")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return done.stderr
