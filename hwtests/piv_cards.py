"""What the tests of the PIV driver share: opening a virtual card, making a key, and a watch."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from meshhw_piv.keys import NistKey
from meshhw_piv.pcsc import Context
from meshhw_piv.token import PivToken

from meshhw.algorithms import Algorithm
from meshhw.conformance import independent
from meshhw.keystore.api import Key, KeySpec, OpenOptions, Signs, TouchPolicy
from meshhw.keystore.interaction import Scripted
from meshhw.lab.ctap.token import VirtualCtapToken
from meshhw.lab.piv.keys import SlotKey
from meshhw.lab.piv.token import FACTORY, VirtualPivToken

AUTHENTICATE, VERIFY = 0x87, 0x20
SOON = 2.0
LONG = b"a message of more than thirty-two octets, as most messages are"


def check_signs(key: Signs, message: bytes) -> None:
    """Sign, and let `cryptography` verify it. Raises Broken."""
    independent.check_signature(key.public, message, key.sign(message))


def held(token: PivToken) -> Sequence[Key]:
    """Its keys, as any token tells them."""
    return token.keys()


def signing(key: object) -> Signs:
    assert isinstance(key, Signs)
    return key


def opened(
    virtual: VirtualPivToken, script: Scripted | None = None, deadline: float | None = None
) -> PivToken:
    token = virtual.open(OpenOptions(script or Scripted(FACTORY), deadline=deadline))
    assert isinstance(token, PivToken)
    return token


def make_key(token: PivToken, touch: TouchPolicy = TouchPolicy.DEFAULT) -> NistKey:
    key = token.generate(KeySpec(Algorithm.P256, touch_policy=touch))
    assert isinstance(key, NistKey)
    return key


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds


def wait_until_empty(reader: str, seconds: float = 30.0) -> None:
    """Until PC/SC has seen that no card is in that reader."""
    end = time.monotonic() + seconds
    context = Context()
    try:
        while reader in context.occupied():
            assert time.monotonic() < end
            time.sleep(0.02)
    finally:
        context.close()


ANOTHER = """
import sys, time
from smartcard.scard import *
_, context = SCardEstablishContext(SCARD_SCOPE_USER)
what, reader = sys.argv[1:]
mode = SCARD_SHARE_EXCLUSIVE if what == "exclusive" else SCARD_SHARE_SHARED
end = time.monotonic() + 30  # whoever looked at the card a moment ago may not have let it go yet
while True:
    result, card, protocol = SCardConnect(context, reader, mode, SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1)
    if result != SCARD_E_SHARING_VIOLATION or time.monotonic() > end:
        break
    time.sleep(0.05)
assert result == 0, result
if what == "select":
    SCardTransmit(card, SCARD_PCI_T1, list(bytes.fromhex("00a4040008a000000527471117")))
if what == "reselect":
    SCardTransmit(card, SCARD_PCI_T1, list(bytes.fromhex("00a4040005a000000308")))
if what == "transaction":
    SCardBeginTransaction(card)
print("ready", flush=True)
if what in ("exclusive", "transaction"):
    time.sleep(60)
SCardDisconnect(card, SCARD_RESET_CARD if what == "reset" else SCARD_LEAVE_CARD)
"""


def start_another(virtual: VirtualPivToken | VirtualCtapToken, what: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", ANOTHER, what, virtual.reader.name],
        env=os.environ | virtual.env,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def another_program(virtual: VirtualPivToken, what: str) -> None:
    process = start_another(virtual, what)
    process.communicate(timeout=60)
    assert process.returncode == 0


def shown(virtual: VirtualPivToken | VirtualCtapToken, home: Path) -> dict[str, str]:
    """What `meshhw token show` prints of it, without a PIN."""
    done = subprocess.run(
        [sys.executable, "-m", "meshhw", "token", "show", str(virtual.uri)],
        env={"PATH": os.environ["PATH"], "MESHHW_HOME": str(home)} | virtual.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines = (line.partition(" ") for line in done.stdout.splitlines())
    return {name: fact.strip() for name, _, fact in lines}


def check_keeps_foreign_key(virtual: VirtualPivToken, theirs: SlotKey) -> None:
    """What stands in a slot and cannot be told what it is: no key of ours, and left alone."""
    virtual.card.lasting.keys[0x82] = theirs
    token = opened(virtual, Scripted(FACTORY, confirms=False))
    assert token.keys() == []
    assert token.generate(KeySpec(Algorithm.P256)).uri.get("slot") == "83"
    assert virtual.card.lasting.keys[0x82] is theirs
    token.close()
