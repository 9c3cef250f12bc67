"""One PIN for each token in one command, though several processes of it open the token.

A PIN is remembered for as long as the command runs; a wrong one ends the command. Secrets that are to be
set, and ones that a key wants each time, are not remembered.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import Interaction, PinKind, PinRequest, Tells
from meshhw.keystore.uri import TokenURI

_LASTING = (PinKind.USER, PinKind.VAULT)


@dataclass
class Remembering:
    """An interaction that asks the person behind it once for each token."""

    person: Interaction
    _known: dict[tuple[str, PinKind], str] = field(default_factory=dict, repr=False)

    def pin(self, request: PinRequest) -> str:
        """The PIN, from memory if it was given before."""
        if request.new or request.kind not in _LASTING:
            return self.person.pin(request)
        name = (str(request.token), request.kind)
        if name not in self._known:
            self._known[name] = self.person.pin(request)
        return self._known[name]

    def final_try(self, request: PinRequest) -> bool:
        """A PIN that is tried for the last time is not one from memory."""
        self._known.pop((str(request.token), request.kind), None)
        return self.person.final_try(request)

    def touch(self, label: str) -> None:
        """As the person's."""
        self.person.touch(label)

    def insert(self, token: TokenURI, label: str) -> bool:
        """As the person's."""
        return self.person.insert(token, label)

    def confirm(self, question: str) -> bool:
        """As the person's."""
        return self.person.confirm(question)

    def progress(self, what: str, done: int, total: int | None) -> None:
        """As the person's."""
        self.person.progress(what, done, total)

    def cancelled(self) -> bool:
        """As the person's."""
        return self.person.cancelled()

    def tell(self, line: str) -> None:
        """As the person's, if it can be told anything."""
        if isinstance(self.person, Tells):
            self.person.tell(line)


def remembering(options: OpenOptions) -> OpenOptions:
    """The same options for one command with several processes."""
    if isinstance(options.interaction, Remembering):
        return options
    return replace(options, interaction=Remembering(options.interaction))
