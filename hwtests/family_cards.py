"""Smartcards and FIDO2 cards in the fault suite."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from hwtests.family import MESSAGE, Family, Subject, signs_rightly
from hwtests.family_vault import make_vault
from hwtests.piv_cards import another_program
from meshhw.algorithms import Algorithm
from meshhw.errors import IntegrityError, MeshError, NewerVersion
from meshhw.keystore.api import (
    Administers,
    EnrolsPresence,
    Generates,
    KeySpec,
    OpenOptions,
    ProvesPresence,
    Seals,
    Token,
    TouchPolicy,
)
from meshhw.keystore.home import state_directory
from meshhw.keystore.interaction import PinKind
from meshhw.keystore.presence import verify_presence
from meshhw.keystore.registry import open_token
from meshhw.keystore.uri import TokenURI
from meshhw.lab.ctap.card import MESSAGE as CTAP_MESSAGE
from meshhw.lab.ctap.card import CtapCard
from meshhw.lab.ctap.state import CAPACITY
from meshhw.lab.ctap.token import VirtualCtapToken
from meshhw.lab.holding import CardHolder
from meshhw.lab.piv.card import PivCard
from meshhw.lab.piv.faults import Kind
from meshhw.lab.piv.token import PIN, VirtualPivToken
from meshhw.lab.vpcd import PcscDaemon

VERIFY, AUTHENTICATE = 0x20, 0x87
"""Instructions of SP 800-73-4: the PIN's, and that of every use of a private key."""


SLOTS = (0x9A, 0x9C, 0x9D, 0x9E, *range(0x82, 0x96))


def restarted(virtual: VirtualPivToken | VirtualCtapToken) -> None:
    """Other makers' modules in this process keep connections while it lives; these end with the service."""
    virtual.pull()
    virtual.daemon.restart()
    virtual.put_back()


@contextmanager
def card_held(reader: str, env: Mapping[str, str]) -> Iterator[str]:
    """A real program with an exclusive connection to the card in that reader."""
    with CardHolder(reader, env) as holder:
        yield Path(sys.executable).name
        assert holder.holds  # nobody killed it


TAKE_ALL = """
import sys
from smartcard.scard import *
_, context = SCardEstablishContext(SCARD_SCOPE_SYSTEM)
code = taken = 0
while code == 0 and taken < 10_000:
    code, card, _ = SCardConnect(context, sys.argv[1], SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY)
    taken += code == 0
print(taken, flush=True)
sys.stdin.read()
SCardReleaseContext(context)  # the service notices the end of a program only later
"""


@contextmanager
def connections_taken(reader: str) -> Iterator[None]:
    """A real program has every connection with that reader that the PC/SC service serves."""
    arguments = [sys.executable, "-c", TAKE_ALL, reader]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as taker:
        assert taker.stdout is not None
        assert 0 < int(taker.stdout.readline()) < 10_000
        yield
        taker.communicate("")


def connections_of(daemon: PcscDaemon) -> int:
    """The sockets of a PC/SC service: one for each context of each program."""
    return len(list(Path(f"/proc/{daemon.pid}/fd").iterdir()))


class PivFamily(Family):
    """A virtual PIV card in a virtual reader."""

    wrong_pin = "000000"

    def __init__(self, virtual: VirtualPivToken) -> None:
        self._virtual, self._own = virtual, virtual.card
        self._filled: list[int] = []

    @property
    def uri(self) -> TokenURI:
        return TokenURI.make("yubikey", serial=str(self._own.serial))

    @property
    def pin(self) -> str:
        return PIN

    @property
    def env(self) -> dict[str, str]:
        return self._virtual.env

    def pull(self) -> None:
        self._virtual.pull()

    def slow_down(self, seconds: float) -> None:
        self._own.faults.plan(Kind.DELAY, seconds, ins=AUTHENTICATE, times=1000)

    def put_back(self) -> None:
        self._virtual.restore(self._own)

    def swap(self) -> None:
        self._virtual.swap(PivCard("5.7"))

    def lock(self) -> None:
        self._virtual.lock_pin()

    def nearly_lock(self) -> None:
        self._own.lasting.pin.left = 1

    def hang(self) -> None:
        self._own.faults.plan(Kind.HANG, ins=AUTHENTICATE)

    def strange_answer(self) -> int:
        self._own.faults.plan(Kind.STATUS, 0x6F42, ins=AUTHENTICATE)
        return 0x6F42

    def fill(self) -> None:
        keys = self._own.lasting.keys
        some = next(iter(keys.values()))
        self._filled = [slot for slot in SLOTS if slot not in keys]
        keys.update(dict.fromkeys(self._filled, some))

    def exhaust(self) -> AbstractContextManager[object]:
        return connections_taken(self._virtual.reader.name)

    def tries_left(self) -> int:
        return self._virtual.card.lasting.pin.left

    def change_pin(self, new: str) -> None:
        self._own.lasting.pin.value = new.encode().ljust(8, b"\xff")
        another_program(self._virtual, "reset")

    def handles(self) -> int:
        return connections_of(self._virtual.daemon)

    def held_by_another(self) -> AbstractContextManager[str]:
        restarted(self._virtual)
        return card_held(self._virtual.reader.name, self._virtual.env)

    def unwilling_finger(self) -> None:
        self._own.finger.willing = False

    def touch_key(self, token: Token) -> Subject:
        assert isinstance(token, Generates)
        key = token.generate(KeySpec(Algorithm.P256, "touch", touch_policy=TouchPolicy.ALWAYS))
        return Subject(lambda: signs_rightly(key), key.uri, key)

    def heal(self) -> None:
        self._virtual.heal()
        self._own.finger.give_up()  # as if its patience were over
        while self._filled:
            self._own.lasting.keys.pop(self._filled.pop(), None)

    def pins_received(self) -> int:
        return self._virtual.card.log.count(VERIFY)

    def forget_pins(self) -> None:
        self._virtual.card.log.clear()


def piv(request: pytest.FixtureRequest) -> Family:
    """A PIV card of firmware 5.7."""
    return PivFamily(request.getfixturevalue("piv_card"))


class CtapFamily(Family):
    """A virtual FIDO2 card. Its work is to open what it sealed."""

    wrong_pin = "1234-nop"

    def __init__(self, virtual: VirtualCtapToken) -> None:
        self._virtual, self._own = virtual, virtual.card
        self._before = 0
        token = self.open()
        assert isinstance(token, Administers)
        token.change_pin(PinKind.USER)
        token.close()

    def subject(self, token: Token, former: Subject | None = None) -> Subject:
        assert isinstance(token, Seals)
        blob = token.seal(MESSAGE, b"fault") if former is None else former.kept

        def use() -> None:
            assert token.unseal(blob, b"fault") == MESSAGE

        return Subject(use, blob)

    def key_name(self, subject: Subject) -> str:
        """A key of the vault that the authenticator seals: every use of it has that opened."""
        vault = TokenURI.make("software")
        make_vault(vault, self.person())
        with closing(open_token(vault, OpenOptions(self.person()))) as token:
            assert isinstance(token, Generates)
            return str(token.generate(KeySpec(self.algorithm, "sealed", place=str(self.uri))).uri)

    @property
    def uri(self) -> TokenURI:
        return TokenURI.make("fido2", aaguid=str(uuid.UUID(bytes=self._own.aaguid)))

    @property
    def pin(self) -> str:
        return "1234-pin"

    @property
    def env(self) -> dict[str, str]:
        return self._virtual.env

    def pull(self) -> None:
        self._virtual.pull()

    def slow_down(self, seconds: float) -> None:
        self._own.faults.plan(Kind.DELAY, seconds, ins=CTAP_MESSAGE, times=1000)

    def put_back(self) -> None:
        self._virtual.restore(self._own)

    def swap(self) -> None:
        """Another one of the same model, whose owner chose the same PIN."""
        self._virtual.swap(CtapCard(aaguid=self._own.aaguid))
        self._virtual.set_pin(self.pin)

    def lock(self) -> None:
        self._virtual.lock_pin()

    def nearly_lock(self) -> None:
        self._own.authenticator.context.lasting.pin_retries = 1

    def hang(self) -> None:
        self._own.faults.plan(Kind.HANG, ins=CTAP_MESSAGE)

    def strange_answer(self) -> int:
        self._own.faults.plan(Kind.STATUS, 0x6F42, ins=CTAP_MESSAGE)
        return 0x7F  # CTAP1_ERR_OTHER: what the protocol makes of a status word that it does not know

    def fill(self) -> None:
        lasting = self._own.authenticator.context.lasting
        lasting.capacity = len(lasting.credentials)

    def one_more(self, token: Token) -> None:
        """What it keeps are credentials that prove a presence; the secrets that it seals take no room."""
        assert isinstance(token, EnrolsPresence)
        token.enrol("too many")

    def filed(self, token: Token, former: Subject | None = None) -> Subject:
        """A credential that the authenticator does not keep itself."""
        assert isinstance(token, EnrolsPresence)
        key = token.enrol("filed", discoverable=False) if former is None else token.key(former.kept)
        assert isinstance(key, ProvesPresence)
        digest = hashlib.sha256(MESSAGE).digest()

        def use() -> None:
            assert verify_presence(key.public, digest, key.prove(digest)).verified

        return Subject(use, key.uri)

    def file(self) -> Path:
        files = (state_directory() / "fido2").glob("*.json")
        (found,) = (path for path in files if json.loads(path.read_bytes())["use"] == "presence")
        return found

    def changed(self, whole: bytes) -> dict[bytes, type[MeshError]]:
        told = json.loads(whole)
        renamed = json.dumps(told | {"label": "another"}).encode()
        later = json.dumps(told | {"version": 2, "something": "new"}).encode()
        return super().changed(whole) | {renamed: IntegrityError, later: NewerVersion}

    def exhaust(self) -> AbstractContextManager[object]:
        return connections_taken(self._virtual.reader.name)

    def handles(self) -> int:
        return connections_of(self._virtual.daemon)

    def held_by_another(self) -> AbstractContextManager[str]:
        restarted(self._virtual)
        return card_held(self._virtual.reader.name, self._virtual.env)

    def touch_key(self, token: Token) -> Subject:
        return self.subject(token)

    def unwilling_finger(self) -> None:
        self._own.finger.willing = False

    def heal(self) -> None:
        self._virtual.heal()
        self._own.authenticator.context.lasting.capacity = CAPACITY

    def pins_received(self) -> int:
        return self._tried() - self._before

    def forget_pins(self) -> None:
        self._before = self._tried()

    def _tried(self) -> int:
        tried: int = self._virtual.card.authenticator.context.lasting.pins_tried
        return tried

    def change_pin(self, new: str) -> None:
        self._own.authenticator.context.lasting.set_pin(new)

    def names_cure(self, hint: str) -> bool:
        return "`fido2-token -R DEVICE`" in hint

    def tries_left(self) -> int:
        left: int = self._virtual.card.authenticator.context.lasting.pin_retries
        return left


def ctap(request: pytest.FixtureRequest) -> Family:
    """A FIDO2 card with a PIN."""
    request.getfixturevalue("tpm_home")  # a state directory of the test's own
    return CtapFamily(request.getfixturevalue("ctap_card"))
