"""A PC/SC service that takes connections and answers nobody: nothing waits for it for ever."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from hwtests.families import FAMILIES
from hwtests.family import Family
from hwtests.pcsc_proxy import CONNECT, TRANSMIT, door_before
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


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """A command that says on stderr where it was when the system ends it."""
    command, pipe = [sys.executable, "-X", "faulthandler", "-m", "meshhw", *arguments], subprocess.PIPE
    return subprocess.Popen(command, env=os.environ | environment, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.usefixtures("stopped")
def test_a_service_that_does_not_answer_is_named_with_what_to_do() -> None:
    # Without modules: those of cards would ask the service, too, and others' daemons come and go meanwhile.
    listing, doctor = (start(*words, MESHHW_PKCS11_MODULES="") for words in (("token", "list"), ("doctor",)))
    for scheme in ("yubikey", "fido2"):
        with within(20), pytest.raises(OperationTimeout, match="PC/SC service did not answer"):
            open_token(TokenURI.make(scheme), OpenOptions())
    _, complaints = listing.communicate(timeout=60)
    assert listing.returncode == 0, complaints
    assert "yubikey: the PC/SC service did not answer within 5 s" in complaints
    found, said = doctor.communicate(timeout=60)
    assert doctor.returncode == 0, said
    line = "missing  driver yubikey: the PC/SC service did not answer within 5 s\n"
    assert f"{line}         mend: restart it: `sudo systemctl restart pcscd`\n" in found, said
    line = "missing  pcscd: running, but it does not answer\n"
    assert f"{line}         mend: sudo systemctl restart pcscd\n" in found


@pytest.fixture
def family(request: pytest.FixtureRequest) -> Iterator[Family]:
    made = FAMILIES[request.param](request)
    yield made
    made.heal()


@pytest.fixture
def refusing() -> Iterator[str]:
    """A service that closes every connection at once, as pcscd does to whom polkit refuses; its socket."""
    with TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as server:
        server.bind(path := f"{directory}/pcscd.comm")
        server.listen()

        def serve() -> None:
            with suppress(OSError):  # until the socket is closed
                while True:
                    server.accept()[0].close()

        threading.Thread(target=serve, daemon=True).start()
        yield path
        server.shutdown(socket.SHUT_RDWR)


def test_a_service_that_refuses_this_user_is_told_with_the_rule(refusing: str) -> None:
    found, _ = start("doctor", PCSCLITE_CSOCK_NAME=refusing).communicate(timeout=60)
    assert "missing  driver yubikey: " in found
    _, _, after = found.partition("missing  pcscd: running, but it refuses this user: polkit")
    assert "mend: sudo install -m 644 " in after.splitlines()[1]
    assert after.splitlines()[1].count("polkit-meshhw.rules") == 1


@pytest.mark.parametrize("family", ["piv", "ctap"], indirect=True)
def test_a_card_that_is_being_reset_is_waited_for(family: Family) -> None:
    """As one is whose holder ended in a transaction: it is there, and has no protocol for a moment."""
    service = Path(family.env["PCSCLITE_CSOCK_NAME"])
    with door_before(service, CONNECT, times=2) as (door, environment):
        shown = start("token", "show", str(family.uri), "--json", **family.env | environment)
        told, complaints = shown.communicate(timeout=60)
    assert shown.returncode == 0, complaints
    assert str(family.uri) in told
    assert door.told >= 2


@pytest.mark.parametrize("family", ["piv", "ctap"], indirect=True)
def test_a_length_that_no_answer_has_is_not_believed(family: Family) -> None:
    """pyscard would read that many octets of a failed call's buffer, until the system ended the process."""
    service = Path(family.env["PCSCLITE_CSOCK_NAME"])
    with door_before(service, TRANSMIT, times=1000) as (door, environment):
        shown = start("token", "show", str(family.uri), **family.env | environment)
        _, complaints = shown.communicate(timeout=60)
    assert shown.returncode == 3, complaints
    assert complaints.startswith("meshhw: ")
    assert door.told


@pytest.mark.usefixtures("piv_card")
def test_a_service_that_runs_is_told_as_such() -> None:
    found, _ = start("doctor").communicate(timeout=60)
    assert "ok       pcscd: running\n" in found
