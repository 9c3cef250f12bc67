"""Named octets that are kept in a card's data objects.

Public data goes into objects of the YubiKey's free range, and behind the PIN on cards without it; private
data into the standard's biometric objects (fingerprints, face, iris), which every PIV card guards with the
PIN. An object that holds anything else than this program's entries is left alone.
"""

from __future__ import annotations

from yubikit.core import Tlv
from yubikit.core.smartcard import ApduError

from meshhw.errors import NotSupported, TokenFull
from meshhw_piv import tlv
from meshhw_piv.codes import NO_ROOM, NO_SUCH_OBJECT
from meshhw_piv.instructions import VERIFY
from meshhw_piv.login import Login
from meshhw_piv.objects import read, write
from meshhw_piv.session import CardSession

PUBLIC = tuple(range(0x5F4D00, 0x5F4D08))
PRIVATE = (0x5FC103, 0x5FC108, 0x5FC121)
LONGEST = 2900
"""Octets of one object that every card of the field takes."""
OURS, NAME, DATA = 0xD0, 0x80, 0x81

Entries = dict[str, bytes]


class Store:
    """Named octets on one card; everything here runs inside `CardSession.run`."""

    def __init__(self, session: CardSession, login: Login) -> None:
        self._session = session
        self._login = login

    def names(self) -> list[str]:
        """All names, which asks for the PIN."""
        return sorted({name for entries in self._all().values() for name in entries})

    def load(self, name: str) -> bytes | None:
        """The octets of a name; the PIN is asked only if no public object holds it."""
        for private in (False, True):
            for entries in self._objects(private).values():
                if entries is not None and name in entries:
                    return entries[name]
        return None

    def store(self, name: str, data: bytes, *, private: bool) -> None:
        """Create or replace. Raises TokenFull, NotSupported."""
        self._login.management()
        places = self._objects(private)
        if self._put(name, data, PRIVATE if private else PUBLIC, places, check=private):
            return
        if not private and self._put(name, data, PRIVATE, self._objects(private=True), check=False):
            return
        raise TokenFull(
            f"{self._session.identity.label} has no room for {len(data)} octets of data",
            hint="delete data that is no longer needed, or use another token",
        )

    def _put(
        self,
        name: str,
        data: bytes,
        identifiers: tuple[int, ...],
        held: dict[int, Entries | None],
        *,
        check: bool,
    ) -> bool:
        """Write into the first object that takes it; false where none does. Raises NotSupported."""
        for identifier in identifiers:
            entries = held.get(identifier, {})
            if entries is None:
                continue
            changed = entries | {name: data}
            if len(_encode(changed)) <= LONGEST and self._written(identifier, changed, entries):
                self._check_protection(identifier, check)
                self._remove(name, keep=identifier)
                return True
        return False

    def _written(self, identifier: int, entries: Entries, before: Entries) -> bool:
        """Write, or leave the object as it was where the card has not got it, or room in it."""
        try:
            write(self._session, identifier, _encode(entries))
        except ApduError as error:
            if error.sw in NO_ROOM:  # cards are known that have taken the beginning
                write(self._session, identifier, _encode(before) if before else b"")
            elif error.sw not in NO_SUCH_OBJECT:
                raise
            return False
        return True

    def delete(self, name: str) -> None:
        """Remove a name wherever it is."""
        self._login.management()
        self._remove(name)

    def _remove(self, name: str, keep: int | None = None) -> None:
        for identifier, entries in self._all().items():
            if identifier != keep and name in entries:
                kept = {other: data for other, data in entries.items() if other != name}
                write(self._session, identifier, _encode(kept))

    def _all(self) -> dict[int, Entries]:
        both = self._objects(private=False) | self._objects(private=True)
        return {identifier: entries for identifier, entries in both.items() if entries is not None}

    def _objects(self, private: bool) -> dict[int, Entries | None]:
        """The objects that are there; None for those that hold something else."""
        if private:
            self._login.user()
        found: dict[int, Entries | None] = {}
        for identifier in PRIVATE if private else PUBLIC:
            value = read(self._session, identifier)
            if value is None and not private:
                break  # public objects are used in their order, and an emptied one stays
            if value is not None:
                found[identifier] = _decode(value)
        return found

    def _check_protection(self, identifier: int, private: bool) -> None:
        """Make sure that the card really asks for the PIN; take the data away again where it does not."""
        session = self._session
        if not private or not self._forget_pin():
            return
        try:
            exposed = read(session, identifier) is not None
        except ApduError:
            exposed = False
        if exposed:
            write(session, identifier, b"")
            raise NotSupported(f"{session.identity.label} gives private data away without its PIN")

    def _forget_pin(self) -> bool:
        """Whether the card could be made to forget that it has seen the PIN."""
        session = self._session
        for p1 in (0xFF, 0x00):  # SP 800-73-4 part 2, 3.2.1: P1 = FF resets, without data 00 asks
            try:
                session.send(VERIFY, p1, self._login.reference())
                forgotten = False
            except ApduError:
                forgotten = p1 == 0x00
        session.verified = not forgotten
        return forgotten


def _encode(entries: Entries) -> bytes:
    return bytes(
        Tlv(OURS, b"".join(Tlv(NAME, name.encode()) + Tlv(DATA, data) for name, data in entries.items()))
    )


def _decode(value: bytes) -> Entries | None:
    try:
        fields = Tlv.parse_list(tlv.unwrap(OURS, value))
        names, data = fields[::2], fields[1::2]
        if any(field.tag != NAME for field in names) or any(field.tag != DATA for field in data):
            return None
        return {name.value.decode(): item.value for name, item in zip(names, data, strict=True)}
    except (ValueError, UnicodeDecodeError):
        return None
