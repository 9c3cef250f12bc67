"""FIDO2 authenticators in USB ports: python-fido2's own client, libfido2's tool, and the driver."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwtests.remote import Remote, RemoteError
from meshhw.lab.ctap.hid import CtapHidDevice
from meshhw.lab.ctap.hid_token import VirtualHidToken
from meshhw.lab.fixtures_hid import PlugHid
from meshhw.lab.piv.faults import Kind

pytest.importorskip("fido2", reason="python-fido2 is not installed")

PIN = "1234-pin"
CBOR = 0x10
CLIENT = """
from fido2.hid import CtapHidDevice, list_descriptors
from fido2.ctap2 import Ctap2
device = next(CtapHidDevice.list_devices())
"""
DRIVER = """
import threading
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.registry import driver, open_token
from meshhw.keystore.uri import TokenURI
def opened(uri, deadline=None, **person):
    global script
    script = Scripted({PinKind.USER: "1234-pin"}, **person)
    return open_token(TokenURI.parse(uri), OpenOptions(script, deadline=deadline))
"""


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """A state directory of the test's own."""
    return {"MESHHW_HOME": str(tmp_path / "home")}


@pytest.fixture
def program(hid_authenticator: VirtualHidToken, home: dict[str, str]) -> Iterator[Remote]:
    """A program that has the driver and sees the authenticator, which has a PIN."""
    hid_authenticator.set_pin(PIN)
    with Remote(hid_authenticator.env | home, DRIVER) as remote:
        yield remote


def test_the_framing_holds_for_its_own_client(hid_authenticator: VirtualHidToken) -> None:
    with Remote(hid_authenticator.env, CLIENT) as client:
        assert client.ask("[d.product_name for d in list_descriptors()]") == ["Lab FIDO2 Authenticator"]
        for length in (0, 57, 58, 116, 117, 7609):
            assert client.ask(f"device.ping((bytes(range(256)) * 30)[:{length}]).hex()") == (
                (bytes(range(256)) * 30)[:length].hex()
            )
        client.run("device.wink()")
        assert client.ask("Ctap2(device).info.transports") == ["usb"]
        with pytest.raises(RemoteError, match="INVALID_COMMAND"):
            client.ask("device.call(0x20)")
        client.run("channel, device._channel_id = device._channel_id, 0x0badc0de")
        with pytest.raises(RemoteError, match="INVALID_CHANNEL"):
            client.ask("device.ping()")


def test_another_programs_client_reads_it(hid_authenticator: VirtualHidToken) -> None:
    tool = shutil.which("fido2-token")
    if tool is None:
        pytest.skip("fido2-token is not installed: apt-get install fido2-tools")
    env = os.environ | hid_authenticator.env
    command = [tool, "-I", hid_authenticator.port.path]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
    assert f"aaguid: {hid_authenticator.device.aaguid.hex()}" in done.stdout
    assert "pin protocols: 2, 1" in done.stdout


def test_the_command_line_lists_it(hid_authenticator: VirtualHidToken, home: dict[str, str]) -> None:
    command = [sys.executable, "-m", "meshhw", "token", "list", "--json"]
    alone = {"MESHHW_PKCS11_MODULES": home["MESHHW_HOME"] + "/none.so"}  # none of the machine's
    env = os.environ | hid_authenticator.env | home | alone
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
    (told,) = [one for one in json.loads(done.stdout) if one["driver"] == "fido2"]
    assert told["uri"] == str(hid_authenticator.uri)
    assert (told["model"], told["serial"]) == ("Lab FIDO2 Authenticator", "LAB-1")


def test_it_seals_and_opens_with_pin_and_touch(hid_authenticator: VirtualHidToken, program: Remote) -> None:
    program.run(f"token = opened({str(hid_authenticator.uri)!r}, 20)")
    program.run("blob = token.seal(b'secret', b'test')")
    assert program.ask("token.unseal(blob, b'test').decode()") == "secret"
    assert program.ask("len(script.touches)") == hid_authenticator.device.finger.waits == 3
    assert program.ask("len(script.asked)") == 1


def test_pulled_and_returned(hid_authenticator: VirtualHidToken, program: Remote) -> None:
    program.run(f"token = opened({str(hid_authenticator.uri)!r}, 20)")
    program.run("blob = token.seal(b'secret', b'test')")
    hid_authenticator.pull()
    with pytest.raises(RemoteError) as gone:
        program.ask("token.unseal(blob, b'test').decode()")
    assert gone.value.name == "TokenRemoved"
    hid_authenticator.put_back()
    assert program.ask("token.unseal(blob, b'test').decode()") == "secret"
    assert program.ask("len(script.asked)") == 2  # whoever returns is asked again


def test_pulled_while_it_waits_for_a_touch(hid_authenticator: VirtualHidToken, program: Remote) -> None:
    program.run(f"token = opened({str(hid_authenticator.uri)!r}, 20)")
    hid_authenticator.device.finger.willing = False
    program.start("token.seal(b'secret', b'test')")
    _until_blinking(hid_authenticator)
    hid_authenticator.pull()
    with pytest.raises(RemoteError) as gone:
        program.wait()
    assert gone.value.name == "TokenRemoved"


def test_another_one_in_its_place_gets_no_pin(hid_authenticator: VirtualHidToken, program: Remote) -> None:
    program.run(f"token = opened({str(hid_authenticator.uri)!r}, 20)")
    program.run("blob = token.seal(b'secret', b'test')")
    other = CtapHidDevice(aaguid=hid_authenticator.device.aaguid)
    hid_authenticator.swap(other)
    hid_authenticator.set_pin("other-pin")
    with pytest.raises(RemoteError) as mistaken:
        program.ask("token.unseal(blob, b'test').decode()")
    assert mistaken.value.name == "TokenMismatch"
    assert 6 not in other.commands  # clientPIN


def test_no_touch_ends_at_the_deadline_and_it_works_again(
    hid_authenticator: VirtualHidToken, program: Remote
) -> None:
    program.run(f"token = opened({str(hid_authenticator.uri)!r}, 3.0)")
    hid_authenticator.device.finger.willing = False
    with pytest.raises(RemoteError) as untouched:
        program.ask("token.seal(b'secret', b'test')")
    assert untouched.value.name == "TouchTimeout"
    hid_authenticator.heal()
    assert program.ask("token.unseal(token.seal(b'again', b'test'), b'test').decode()") == "again"


def test_a_person_can_stop_the_waiting(hid_authenticator: VirtualHidToken, program: Remote) -> None:
    hid_authenticator.device.finger.willing = False
    program.run(f"token = opened({str(hid_authenticator.uri)!r}, 20)")
    program.run("threading.Timer(1.0, lambda: setattr(script, 'stop', True)).start()")
    with pytest.raises(RemoteError) as stopped:
        program.ask("token.seal(b'secret', b'test')")
    assert stopped.value.name == "Cancelled"
    hid_authenticator.heal()
    program.run("script.stop = False")
    assert program.ask("token.unseal(token.seal(b'again', b'test'), b'test').decode()") == "again"


def test_one_that_hangs_is_left(hid_authenticator: VirtualHidToken, program: Remote) -> None:
    program.run(f"token = opened({str(hid_authenticator.uri)!r}, 2.0)")
    hid_authenticator.device.faults.plan(Kind.HANG, ins=CBOR)
    before = time.monotonic()
    with pytest.raises(RemoteError) as hung:
        program.ask("token.seal(b'secret', b'test')")
    assert hung.value.name == "OperationTimeout"
    assert time.monotonic() - before < 10


def test_a_torn_answer_is_told(hid_authenticator: VirtualHidToken, program: Remote) -> None:
    program.run(f"token = opened({str(hid_authenticator.uri)!r}, 20)")
    program.run("token.retries_left(PinKind.USER)")
    hid_authenticator.device.faults.plan(Kind.TRUNCATE, 5, ins=CBOR)
    with pytest.raises(RemoteError) as torn:
        program.ask("token.seal(b'secret', b'test')")
    assert torn.value.name == "TokenFault"
    assert program.ask("token.unseal(token.seal(b'again', b'test'), b'test').decode()") == "again"


def test_two_programs_share_it(
    hid_authenticator: VirtualHidToken, program: Remote, home: dict[str, str]
) -> None:
    """Each gets the reports of both, and waits while the other is served."""
    program.run(f"token = opened({str(hid_authenticator.uri)!r}, 20)")
    program.run("blob = token.seal(b'secret', b'test')")
    with Remote(hid_authenticator.env | home, DRIVER) as other:
        other.run(f"token = opened({str(hid_authenticator.uri)!r}, 20)")
        other.run("blob = token.seal(b'other', b'test')")
        both = "[token.unseal(blob, b'test').decode() for _ in range(5)]"
        program.start(both)
        other.start(both)
        assert program.wait() == ["secret"] * 5
        assert other.wait() == ["other"] * 5
        other.run("[token.retries_left(PinKind.USER) for _ in range(80)]")  # more than the kernel would keep
        assert program.ask("token.unseal(blob, b'test').decode()") == "secret"


def test_a_token_of_before_fido2_is_not_taken_for_one(plug_hid: PlugHid, home: dict[str, str]) -> None:
    old = plug_hid(CtapHidDevice(fido2=False))
    with Remote(old.env | home, DRIVER) as program:
        assert program.ask("driver('fido2').tokens()") == []
        with pytest.raises(RemoteError) as missing:
            program.run("opened('fido2:')")
        assert missing.value.name == "TokenNotFound"


def _until_blinking(authenticator: VirtualHidToken) -> None:
    end = time.monotonic() + 10
    while not authenticator.device.finger.waits:
        assert time.monotonic() < end
        time.sleep(0.02)
