"""PIN and management key of one card: asked for when needed, never the last try unasked."""

from __future__ import annotations

import logging
from contextlib import suppress

from yubikit.core import Tlv
from yubikit.core.smartcard import AID, ApduError
from yubikit.piv import DEFAULT_MANAGEMENT_KEY, MANAGEMENT_KEY_TYPE

from meshhw.errors import PinFinalTry, PinIncorrect, PinLocked, WireCode
from meshhw.keystore.interaction import PinKind, PinRequest
from meshhw_piv import facts, objects, tlv
from meshhw_piv.codes import FAILED, WRONG_DATA, WRONG_LENGTH, from_status, retries_of
from meshhw_piv.instructions import CHANGE_REFERENCE, GET_DATA, GLOBAL_PIN, PIN, PUK, VERIFY
from meshhw_piv.management import ManagementKey
from meshhw_piv.session import CardSession

PIN_LENGTH = 8
SHORTEST_PIN, SHORTEST_ELSEWHERE = 6, 4
"""Of YubiKeys and the standard; cards of other makers are known whose PIN may be shorter."""
DISCOVERY, TAG_AID, TAG_PIN_USAGE = 0x7E, 0x4F, 0x5F2F
SATISFIED_BY_GLOBAL, PRIMARY_IS_GLOBAL = 0x20, 0x20
"""The first and the second octet of the PIN usage policy (SP 800-73-4 part 1, 3.3.2)."""
ADMIN_DATA, PRINTED = 0x5FFF00, 0x5FC109
MANAGED_BY_PIN = 0x02
"""Flag of the YubiKey's admin data: the management key lies in the printed-information object."""

_log = logging.getLogger("meshhw.piv")
_log.addHandler(logging.NullHandler())  # a library never prints: who wants to see warnings adds a handler


class Login:
    """Proves to the card what it asks for; everything here runs inside `CardSession.run`."""

    def __init__(self, session: CardSession) -> None:
        self._session = session
        self._management = ManagementKey(session)
        self._warned = False

    def user(self) -> None:
        """Verify the PIN unless the card has it already."""
        if not self._session.verified:
            self._verify(self._known() or self.ask(PinKind.USER))

    def afresh(self) -> None:
        """Verify for a key that wants the PIN each time; a batch asks once."""
        known = self._known() if self._session.held else None
        self._verify(known or self.ask(PinKind.CONTEXT))

    def again(self) -> None:
        """Verify the PIN that the card has had already once more."""
        known = self._known()
        if known is not None:
            self._verify(known)

    def retries(self) -> int | None:
        """Tries that the PIN has left; None while it is verified and the card tells no more."""
        left = self._told() if self._session.identity.yubikey else None
        if left is not None:
            return left
        reference = self.reference()
        self._session.settle()
        try:
            self._session.send(VERIFY, 0, reference)
        except ApduError as error:
            return retries_of(error.sw)
        return None

    def reference(self) -> int:
        """The PIN's reference; a card may say that its holder knows the one of all its applications."""
        session = self._session
        if session.pin_reference is None:
            shared = not session.identity.yubikey and self._prefers_global()
            session.pin_reference = GLOBAL_PIN if shared else PIN
        return session.pin_reference

    def puk_retries(self) -> int | None:
        """Tries that the PUK has left, where the card has metadata."""
        self._session.settle()
        return self._counter(PUK)

    def ask(self, kind: PinKind, *, new: bool = False) -> str:
        """A PIN or PUK from the person. Raises PinLocked, PinFinalTry, PinIncorrect.

        One that no card could have is refused here and costs no try.
        """
        request = self._request(kind, new=new)
        if not new:
            self._spare_last_try(request)
        value = self._session.options.interaction.pin(request)
        shortest = SHORTEST_PIN if self._session.identity.yubikey else SHORTEST_ELSEWHERE
        if not shortest <= len(value.encode()) <= PIN_LENGTH:
            raise PinIncorrect(
                f"a PIV {_noun(kind)} has {shortest} to {PIN_LENGTH} characters; nothing was sent",
                retries_left=request.retries_left,
            )
        return value

    def replace(self, ins: int, p2: int, old: str, new: str) -> None:
        """CHANGE REFERENCE DATA or RESET RETRY COUNTER. Raises PinIncorrect, PinLocked."""
        kind = PinKind.USER if ins == CHANGE_REFERENCE and p2 != PUK else PinKind.PUK
        try:
            self._session.send(ins, 0, p2, _padded(old) + _padded(new))
        except ApduError as error:
            raise self._wrong(error, kind) from error

    def locked(self, kind: PinKind, code: WireCode | None = None) -> PinLocked:
        """The error for a PIN or PUK without tries, with the exact command that helps."""
        uri, label = self._session.identity.uri, self._session.identity.label
        if kind is PinKind.PUK:
            return PinLocked(
                f"{label}: its PUK is locked",
                unlock_hint="only a reset, which erases every key, helps",
                code=code,
            )
        return PinLocked(f"{label}: its PIN is locked", unlock_hint=f"meshhw token unlock '{uri}'", code=code)

    def management(self) -> None:
        """Prove the management key: the one kept behind the PIN, else the factory's, else the person's."""
        session = self._session
        if session.managed:
            return
        session.settle()
        key = self._protected_key()
        if key is None and self._management.prove(DEFAULT_MANAGEMENT_KEY):
            self._warn()
            return
        if not self._management.prove(key or self._asked_key()):
            raise PinIncorrect(f"{session.identity.label}: the management key is wrong")

    def _warn(self) -> None:
        if not self._warned:
            uri, label = self._session.identity.uri, self._session.identity.label
            change = f"`meshhw token change-pin --kind management '{uri}'`"
            _log.warning("%s has the factory's management key, which anybody knows: %s", label, change)
        self._warned = True

    def management_type(self) -> MANAGEMENT_KEY_TYPE:
        """The management key's algorithm."""
        return self._management.kind()

    def has_default_management_key(self) -> bool:
        """Whether the factory's key still opens the card."""
        return self._management.prove(DEFAULT_MANAGEMENT_KEY)

    def _known(self) -> str | None:
        """The PIN given before, unless others have spent so many tries that it may not be sent unasked."""
        if self._session.pin is not None:
            self._spare_last_try(self._request(PinKind.USER, new=False))
        return self._session.pin

    def _request(self, kind: PinKind, *, new: bool) -> PinRequest:
        identity = self._session.identity
        left = None if new else self.puk_retries() if kind is PinKind.PUK else self.retries()
        return PinRequest(kind, identity.uri, identity.label, left, new)

    def _spare_last_try(self, request: PinRequest) -> None:
        if request.retries_left == 0:
            raise self.locked(request.kind)
        if request.retries_left == 1 and not self._session.options.interaction.final_try(request):
            noun = _noun(request.kind)
            raise PinFinalTry(f"{request.label}: one try is left for its {noun}", retries_left=1)

    def _verify(self, pin: str) -> None:
        session = self._session
        session.verified = False
        try:
            session.send(VERIFY, 0, self.reference(), _padded(pin))
        except ApduError as error:
            session.pin = None
            raise self._wrong(error, PinKind.USER) from error
        session.pin, session.verified = pin, True

    def _wrong(self, error: ApduError, kind: PinKind) -> Exception:
        label = self._session.identity.label
        left = self._left(error.sw, kind)
        if left is None and error.sw in (WRONG_DATA, WRONG_LENGTH):
            return PinIncorrect(f"{label} has no {_noun(kind)} of such a form; it cost no try")
        if left is None:
            return from_status(error.sw, label, f"take the {_noun(kind)}")
        code = WireCode("SW", error.sw, "verification failed")
        if left == 0:
            return self.locked(kind, code)
        tries = "1 try" if left == 1 else f"{left} tries"
        return PinIncorrect(
            f"{label}: wrong {_noun(kind)}, {tries} left",
            retries_left=left,
            hint="be sure before the next try",
            code=code,
        )

    def _left(self, status: int, kind: PinKind) -> int | None:
        """Tries left after a refusal, asked for where the refusal does not tell them."""
        if status != FAILED:
            return retries_of(status)
        return self.puk_retries() if kind is PinKind.PUK else self.retries()

    def _told(self) -> int | None:
        """The PIN's tries as a YubiKey's metadata have them, which no other application tells."""
        session = self._session
        if not facts.tells_metadata(session):
            return None
        if not session.fresh:
            with suppress(ApduError):  # of whatever application another program has left selected
                left = self._counter(PIN)
                if left is not None:
                    session.proven()
                    return left
            session.settle()
        return self._counter(PIN)

    def _counter(self, reference: int) -> int | None:
        retries = facts.metadata(self._session, reference).get(0x06, b"")
        return retries[1] if len(retries) == 2 else None

    def _prefers_global(self) -> bool:
        session = self._session
        found: dict[int, bytes] = {}
        asked_more = session.identity.imitates or not session.identity.guid or session.metadata
        if asked_more and not session.fresh:  # such a card is spared the selection: the object names PIV
            found = self._discovery()
            if found.get(TAG_AID, b"").startswith(AID.PIV):
                session.proven()
        if not session.fresh or not found:
            session.settle()
            found = self._discovery()
        usage = found.get(TAG_PIN_USAGE, b"")
        return len(usage) == 2 and bool(usage[0] & SATISFIED_BY_GLOBAL) and usage[1] == PRIMARY_IS_GLOBAL

    def _discovery(self) -> dict[int, bytes]:
        name = Tlv(0x5C, bytes([DISCOVERY]))
        try:
            return tlv.fields(tlv.unwrap(DISCOVERY, self._session.send(GET_DATA, 0x3F, 0xFF, name)))
        except (ApduError, ValueError):
            return {}

    def _protected_key(self) -> bytes | None:
        """The management key out of the printed-information object, as YubiKey tools keep it there."""
        flags = _inner(self._object(ADMIN_DATA), 0x80).get(0x81, b"\0")
        if not flags or not flags[0] & MANAGED_BY_PIN:
            return None
        self.user()
        return _inner(self._object(PRINTED), 0x88).get(0x89)

    def _object(self, identifier: int) -> bytes:
        try:
            return objects.read(self._session, identifier) or b""
        except (ApduError, ValueError):
            return b""

    def _asked_key(self) -> bytes:
        session = self._session
        request = PinRequest(PinKind.MANAGEMENT, session.identity.uri, session.identity.label)
        text = session.options.interaction.pin(request)
        try:
            return bytes.fromhex(text)
        except ValueError:
            raise PinIncorrect(
                "a management key is written in hexadecimal digits; nothing was sent"
            ) from None


def _inner(value: bytes, tag: int) -> dict[int, bytes]:
    try:
        return tlv.fields(tlv.unwrap(tag, value)) if value else {}
    except ValueError:
        return {}


def _padded(pin: str) -> bytes:
    return pin.encode().ljust(PIN_LENGTH, b"\xff")


def _noun(kind: PinKind) -> str:
    return "PUK" if kind is PinKind.PUK else "PIN"
