"""A key under way: marked in its slot before it is made, and taken back when something after that fails.

On a card that tells a key's public half by a certificate alone, a key without one is lost: nothing shows it,
and its slot looks empty or used by somebody else. So the certificate's object is written twice. Before the
key is made it gets a mark, as large as most certificates will be, which finds out in time whether the card
has room; then the certificate takes its place. What a pulled card leaves behind is found by the mark.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from yubikit.core.smartcard import ApduError

from meshhw.algorithms import Algorithm
from meshhw.errors import MeshError
from meshhw_piv import facts, objects, slots
from meshhw_piv.session import CardSession

RESERVED = 640
"""Octets of a slot's first certificate object: room for those of later keys, too, since cards are known that
never give an object more than it had at first."""


class Begun:
    """Which slot's key is being made, and what stood in place of its certificate before."""

    def __init__(self, session: CardSession, erase: Callable[[int, int], None]) -> None:
        """`erase` destroys the key in a slot, of the algorithm of that code."""
        self._session = session
        self._erase = erase
        self._slot: int | None = None
        self._code = 0
        self._marked = False
        self._before: bytes | None = None

    def begin(self, slot: int, algorithm: Algorithm, *, imported: bool) -> None:
        """Mark the slot, unless the card will tell what is in it. Raises ApduError: no key is made then."""
        session = self._session
        self._slot, self._code, self._marked = None, slots.CODES[algorithm], False
        if not facts.tells_metadata(session) or (imported and not session.identity.yubikey):
            self._before = objects.read(session, slots.CERTIFICATES[slot])
            self._slot, self._marked = slot, True
            mark = facts.unfinished_mark(self._code, RESERVED)
            objects.write(session, slots.CERTIFICATES[slot], mark)
        self._slot = slot

    def refused(self) -> None:
        """The card made no key: what stood in the mark's place stands there again."""
        if self._slot is not None and self._marked:
            with suppress(ApduError):
                objects.write(self._session, slots.CERTIFICATES[self._slot], self._before or b"")
        self._slot = None

    def finish(self) -> None:
        """The key is there, and the card tells it."""
        self._slot = None

    def unmark(self) -> None:
        """The card tells the key by itself, and needs no certificate: no mark stays. Raises ApduError."""
        slot = self._slot
        assert slot is not None
        before = self._before if self._marked else objects.read(self._session, slots.CERTIFICATES[slot])
        says = facts.is_emptied(before) or facts.unfinished(before) is not None
        if self._marked or says:
            objects.write(self._session, slots.CERTIFICATES[slot], b"" if says else before or b"")
        self._marked = False

    def take_back(self) -> None:
        """Destroy the key. Where not even that is possible, `tell_left` tells of it."""
        slot = self._slot
        if slot is None:
            return
        with suppress(ApduError):
            self._erase(slot, self._code)
            self._slot = None

    def tell_left(self, error: MeshError) -> None:
        """Let the error of a making name the key that may have been left behind."""
        slot, self._slot = self._slot, None
        if slot is None:
            return
        token, uri = self._session.identity.uri, self._session.identity.uri.key(slot=slots.name(slot))
        mend = (
            f"`meshhw key tidy '{token}'` destroys it, and so does making a key there"
            if self._marked
            else f"if `meshhw token keys '{token}'` shows it, `meshhw key delete '{uri}'` destroys it"
        )
        told = f"slot {slots.name(slot)} may hold an unfinished key: {mend}"
        error.hint = f"{error.hint}; {told}".removeprefix("; ")
