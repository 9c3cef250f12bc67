"""Signing and agreeing with a PIV card through the key's handle, against yubikit on the same virtual card."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from meshhw_piv.pcsc import Connection
from yubikit.piv import KEY_TYPE, SLOT, PivSession

from benchmarks.cards import daemon
from benchmarks.harness import Figure
from meshhw.algorithms import Algorithm
from meshhw.keystore.api import Agrees, Generates, KeySpec, Signs
from meshhw.keystore.home import VARIABLE
from meshhw.lab.piv.card import PivCard
from meshhw.lab.piv.token import PIN, VirtualPivToken
from meshhw.pubkeys import from_cryptography

MESSAGE = b"0123456789abcdef" * 2
RAW = "yubikit's PivSession"


def figures() -> Iterator[Figure]:
    """A warm signature, which we also verify, and a warm agreement."""
    with ExitStack() as running:
        os.environ[VARIABLE] = running.enter_context(tempfile.TemporaryDirectory())
        virtual = VirtualPivToken.insert(PivCard("5.7"), daemon(), daemon().readers[3])
        running.callback(virtual.pull)
        yield from _compared(virtual)


def _compared(virtual: VirtualPivToken) -> Iterator[Figure]:
    token = virtual.open()
    assert isinstance(token, Generates)
    key = token.generate(KeySpec(Algorithm.P256, place="9a"))
    assert isinstance(key, Signs)
    assert isinstance(key, Agrees)
    key.sign(MESSAGE)
    raw = PivSession(Connection(virtual.reader.name))
    raw.verify_pin(PIN)
    peer = ec.generate_private_key(ec.SECP256R1()).public_key()
    ours = from_cryptography(peer)
    slot, kind = SLOT.AUTHENTICATION, KEY_TYPE.ECCP256

    def signature() -> bytes:
        return raw.sign(slot, kind, MESSAGE, hashes.SHA256())

    yield Figure("warm P-256 sign, verified", lambda: key.sign(MESSAGE), signature, RAW, None, 21, 10)
    agreed = (lambda: key.agree(ours), lambda: raw.calculate_secret(slot, peer))
    yield Figure("warm P-256 agree", *agreed, RAW, None, 21, 10)
    token.close()
