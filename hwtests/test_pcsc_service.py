"""A PC/SC service that takes connections and answers nobody: nothing waits for it for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from hwtests.piv_cards import make_key, opened, within
from meshhw.errors import OperationTimeout
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.registry import open_token
from meshhw.keystore.uri import TokenURI
from meshhw.lab.piv.token import VirtualPivToken


@pytest.fixture
def stopped(piv_card: VirtualPivToken) -> Iterator[VirtualPivToken]:
    """The service is stopped as a debugger, or a driver in an endless loop, would stop it."""
    opened(piv_card).close()
    pid = piv_card.daemon.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    yield piv_card
    os.kill(pid, signal.SIGCONT)
    token = opened(piv_card)
    assert make_key(token).sign(b"answers again")
    token.close()


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "meshhw", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.usefixtures("stopped")
def test_a_service_that_does_not_answer_is_named_with_what_to_do() -> None:
    listing, doctor = start("token", "list"), start("doctor")
    for scheme in ("yubikey", "fido2"):
        with within(20), pytest.raises(OperationTimeout, match="PC/SC service did not answer"):
            open_token(TokenURI.make(scheme), OpenOptions())
    _, complaints = listing.communicate(timeout=60)
    assert listing.returncode == 0, complaints
    assert "yubikey: the PC/SC service did not answer within 5 s" in complaints
    found, _ = doctor.communicate(timeout=60)
    line = "missing  driver yubikey: the PC/SC service did not answer within 5 s\n"
    assert f"{line}         mend: restart it: `sudo systemctl restart pcscd`\n" in found
    line = "missing  pcscd: running, but it does not answer\n"
    assert f"{line}         mend: sudo systemctl restart pcscd\n" in found


@pytest.mark.usefixtures("piv_card")
def test_a_service_that_runs_is_told_as_such() -> None:
    found, _ = start("doctor").communicate(timeout=60)
    assert "ok       pcscd: running\n" in found
