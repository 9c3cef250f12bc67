"""Every fault of `meshhw lab fault` on every kind of token: it befalls it, or is refused with why."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwtests.remote import Remote, RemoteError
from meshhw.errors import DriverUnavailable, NotSupported, OperationTimeout
from meshhw.lab.client import Lab
from meshhw.lab.faults import Fault
from meshhw.lab.part import Order
from meshhw.lab.shim import Control
from tests.patience import until

ALL = set(Fault)
REFUSED = {
    "softhsm-1": {Fault.NOTOUCH},
    "nss-1": {Fault.NOTOUCH, Fault.CLEAR},
    "tpm2-pkcs11-1": {Fault.NOTOUCH, Fault.CLEAR},
    "tpm-1": {Fault.NOTOUCH, Fault.BUSY},
    "piv-1": set(),
    "fido2-1": set(),
    "fido2-usb-1": {Fault.BUSY},
}
"""What makes no sense, by the token."""
PROGRAM = """
import os
from meshhw.algorithms import Algorithm
from meshhw.cli.terminal import Terminal
from meshhw.keystore.api import KeySpec, OpenOptions
from meshhw.keystore.registry import open_token
from meshhw.keystore.uri import TokenURI
names = dict(line.split("=", 1) for line in os.environ["MESHHW_TOKEN_NAMES"].splitlines())
def opened(name, deadline=10):
    return open_token(TokenURI.parse(names[name]), OpenOptions(Terminal.from_options(()), deadline=deadline))
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab(tmp_path_factory.mktemp("home"))
    try:
        made.up(Order(softhsm=1, nss=1, tpm=1, piv=1, fido2=1, fido2_usb=1, tpm2_pkcs11=True))
    except (DriverUnavailable, OperationTimeout) as missing:
        pytest.skip(f"{missing.message} ({missing.hint})")
    yield made
    made.down()


@pytest.fixture
def program(lab: Lab, tmp_path: Path) -> Iterator[Remote]:
    """A program in the lab's environment."""
    with Remote(lab.status()["env"] | {"MESHHW_HOME": str(tmp_path / "home")}, PROGRAM) as remote:
        yield remote


@pytest.mark.parametrize("token", REFUSED)
def test_each_fault_befalls_and_ends_or_is_refused_with_why(lab: Lab, token: str) -> None:
    for fault in Fault:
        if fault in REFUSED[token]:
            with pytest.raises(NotSupported, match=re.escape(f"{fault} cannot befall")) as refused:
                lab.fault(token, fault)
            assert ": " in refused.value.message  # why
        else:
            lab.fault(token, fault)
            lab.fault(token, Fault.NONE)


@pytest.mark.parametrize(
    ("token", "fault", "error"),
    [
        ("piv-1", Fault.CLEAR, "KeyNotFound"),
        ("piv-1", Fault.HANG, "OperationTimeout"),
        ("tpm2-pkcs11-1", Fault.PULL, "TokenRemoved"),
        ("tpm2-pkcs11-1", Fault.HANG, "OperationTimeout"),
        ("tpm-1", Fault.PULL, "TokenRemoved"),
    ],
)
def test_a_key_is_lost_as_long_as_the_fault_lasts(
    lab: Lab, program: Remote, token: str, fault: Fault, error: str
) -> None:
    program.run(f"token = opened({token!r}, 2)\nkey = token.generate(KeySpec(Algorithm.P256, 'fault'))")
    assert program.ask("len(key.sign(b'message'))") == 64
    lab.fault(token, fault)
    with pytest.raises(RemoteError) as struck:
        program.ask("len(key.sign(b'message'))")
    assert struck.value.name == error
    lab.fault(token, Fault.NONE)
    program.run(f"again = opened({token!r})")
    if fault is Fault.CLEAR:
        assert program.ask("len(again.keys())") == 0
    else:
        assert program.ask("len(again.key(key.uri).sign(b'message'))") == 64
        program.run("again.delete(key.uri)")


def test_a_key_in_use_by_a_call_that_was_given_up_is_deleted_when_that_is_answered(
    lab: Lab, program: Remote
) -> None:
    """tpm2-pkcs11 refuses with CKR_FUNCTION_FAILED to destroy a key that another session signs with."""
    token = "tpm2-pkcs11-1"
    program.run(f"token = opened({token!r}, 2)\nkey = token.generate(KeySpec(Algorithm.P256, 'used'))")
    control = Control(next(lab.directory.rglob("tpm2-pkcs11-lab.control")))
    trouble = control.trouble(token)
    trouble.hang("C_Sign")
    with pytest.raises(RemoteError) as struck:
        program.ask("len(key.sign(b'message'))")
    assert struck.value.name == "OperationTimeout"
    program.run(f"again = opened({token!r})")
    with control.counted() as calls:
        program.start("again.delete(key.uri)")
        until(lambda: control.calls().get("C_DestroyObject", 0) > 1)
        trouble.clear()
        program.wait()
    assert calls["C_DestroyObject"] > 3  # those that were refused, the private key, the public one
    with pytest.raises(RemoteError) as gone:
        program.ask("again.key(key.uri)")
    assert gone.value.name == "KeyNotFound"


@pytest.mark.parametrize("token", ["piv-1", "fido2-1"])
def test_a_card_that_another_program_keeps_is_busy(lab: Lab, program: Remote, token: str) -> None:
    lab.fault(token, Fault.BUSY)
    with pytest.raises(RemoteError, match=r"(held by|keeps|holds)") as busy:
        program.run(f"opened({token!r}, 4)")
    assert busy.value.name == "TokenBusy"
    lab.fault(token, Fault.NONE)
    program.run(f"opened({token!r}).close()")


@pytest.mark.parametrize("token", ["fido2-1", "fido2-usb-1"])
def test_an_authenticator_does_not_unseal_as_long_as_the_fault_lasts(
    lab: Lab, program: Remote, token: str
) -> None:
    program.run(f"token = opened({token!r}, 2)\nblob = token.seal(b'secret', b'test')")
    for fault, error in ((Fault.PULL, "TokenRemoved"), (Fault.NOTOUCH, "TouchTimeout")):
        lab.fault(token, fault)
        with pytest.raises(RemoteError) as struck:
            program.ask("token.unseal(blob, b'test').decode()")
        assert struck.value.name == error
        lab.fault(token, Fault.NONE)
        assert program.ask("token.unseal(blob, b'test').decode()") == "secret"
