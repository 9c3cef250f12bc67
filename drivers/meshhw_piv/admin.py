"""PIN, PUK, management key and reset."""

from __future__ import annotations

import secrets

from yubikit.core import Tlv
from yubikit.core.smartcard import ApduError
from yubikit.piv import MANAGEMENT_KEY_TYPE

from meshhw.errors import NotSupported, PinIncorrect, UsageError
from meshhw.keystore.interaction import PinKind, PinRequest
from meshhw_piv import facts, objects, tlv
from meshhw_piv.codes import SECURITY_NOT_SATISFIED, retries_of
from meshhw_piv.instructions import (
    CHANGE_REFERENCE,
    MANAGEMENT,
    PIN,
    PUK,
    RESET,
    RESET_RETRY,
    SET_MANAGEMENT_KEY,
    SET_RETRIES,
    VERIFY,
)
from meshhw_piv.login import ADMIN_DATA, MANAGED_BY_PIN, PRINTED, Login
from meshhw_piv.session import CardSession

NO_PIN = b"\xff" * 8
"""What is no PIN on any card: only to use up tries before a reset."""
MOST_TRIES = 255
FACTORY_VALUE = 0x05
"""Metadata's object that says whether a PIN or key is the one of the factory."""
_SECRETS = {PIN: "PIN", PUK: "PUK", MANAGEMENT: "management key"}
NOT_LOCKED = frozenset({0x6985, SECURITY_NOT_SATISFIED})
"""What cards say of a reset while PIN or PUK have tries left."""


class Administration:
    """Changes how a card is guarded; everything here runs inside `CardSession.run`."""

    def __init__(self, session: CardSession, login: Login) -> None:
        self._session = session
        self._login = login

    def change_pin(self) -> None:
        """A new PIN by the old one."""
        old = self._login.ask(PinKind.USER)
        new = self._login.ask(PinKind.USER, new=True)
        self._login.replace(CHANGE_REFERENCE, self._login.reference(), old, new)
        self._session.pin, self._session.verified = new, False

    def change_puk(self) -> None:
        """A new PUK by the old one."""
        old = self._login.ask(PinKind.PUK)
        self._login.replace(CHANGE_REFERENCE, PUK, old, self._login.ask(PinKind.PUK, new=True))

    def unlock(self) -> None:
        """A new PIN by the PUK."""
        puk = self._login.ask(PinKind.PUK)
        new = self._login.ask(PinKind.USER, new=True)
        self._login.replace(RESET_RETRY, PIN, puk, new)
        self._session.pin, self._session.verified = new, False

    def change_management_key(self) -> None:
        """A new management key from the person, in hexadecimal; kept behind the PIN if the old one was."""
        self._login.management()
        identity = self._session.identity
        request = PinRequest(PinKind.MANAGEMENT, identity.uri, identity.label, new=True)
        try:
            key = bytes.fromhex(self._session.options.interaction.pin(request))
        except ValueError:
            raise PinIncorrect(
                "a management key is written in hexadecimal digits; nothing was sent"
            ) from None
        protected = self._is_protected()
        self._set_management_key(key)
        if protected:
            self._keep_behind_pin(key)

    def protect_management_key(self) -> None:
        """Replace the management key by a random one that the card gives out for the PIN (as ykman does)."""
        self._login.management()
        self._login.user()
        key = secrets.token_bytes(self._login.management_type().key_len)
        self._keep_behind_pin(key)  # first: a key that is set but not kept would be lost
        self._set_management_key(key)
        flags = Tlv(0x80, Tlv(0x81, bytes([MANAGED_BY_PIN])))
        objects.write(self._session, ADMIN_DATA, flags)

    def set_retries(self, pin: int, puk: int) -> None:
        """How many tries PIN and PUK have from now on; both go back to the factory's values."""
        if not (1 <= pin <= MOST_TRIES and 1 <= puk <= MOST_TRIES):
            raise UsageError(f"PIN and PUK have 1 to {MOST_TRIES} tries")
        self._login.management()
        self._login.user()
        self._session.send(SET_RETRIES, pin, puk)
        self._session.pin, self._session.verified = None, False

    def reset(self) -> None:
        """Erase every key, certificate and object of the PIV application. Raises NotSupported.

        The card allows it only when PIN and PUK are locked, so their tries are used up first; a card
        that knows no reset is found out before.
        """
        self._session.settle()
        if self._try_reset():
            return
        self._use_up(VERIFY, NO_PIN)
        self._use_up(RESET_RETRY, NO_PIN + NO_PIN)
        self._session.send(RESET, 0, 0)
        self._forget()

    def _try_reset(self) -> bool:
        try:
            self._session.send(RESET, 0, 0)
        except ApduError as error:
            if error.sw not in NOT_LOCKED:
                raise NotSupported(f"{self._session.identity.label} cannot be reset") from error
            return False
        self._forget()
        return True

    def _use_up(self, ins: int, data: bytes) -> None:
        for _ in range(MOST_TRIES + 1):
            try:
                self._session.send(ins, 0, PIN, data)
            except ApduError as error:
                if retries_of(error.sw) == 0:
                    return
        raise NotSupported(f"{self._session.identity.label} does not lock")

    def _forget(self) -> None:
        self._session.pin, self._session.verified, self._session.managed = None, False, False

    def details(self) -> dict[str, str | int]:
        """How it is guarded, as far as metadata tell: whether a secret is the factory's costs no try so."""
        self._session.settle()
        told = {name: facts.metadata(self._session, place) for place, name in _SECRETS.items()}
        factory = [name for name, fields in told.items() if fields.get(FACTORY_VALUE) == b"\1"]
        kind = told[_SECRETS[MANAGEMENT]].get(facts.ALGORITHM, b"")
        details: dict[str, str | int | None] = {
            "puk_tries_left": self._login.puk_retries(),
            "management_key": next((one.name for one in MANAGEMENT_KEY_TYPE if bytes([one]) == kind), ""),
            "factory_values": ", ".join(factory),
        }
        return {name: fact for name, fact in details.items() if fact not in ("", None)}

    def _is_protected(self) -> bool:
        admin = objects.read(self._session, ADMIN_DATA)
        if not admin:
            return False
        flags = tlv.fields(tlv.unwrap(0x80, admin)).get(0x81, b"\0")
        return bool(flags[0] & MANAGED_BY_PIN)

    def _keep_behind_pin(self, key: bytes) -> None:
        objects.write(self._session, PRINTED, Tlv(0x88, Tlv(0x89, key)))

    def _set_management_key(self, key: bytes) -> None:
        kind = _kind_of(key, self._login.management_type())
        data = bytes([kind]) + Tlv(MANAGEMENT, key)
        self._session.send(SET_MANAGEMENT_KEY, 0xFF, 0xFF, data)
        self._session.management_kind = kind


def _kind_of(key: bytes, now: MANAGEMENT_KEY_TYPE) -> MANAGEMENT_KEY_TYPE:
    """The algorithm for a key of that length: the present one if it fits. Raises UsageError."""
    fitting = [kind for kind in (now, *MANAGEMENT_KEY_TYPE) if kind.key_len == len(key)]
    if not fitting:
        raise UsageError("a management key has 16, 24 or 32 octets")
    return MANAGEMENT_KEY_TYPE(fitting[0])
