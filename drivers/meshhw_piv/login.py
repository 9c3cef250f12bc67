"""PIN and management key of one card: asked for when needed, never the last try unasked."""

from __future__ import annotations

import hmac
import logging
import secrets

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from yubikit.core import Tlv
from yubikit.core.smartcard import ApduError
from yubikit.piv import DEFAULT_MANAGEMENT_KEY, MANAGEMENT_KEY_TYPE

from meshhw.errors import PinFinalTry, PinIncorrect, PinLocked, TokenFault, WireCode
from meshhw.keystore.interaction import PinKind, PinRequest
from meshhw_piv.codes import SECURITY_NOT_SATISFIED, from_status, retries_of
from meshhw_piv.instructions import (
    AUTHENTICATE,
    CHANGE_REFERENCE,
    GET_DATA,
    GET_METADATA,
    MANAGEMENT,
    PIN,
    PUK,
    VERIFY,
)
from meshhw_piv.session import CardSession

PIN_LENGTH = 8
SHORTEST_PIN = 6
ADMIN_DATA, PRINTED = 0x5FFF00, 0x5FC109
MANAGED_BY_PIN = 0x02
"""Flag of the YubiKey's admin data: the management key lies in the printed-information object."""

_log = logging.getLogger("meshhw.piv")
_log.addHandler(logging.NullHandler())  # a library never prints: who wants to see warnings adds a handler


class Login:
    """Proves to the card what it asks for; everything here runs inside `CardSession.run`."""

    def __init__(self, session: CardSession) -> None:
        self._session = session
        self._warned = False

    def user(self) -> None:
        """Verify the PIN unless the card has it already."""
        if not self._session.verified:
            self._verify(self._known() or self.ask(PinKind.USER))

    def afresh(self) -> None:
        """Verify for a key that wants the PIN each time; a batch asks once."""
        known = self._known() if self._session.held else None
        self._verify(known or self.ask(PinKind.CONTEXT))

    def retries(self) -> int | None:
        """Tries that the PIN has left; None while it is verified and the card tells no more."""
        self._session.settle()
        left = self._counter(PIN)
        if left is not None:
            return left
        try:
            self._session.send(VERIFY, 0, PIN)
        except ApduError as error:
            return retries_of(error.sw)
        return None

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
        if not SHORTEST_PIN <= len(value.encode()) <= PIN_LENGTH:
            raise PinIncorrect(
                f"a PIV {_noun(kind)} has 6 to 8 characters; nothing was sent",
                retries_left=request.retries_left,
            )
        return value

    def replace(self, ins: int, p2: int, old: str, new: str) -> None:
        """CHANGE REFERENCE DATA or RESET RETRY COUNTER. Raises PinIncorrect, PinLocked."""
        kind = PinKind.USER if (ins, p2) == (CHANGE_REFERENCE, PIN) else PinKind.PUK
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
        if key is None and self._prove(DEFAULT_MANAGEMENT_KEY):
            self._warn()
            return
        if not self._prove(key or self._asked_key()):
            raise PinIncorrect(f"{session.identity.label}: the management key is wrong")

    def _warn(self) -> None:
        if not self._warned:
            uri, label = self._session.identity.uri, self._session.identity.label
            change = f"`meshhw token change-pin --kind management '{uri}'`"
            _log.warning("%s has the factory's management key, which anybody knows: %s", label, change)
        self._warned = True

    def management_type(self) -> MANAGEMENT_KEY_TYPE:
        """The management key's algorithm; 3DES on cards that do not tell."""
        metadata = self._metadata(MANAGEMENT)
        return MANAGEMENT_KEY_TYPE(metadata.get(0x01, b"\x03")[0])

    def has_default_management_key(self) -> bool:
        """Whether the factory's key still opens the card."""
        return self._prove(DEFAULT_MANAGEMENT_KEY)

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
            session.send(VERIFY, 0, PIN, _padded(pin))
        except ApduError as error:
            session.pin = None
            raise self._wrong(error, PinKind.USER) from error
        session.pin, session.verified = pin, True

    def _wrong(self, error: ApduError, kind: PinKind) -> Exception:
        left = retries_of(error.sw)
        label = self._session.identity.label
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

    def _counter(self, reference: int) -> int | None:
        retries = self._metadata(reference).get(0x06, b"")
        return retries[1] if len(retries) == 2 else None

    def _metadata(self, reference: int) -> dict[int, bytes]:
        if self._session.identity.version < (5, 3, 0):
            return {}
        try:
            return Tlv.parse_dict(self._session.send(GET_METADATA, 0, reference))
        except ApduError:
            return {}

    def _protected_key(self) -> bytes | None:
        """The management key out of the printed-information object, as YubiKey tools keep it there."""
        flags = _inner(self._object(ADMIN_DATA), 0x80).get(0x81, b"\0")
        if not flags or not flags[0] & MANAGED_BY_PIN:
            return None
        self.user()
        return _inner(self._object(PRINTED), 0x88).get(0x89)

    def _object(self, identifier: int) -> bytes:
        tag = Tlv(0x5C, identifier.to_bytes(3, "big"))
        try:
            return Tlv.unpack(0x53, self._session.send(GET_DATA, 0x3F, 0xFF, tag))
        except ApduError:
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

    def _prove(self, key: bytes) -> bool:
        """Mutual authentication (SP 800-73-4 part 2, appendix A.1); False when the key is another."""
        kind = self.management_type()
        if len(key) != kind.key_len:
            return False
        cipher = Cipher(_block_cipher(kind, key), modes.ECB())  # noqa: S305  (one block, as the standard has it)
        witness = self._dialogue(kind, Tlv(0x80)).get(0x80, b"")
        decryptor = cipher.decryptor()
        proof = decryptor.update(witness) + decryptor.finalize()
        challenge = secrets.token_bytes(kind.challenge_len)
        try:
            answer = self._dialogue(kind, Tlv(0x80, proof) + Tlv(0x81, challenge))
        except ApduError as error:
            if error.sw == SECURITY_NOT_SATISFIED or retries_of(error.sw) is not None:
                return False
            raise
        encryptor = cipher.encryptor()
        if not hmac.compare_digest(encryptor.update(challenge) + encryptor.finalize(), answer.get(0x82, b"")):
            raise TokenFault(f"{self._session.identity.label} cannot prove that it knows the management key")
        self._session.managed = True
        return True

    def _dialogue(self, kind: MANAGEMENT_KEY_TYPE, data: bytes) -> dict[int, bytes]:
        answer = self._session.send(AUTHENTICATE, kind, MANAGEMENT, Tlv(0x7C, data))
        return Tlv.parse_dict(Tlv.unpack(0x7C, answer))


def _block_cipher(kind: MANAGEMENT_KEY_TYPE, key: bytes) -> AES | TripleDES:
    return TripleDES(key) if kind == MANAGEMENT_KEY_TYPE.TDES else AES(key)


def _inner(value: bytes, tag: int) -> dict[int, bytes]:
    try:
        return Tlv.parse_dict(Tlv.unpack(tag, value)) if value else {}
    except ValueError:
        return {}


def _padded(pin: str) -> bytes:
    return pin.encode().ljust(PIN_LENGTH, b"\xff")


def _noun(kind: PinKind) -> str:
    return "PUK" if kind is PinKind.PUK else "PIN"
