"""GnuPG's card daemon, which keeps cards from others: named, left alive, and what frees the card is tried."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from hwtests.piv_cards import make_key, opened, within
from meshhw.errors import TokenBusy
from meshhw.lab.piv.token import VirtualPivToken

PROGRAMS = {
    "gpg-connect-agent": "gpgconf",
    "gpgconf": "gpgconf",
    "gpg-agent": "gpg-agent",
    "/usr/lib/gnupg/scdaemon": "scdaemon",
}


@pytest.fixture
def gnupg(piv_card: VirtualPivToken) -> Iterator[dict[str, str]]:
    """A home of GnuPG whose daemon holds the card, as after any `gpg --card-status`."""
    for program, package in PROGRAMS.items():
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (package {package})")
    with TemporaryDirectory(prefix="mhg-", dir="/tmp") as home:  # sockets want short names
        settings = f"disable-ccid\nreader-port {piv_card.reader.name}\n"
        Path(home, "scdaemon.conf").write_text(settings)
        environment = os.environ | piv_card.env | {"GNUPGHOME": home}
        take = ["gpg-connect-agent", "SCD SERIALNO undefined", "/bye"]
        done = run(take, environment)
        assert "S SERIALNO" in done.stdout, done.stdout + done.stderr
        yield environment
        run(["gpgconf", "--kill", "all"], environment)


def run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


def daemon(environment: dict[str, str]) -> int:
    told = run(["gpg-connect-agent", "SCD GETINFO pid", "/bye"], environment).stdout
    return int(told.split()[1])


def test_a_card_that_scdaemon_holds_is_told_with_what_frees_it(
    piv_card: VirtualPivToken, gnupg: dict[str, str]
) -> None:
    pid = daemon(gnupg)
    with within(10), pytest.raises(TokenBusy) as busy:
        opened(piv_card)
    assert busy.value.holder == f"scdaemon (pid {pid})"
    doctor = run([sys.executable, "-m", "meshhw", "doctor"], gnupg).stdout
    lines = doctor.splitlines()
    at = next(number for number, line in enumerate(lines) if "scdaemon runs" in line)
    mend = lines[at + 1].strip().removeprefix("mend: ").partition(";")[0]
    assert daemon(gnupg) == pid  # nobody ended it
    assert run(mend.split(), gnupg).returncode == 0
    token = opened(piv_card)
    assert make_key(token).sign(b"free again")
    token.close()
