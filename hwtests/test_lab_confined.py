"""The lab where it may have no namespace, and after the owner of a daemon with fixed places was killed.

Both are tried within namespaces that the test makes: what is forbidden there is allowed outside, and daemons
that have fixed places find them empty.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from hwtests.test_vpcd import ends
from meshhw.lab.opencryptoki import DATA, MODULES
from meshhw.lab.pkcs11_token import first_module
from meshhw.lab.vpcd import lab_directory

CONFINED = """
set -e
mount -t tmpfs tmpfs /run
if [ "$1" = full ]; then mount -o remount,ro /run; fi
echo 0 > /proc/sys/user/max_mnt_namespaces
echo 0 > /proc/sys/user/max_user_namespaces
shift
exec "$@"
"""
CARD = """
import sys
from pathlib import Path
from meshhw.errors import DriverUnavailable
from meshhw.keystore.registry import driver
from meshhw.lab.piv.card import PivCard
from meshhw.lab.piv.token import VirtualPivToken
from meshhw.lab.vpcd import PcscDaemon
import os
with PcscDaemon(Path(sys.argv[1])) as daemon:
    os.environ.update(daemon.environment())
    virtual = VirtualPivToken.insert(PivCard("5.7"), daemon, daemon.readers[0])
    print(daemon.socket, [str(info.uri) for info in driver("yubikey").tokens()] == [str(virtual.uri)])
    try:
        PcscDaemon(Path(sys.argv[2])).start()
    except DriverUnavailable as error:
        print(error.message)
    virtual.pull()
"""
REFUSED = """
import sys
from pathlib import Path
from meshhw.errors import DriverUnavailable
from meshhw.lab.vpcd import PcscDaemon
try:
    PcscDaemon(Path(sys.argv[1])).start()
except DriverUnavailable as error:
    print(error.message, "|", error.hint)
"""
ALONE = f"""
set -e
for place in /run /dev/shm {DATA.parent}; do mount -t tmpfs tmpfs $place; done
mkdir -p /run/lock /run/opencryptoki {DATA}/TOK_OBJ
if id pkcsslotd >/dev/null 2>&1; then chown pkcsslotd:pkcs11 /run/opencryptoki; fi
chgrp -R pkcs11 {DATA.parent}
"$@" || true
exec "$@"
"""
OWNER = """
import os, sys
from pathlib import Path
from meshhw.lab.opencryptoki import RUNNING, OpenCryptoki
lab = OpenCryptoki("crash", Path(sys.argv[1]))
numbers = [place / "pkcsslotd.pid" for place in RUNNING]
daemon = next(path.read_text().strip() for path in numbers if path.exists())
print(os.getpid(), daemon, flush=True)
sys.stdin.readline()
lab.close()
"""


@pytest.fixture
def directories() -> Iterator[tuple[Path, Path]]:
    made = lab_directory(), lab_directory()
    yield made
    for directory in made:
        shutil.rmtree(directory, ignore_errors=True)


def confined(run: str, program: str, *arguments: Path) -> str:
    """What a program says for which no more namespaces are to be had."""
    space = ["unshare", "-U", "-r", "-m"]
    if subprocess.run([*space, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespace can be made here to forbid others in")
    done = subprocess.run(
        [*space, "sh", "-c", CONFINED, "sh", run, sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_a_namespace_the_labs_pcscd_is_the_machines_only_one(directories: tuple[Path, Path]) -> None:
    assert confined("free", CARD, *directories).splitlines() == [
        "/run/pcscd/pcscd.comm True",
        "pcscd runs already and a private one is not allowed here",
    ]


def test_without_a_namespace_and_a_place_the_cause_is_named(directories: tuple[Path, Path]) -> None:
    said = confined("full", REFUSED, directories[0])
    assert said == "no mount namespace and no /run/pcscd: pcscd cannot run here | sudo mkdir -p /run/pcscd\n"


def said_numbers(process: subprocess.Popen[str]) -> Sequence[int]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the owner did not start opencryptoki"
    return [int(number) for number in line.split()]


def test_opencryptokis_daemon_ends_with_its_owner_and_is_no_obstacle(directories: tuple[Path, Path]) -> None:
    if os.geteuid() != 0:
        pytest.skip("opencryptoki's daemon needs root")
    if first_module(MODULES) is None:
        pytest.skip("opencryptoki is not installed: apt-get install opencryptoki")
    command = [sys.executable, "-c", OWNER, str(directories[0])]
    with subprocess.Popen(
        ["unshare", "-m", "-i", "sh", "-c", ALONE, "sh", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owners:
        owner, daemon = said_numbers(owners)
        os.kill(owner, 9)
        assert ends(daemon)
        _, second = said_numbers(owners)
        assert second != daemon
        owners.communicate("\n", timeout=60)
        assert owners.returncode == 0
    assert ends(second)
