"""How the library asks a person: it never prints or prompts itself, it calls an Interaction.

The command line's is a terminal (meshhw/cli/terminal.py); here are the one that refuses everything,
which is the default, and one that answers from a script.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

from meshhw.errors import PinRequired
from meshhw.keystore.uri import TokenURI


class PinKind(StrEnum):
    """Which secret a token asks for."""

    USER = "user"
    PUK = "puk"
    SO = "so"
    MANAGEMENT = "management"
    CONTEXT = "context"
    VAULT = "vault"


@dataclass(frozen=True, slots=True)
class PinRequest:
    """One question for one secret of one token; it is sent to that token and to no other."""

    kind: PinKind
    token: TokenURI
    label: str
    retries_left: int | None = None
    new: bool = False
    """A secret to be set, asked for twice at a terminal, rather than one to be checked."""
    first: bool = False
    """With `new`: the token has none yet, so what is given as its PIN becomes its PIN."""


class Interaction(Protocol):
    """What a driver may ask while it works. Every call may come from any thread."""

    def pin(self, request: PinRequest) -> str:
        """The secret. Raises PinRequired when nobody can be asked, Cancelled when the person declines."""
        ...

    def final_try(self, request: PinRequest) -> bool:
        """Whether the one try that is left may be spent; false unless the person said so beforehand."""
        ...

    def touch(self, label: str) -> None:
        """Said before a call that waits for a touch of this token."""
        ...

    def insert(self, token: TokenURI, label: str) -> bool:
        """Ask for an absent token; true when it is worth looking again."""
        ...

    def confirm(self, question: str) -> bool:
        """Whether to do something that cannot be undone."""
        ...

    def progress(self, what: str, done: int, total: int | None) -> None:
        """How far long work has come; `total` None where it is unknown."""
        ...

    def cancelled(self) -> bool:
        """Whether the person wants waiting calls to stop."""
        ...


@runtime_checkable
class Tells(Protocol):
    """Interactions that can say something that asks for no answer: what will be asked, what went wrong on
    the way.
    """

    def tell(self, line: str) -> None:
        """Show one line."""
        ...


class Refusing:
    """The null interaction: nobody is there, so nothing is answered and nothing is confirmed."""

    def pin(self, request: PinRequest) -> str:
        raise PinRequired(f"{request.label} needs its {request.kind} PIN and nobody can be asked")

    def final_try(self, request: PinRequest) -> bool:
        return False

    def touch(self, label: str) -> None:
        return None

    def insert(self, token: TokenURI, label: str) -> bool:
        return False

    def confirm(self, question: str) -> bool:
        return False

    def progress(self, what: str, done: int, total: int | None) -> None:
        return None

    def cancelled(self) -> bool:
        return False


PinSource = Mapping[PinKind, str] | Callable[[PinRequest], str]


@dataclass(slots=True)
class Scripted(Refusing):
    """Answers from a script, and remembers what was asked. For tests and for unattended use.

    `pins` is a mapping by kind or a function of the request; `asked` and `touches` grow as it is used.
    """

    pins: PinSource = field(default_factory=dict, repr=False)
    confirms: bool = True
    allow_final_try: bool = False
    inserts: Callable[[TokenURI], bool] | None = None
    asked: list[PinRequest] = field(default_factory=list)
    touches: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    stop: bool = False

    def pin(self, request: PinRequest) -> str:
        self.asked.append(request)
        if callable(self.pins):
            return self.pins(request)
        if request.kind not in self.pins:
            return Refusing.pin(self, request)
        return self.pins[request.kind]

    def final_try(self, request: PinRequest) -> bool:
        return self.allow_final_try

    def touch(self, label: str) -> None:
        self.touches.append(label)

    def insert(self, token: TokenURI, label: str) -> bool:
        return self.inserts is not None and self.inserts(token)

    def confirm(self, question: str) -> bool:
        self.questions.append(question)
        return self.confirms

    def cancelled(self) -> bool:
        return self.stop


REFUSING: Interaction = Refusing()
