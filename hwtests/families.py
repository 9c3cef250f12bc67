"""One handle on every emulated token for the fault suite: what can befall it, whatever it is beneath.

A family that cannot suffer a fault says why (`Unable`); the table in docs/reliability.md prints that.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from meshhw.algorithms import Algorithm, Operation
from meshhw.conformance.independent import check_signature
from meshhw.keystore.api import (
    Administers,
    Generates,
    Key,
    KeySpec,
    OpenOptions,
    PinPolicy,
    Seals,
    Signs,
    Token,
    TouchPolicy,
)
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.registry import open_token
from meshhw.keystore.uri import TokenURI
from meshhw.lab import shim
from meshhw.lab.ctap.card import MESSAGE as CTAP_MESSAGE
from meshhw.lab.ctap.card import CtapCard
from meshhw.lab.ctap.state import PIN_RETRIES
from meshhw.lab.ctap.token import VirtualCtapToken
from meshhw.lab.piv.card import PivCard
from meshhw.lab.piv.faults import Kind
from meshhw.lab.piv.token import PIN, VirtualPivToken
from meshhw.lab.pkcs11_token import Pkcs11Token
from meshhw.lab.shim import Control, State, Trouble
from meshhw.lab.swtpm import SoftwareTpm
from meshhw.lab.tpm_proxy import Answer, Delay, Fault, Hang

VERIFY, AUTHENTICATE = 0x20, 0x87
"""Instructions of SP 800-73-4: the PIN's, and that of every use of a private key."""


SLOTS = (0x9A, 0x9C, 0x9D, 0x9E, *range(0x82, 0x96))


MESSAGE = b"what is signed"


class Unable(Exception):
    """This family of tokens cannot suffer this, for that reason."""


@dataclass(frozen=True)
class Subject:
    """Something that a token keeps, and the use of it that is checked for being right."""

    use: Callable[[], None]
    kept: Any
    """What finds it again on the token opened anew."""
    key: Key | None = None

    @property
    def key_uri(self) -> str:
        """The name of the key. Raises Unable where there is none."""
        if self.key is None:
            raise Unable("an authenticator seals secrets; it holds no key that a command names")
        return str(self.key.uri)


class Family(ABC):
    """One emulated token and its troubles."""

    wrong_pin = "0000000"
    key_pin_policy = PinPolicy.DEFAULT

    @property
    @abstractmethod
    def uri(self) -> TokenURI:
        """The token's name."""

    @property
    @abstractmethod
    def pin(self) -> str:
        """Its PIN."""

    @property
    @abstractmethod
    def env(self) -> dict[str, str]:
        """What another process needs to see it."""

    def person(self, pin: str | None = None) -> Scripted:
        """Somebody who knows the PIN (or only that other one)."""
        known = self.pin if pin is None else pin
        return Scripted({PinKind.USER: known, PinKind.CONTEXT: known, PinKind.SO: known})

    def open(self, person: Scripted | None = None, **options: Any) -> Token:
        """The opened token."""
        return open_token(self.uri, OpenOptions(interaction=person or self.person(), **options))

    def subject(self, token: Token, former: Subject | None = None) -> Subject:
        """A new P-256 key that signs, or the `former` one again."""
        if former is not None:
            key = token.key(former.kept)
            return Subject(lambda: signs_rightly(key), key.uri, key)
        made = self.make_key(token)
        return Subject(lambda: signs_rightly(made), made.uri, made)

    def make_key(self, token: Token) -> Key:
        """A P-256 key that signs."""
        assert isinstance(token, Generates)
        spec = KeySpec(Algorithm.P256, "fault", frozenset({Operation.SIGN}), pin_policy=self.key_pin_policy)
        return token.generate(spec)

    @abstractmethod
    def pull(self) -> None:
        """Take the token away."""

    @abstractmethod
    def slow_down(self, seconds: float) -> None:
        """Every signature takes that much longer."""

    def pull_during(self) -> threading.Timer:
        """Take the token away in the middle of the signature that is asked for next."""
        self.slow_down(0.4)
        timer = threading.Timer(0.15, self.pull)
        timer.start()
        return timer

    @abstractmethod
    def put_back(self) -> None:
        """Bring the token back, itself."""

    @abstractmethod
    def swap(self) -> None:
        """Put another token in its place."""

    @abstractmethod
    def lock(self) -> None:
        """As if somebody else had spent every try."""

    @abstractmethod
    def nearly_lock(self) -> None:
        """As if somebody else had spent every try but one."""

    @abstractmethod
    def hang(self) -> None:
        """It takes commands and does not answer."""

    @abstractmethod
    def strange_answer(self) -> int:
        """The next signature is answered with a code that no standard has; the code."""

    @abstractmethod
    def fill(self) -> None:
        """No room is left for another key."""

    def held_by_another(self) -> AbstractContextManager[str]:
        """Another program holds the token alone; the name of that program, empty where nobody can know it."""
        raise Unable("several programs may use this token at once, and none can keep the others out")

    def touch_key(self, token: Token) -> Subject:
        """A subject whose every use wants a touch."""
        return self.subject(token)

    def unwilling_finger(self) -> None:
        """Nobody touches the token."""
        raise Unable("this token has nothing to touch")

    @abstractmethod
    def heal(self) -> None:
        """Nothing is wrong any more (a token that was taken away is not brought back by this)."""

    @abstractmethod
    def pins_received(self) -> int:
        """How many PINs reached the token since `forget_pins`."""

    @abstractmethod
    def forget_pins(self) -> None:
        """Count PINs from zero."""


def signs_rightly(key: Key) -> None:
    """Sign, and check by an independent library."""
    assert isinstance(key, Signs)
    check_signature(key.public, MESSAGE, key.sign(MESSAGE))


class Pkcs11Family(Family):
    """A PKCS#11 token behind the fault module."""

    def __init__(self, token: Pkcs11Token, trouble: Trouble, control: Path) -> None:
        self._token, self._trouble, self._control = token, trouble, Control(control)

    @property
    def uri(self) -> TokenURI:
        return self._token.uri

    @property
    def pin(self) -> str:
        return self._token.pin

    @property
    def env(self) -> dict[str, str]:
        return dict(self._token.env)

    def pull(self) -> None:
        self._trouble.pull()

    def slow_down(self, seconds: float) -> None:
        self._trouble.delay(seconds, "C_Sign")

    def put_back(self) -> None:
        self._trouble.put_back()

    def swap(self) -> None:
        self._trouble.swap()

    def lock(self) -> None:
        self._trouble.be(State.LOCKED)

    def nearly_lock(self) -> None:
        self._trouble.be(State.FINAL_TRY)

    def hang(self) -> None:
        self._trouble.hang("C_Sign")

    def strange_answer(self) -> int:
        self._trouble.fail(0x80001234, "C_Sign")
        return 0x80001234

    def fill(self) -> None:
        self._trouble.be(State.FULL)

    @contextmanager
    def held_by_another(self) -> Iterator[str]:
        self._trouble.be(State.BUSY)
        try:
            yield ""
        finally:
            self._trouble.clear()

    def heal(self) -> None:
        self._trouble.clear()

    def pins_received(self) -> int:
        return self._control.calls().get("C_Login", 0)

    def forget_pins(self) -> None:
        self._control.reset()


class TpmFamily(Family):
    """A software TPM behind the counting proxy. It is soldered in: pulling it is a daemon that dies."""

    key_pin_policy = PinPolicy.ONCE

    def __init__(self, tpm: SoftwareTpm) -> None:
        self._tpm = tpm
        self._swapped = False

    @property
    def uri(self) -> TokenURI:
        return self._tpm.uri

    @property
    def pin(self) -> str:
        return self._tpm.pin

    @property
    def env(self) -> dict[str, str]:
        return dict(self._tpm.env)

    def pull(self) -> None:
        self._tpm.kill()

    def slow_down(self, seconds: float) -> None:
        self._tpm.proxy.inject(Fault(Delay(seconds), "Sign"))

    def put_back(self) -> None:
        if self._swapped:
            self._tpm.put_back()
        else:
            self._tpm.restart()
        self._swapped = False

    def swap(self) -> None:
        self._tpm.replace()
        self._swapped = True

    def lock(self) -> None:
        self._tpm.lock()

    def nearly_lock(self) -> None:
        raise Unable("a TPM counts tries for all keys together and tells only the lock-out")

    def hang(self) -> None:
        self._tpm.proxy.inject(Fault(Hang()))

    def strange_answer(self) -> int:
        self._tpm.proxy.inject(Fault(Answer(0x9FF), "Sign", times=1))
        return 0x9FF

    def fill(self) -> None:
        raise Unable("a TPM's keys are files beside it: it is never full of them")

    def heal(self) -> None:
        self._tpm.proxy.clear_faults()

    def pins_received(self) -> int:
        return self._tpm.proxy.counts["Sign"]

    def forget_pins(self) -> None:
        self._tpm.proxy.reset_counts()


HOLD = """
import sys, time
from smartcard.scard import *
_, context = SCardEstablishContext(SCARD_SCOPE_SYSTEM)
end = time.monotonic() + 10
while True:
    code, card, _ = SCardConnect(context, sys.argv[1], SCARD_SHARE_EXCLUSIVE, SCARD_PROTOCOL_ANY)
    if code == 0 or time.monotonic() > end:
        break
    time.sleep(0.05)
print(code, flush=True)
sys.stdin.read()
"""


@contextmanager
def card_held(reader: str) -> Iterator[str]:
    """A real program with an exclusive connection to the card in that reader."""
    arguments = [sys.executable, "-c", HOLD, reader]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "0\n"
        yield Path(sys.executable).name
        assert holder.poll() is None  # nobody killed it
        holder.communicate("")


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
        if self._virtual.card is self._own:
            self._virtual.put_back()
        else:
            self._virtual.swap(self._own)

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

    def held_by_another(self) -> AbstractContextManager[str]:
        return card_held(self._virtual.reader.name)

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


def _piv(request: pytest.FixtureRequest) -> Family:
    return PivFamily(request.getfixturevalue("piv_card"))


class CtapFamily(Family):
    """A virtual FIDO2 card. Its work is to open what it sealed."""

    wrong_pin = "1234-nop"

    def __init__(self, virtual: VirtualCtapToken) -> None:
        self._virtual, self._own = virtual, virtual.card
        self._before = PIN_RETRIES
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
        if self._virtual.card is self._own:
            self._virtual.put_back()
        else:
            self._virtual.swap(self._own)

    def swap(self) -> None:
        self._virtual.swap(CtapCard(aaguid=self._own.aaguid))  # another one of the same model

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
        raise Unable("an authenticator keeps nothing for the secrets that it seals")

    def held_by_another(self) -> AbstractContextManager[str]:
        return card_held(self._virtual.reader.name)

    def unwilling_finger(self) -> None:
        self._own.finger.willing = False

    def heal(self) -> None:
        self._virtual.heal()

    def pins_received(self) -> int:
        return self._before - self._tries()

    def forget_pins(self) -> None:
        self._before = self._tries()

    def _tries(self) -> int:
        left: int = self._virtual.card.authenticator.context.lasting.pin_retries
        return left


def _ctap(request: pytest.FixtureRequest) -> Family:
    request.getfixturevalue("tpm_home")  # a state directory of the test's own
    return CtapFamily(request.getfixturevalue("ctap_card"))


def _softhsm(request: pytest.FixtureRequest) -> Family:
    token, trouble = request.getfixturevalue("troubled_softhsm")
    return Pkcs11Family(token, trouble, shim.control_of(Path(token.module_path)))


def _nss(request: pytest.FixtureRequest) -> Family:
    token, trouble = request.getfixturevalue("troubled_nss")
    module = Path(token.module_path).read_text().split()[1]
    return Pkcs11Family(token, trouble, shim.control_of(Path(module)))


def _swtpm(request: pytest.FixtureRequest) -> Family:
    return TpmFamily(request.getfixturevalue("swtpm_token"))


FAMILIES: dict[str, Callable[[pytest.FixtureRequest], Family]] = {
    "softhsm": _softhsm,
    "nss": _nss,
    "swtpm": _swtpm,
    "piv": _piv,
    "ctap": _ctap,
}
