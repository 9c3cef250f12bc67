"""Setting and changing the PIN, and erasing the authenticator (CTAP 2.1 sections 6.5 and 6.6)."""

from __future__ import annotations

from fido2.ctap import CtapError
from fido2.ctap2.base import Ctap2

from meshhw.errors import NotSupported, UsageError
from meshhw.keystore.interaction import PinKind
from meshhw_fido2.credentials import Asker, has_pin
from meshhw_fido2.errors import ERR, fold
from meshhw_fido2.person import Stop, announce
from meshhw_fido2.pins import Pins, client_pin

LONGEST_PIN = 63


def only_user(kind: PinKind) -> None:
    """Raises NotSupported for a kind of PIN that authenticators do not have."""
    if kind is not PinKind.USER:
        raise NotSupported(f"a FIDO2 authenticator has no {kind} PIN")


def change_pin(ctap: Ctap2, pins: Pins) -> None:
    """Ask for the PIN (where one is set) and a new one. Raises UsageError for one of a wrong length."""
    if "clientPin" not in ctap.info.options:
        raise NotSupported("the authenticator can have no PIN")
    client = client_pin(ctap)
    old = pins.ask(client) if has_pin(ctap) else None
    new = pins.ask(client, new=True)
    shortest = ctap.info.min_pin_length
    if len(new) < shortest or len(new.encode()) > LONGEST_PIN:
        raise UsageError(f"a PIN has {shortest} characters or more, and at most {LONGEST_PIN} octets")
    pins.forget()
    if old is None:
        client.set_pin(new)
        return
    try:
        client.change_pin(old, new)
    except CtapError as error:
        raise pins.refused(client, error) from error


def reset(ctap: Ctap2, asker: Asker) -> None:
    """Erase everything. Raises NotSupported when it was not plugged in just now."""
    try:
        ctap.reset(event=Stop(asker.interaction), on_keepalive=announce(asker.interaction, asker.label))
    except CtapError as error:
        if error.code != ERR.NOT_ALLOWED:
            raise
        raise NotSupported(
            "the authenticator refuses to be erased now",
            hint="take it out, put it back, and repeat within ten seconds",
            code=fold(error).code,
        ) from error
