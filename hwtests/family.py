"""One handle on every emulated token for the fault suite: what can befall it, whatever it is beneath.

A family that cannot suffer a fault says why (`Unable`); the table in docs/reliability.md prints that.
"""

from __future__ import annotations

import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshhw.algorithms import Algorithm, Operation
from meshhw.conformance.independent import check_signature
from meshhw.errors import IntegrityError, MeshError
from meshhw.keystore.api import (
    Generates,
    Key,
    KeySpec,
    OpenOptions,
    PinPolicy,
    Signs,
    Token,
)
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.registry import open_token
from meshhw.keystore.uri import TokenURI

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


class Family(ABC):
    """One emulated token and its troubles."""

    wrong_pin = "0000000"
    key_pin_policy = PinPolicy.DEFAULT
    algorithm = Algorithm.P256
    opens_files = True
    """Whether to open the token takes a file descriptor."""

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
        return Scripted(dict.fromkeys((PinKind.USER, PinKind.CONTEXT, PinKind.SO, PinKind.VAULT), known))

    def open(self, person: Scripted | None = None, **options: Any) -> Token:
        """The opened token."""
        return open_token(self.uri, OpenOptions(interaction=person or self.person(), **options))

    def subject(self, token: Token, former: Subject | None = None) -> Subject:
        """A new key that signs, or the `former` one again."""
        if former is not None:
            key = token.key(former.kept)
            return Subject(lambda: signs_rightly(key), key.uri, key)
        made = self.make_key(token)
        return Subject(lambda: signs_rightly(made), made.uri, made)

    def make_key(self, token: Token) -> Key:
        """A key that signs."""
        assert isinstance(token, Generates)
        spec = KeySpec(self.algorithm, "fault", frozenset({Operation.SIGN}), pin_policy=self.key_pin_policy)
        return token.generate(spec)

    def key_name(self, subject: Subject) -> str:
        """What a command calls the key."""
        assert subject.key is not None
        return str(subject.key.uri)

    def one_more(self, token: Token) -> None:
        """Ask for another key, such as a full token has no room for."""
        assert isinstance(token, Generates)
        token.generate(KeySpec(self.algorithm, "too many"))

    @abstractmethod
    def pull(self) -> None:
        """Take the token away."""

    @abstractmethod
    def slow_down(self, seconds: float) -> None:
        """Every signature takes that much longer."""

    def pull_during(self) -> threading.Timer:
        """Take the token away in the middle of the signature that is asked for next."""
        self.slow_down(0.6)
        timer = threading.Timer(0.2, self.pull)
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

    def tries_left(self) -> int | None:
        """Tries of the PIN as the token itself counts; None where it counts none or never tells how many."""
        return None

    def change_pin(self, new: str) -> None:
        """As if somebody else had set another PIN, and this program's login with the token had ended."""
        raise Unable("once a vault is open, its passphrase is not used again")

    def names_cure(self, hint: str) -> bool:
        """Whether a hint holds the exact command that ends a lock-out: its verb, and a name of this token."""
        found = re.search("meshhw token unlock '([^']+)'", hint)
        return found is not None and self._opens(found[1])

    def _opens(self, name: str) -> bool:
        with closing(open_token(TokenURI.parse(name))) as named, closing(self.open()) as own:
            return named.info().uri == own.info().uri

    @abstractmethod
    def hang(self) -> None:
        """It takes commands and does not answer."""

    @abstractmethod
    def strange_answer(self) -> int:
        """The next signature is answered with a code that no standard has; the code."""

    @abstractmethod
    def fill(self) -> None:
        """No room is left for another key."""

    @abstractmethod
    def exhaust(self) -> AbstractContextManager[object]:
        """Nobody gets another handle: a session, a slot of its memory, a connection."""

    @abstractmethod
    def handles(self) -> int:
        """How many are in use, by whichever program."""

    def filed(self, token: Token, former: Subject | None = None) -> Subject:
        """A subject that is kept, or known, by a file of ours."""
        return self.subject(token, former)

    def file(self) -> Path:
        """That file, where there is one."""
        raise Unable("this token keeps its keys itself, and not in files of ours")

    def changed(self, whole: bytes) -> dict[bytes, type[MeshError]]:
        """That file damaged, and as a later release may write it; what each is told as."""
        middle = len(whole) // 2
        cut, flipped = whole[:middle], whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        return dict.fromkeys((b"", cut, flipped), IntegrityError)

    def held_by_another(self) -> AbstractContextManager[str]:
        """Another program holds the token alone; the name of that program, empty where nobody can know it."""
        raise Unable("several programs may use this token at once, and none can keep the others out")

    def touch_key(self, token: Token) -> Subject:
        """A subject whose every use wants a touch."""
        raise Unable("this token has nothing to touch")

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
