"""authenticatorClientPIN (CTAP 2.1 section 6.5.5): setting, changing, trying the PIN, and its counters."""

from __future__ import annotations

import hmac
from collections.abc import Callable

from meshhw.lab.ctap import status
from meshhw.lab.ctap.context import Context
from meshhw.lab.ctap.pin_protocol import PinProtocol
from meshhw.lab.ctap.request import Request
from meshhw.lab.ctap.state import PIN_RETRIES, PIN_RETRIES_A_SESSION
from meshhw.lab.ctap.status import CtapRefusal

MAKE, ASSERT, MANAGE = 0x01, 0x02, 0x04
"""Permissions of a pinUvAuthToken; the card knows no others."""

_PADDED_PIN = 64
_PROTOCOL, _SUBCOMMAND, _KEY, _PROOF, _NEW_PIN, _PIN_HASH, _PERMISSIONS, _RP_ID = 1, 2, 3, 4, 5, 6, 9, 10

Answer = dict[int, object]


def client_pin(context: Context, request: Request) -> Answer:
    """Answer one subcommand."""
    action = _SUBCOMMANDS.get(request.need(_SUBCOMMAND, int))
    model = context.model
    if action is _key_agreement and model.protocols:
        return action(context, request)
    if not model.client_pin:
        raise CtapRefusal(status.INVALID_COMMAND)
    if action is None or (action is _token_with_permissions and not model.pin_tokens):
        raise CtapRefusal(status.INVALID_SUBCOMMAND)
    return action(context, request)


def _retries(context: Context, _: Request) -> Answer:
    return {3: context.lasting.pin_retries, 4: context.session.wrong_pins >= PIN_RETRIES_A_SESSION}


def _key_agreement(context: Context, request: Request) -> Answer:
    return {1: context.protocol(request, _PROTOCOL).public()}


def _set(context: Context, request: Request) -> Answer:
    if context.lasting.pin_hash is not None:
        raise CtapRefusal(status.PIN_AUTH_INVALID)
    protocol = context.protocol(request, _PROTOCOL)
    shared = protocol.decapsulate(request.need(_KEY, dict))
    encrypted = request.need(_NEW_PIN, bytes)
    if not protocol.verify(shared, encrypted, request.need(_PROOF, bytes)):
        raise CtapRefusal(status.PIN_AUTH_INVALID)
    _store(context, protocol.decrypt(shared, encrypted))
    return {}


def _change(context: Context, request: Request) -> Answer:
    protocol = context.protocol(request, _PROTOCOL)
    _require_tries(context)
    shared = protocol.decapsulate(request.need(_KEY, dict))
    encrypted, wrapped = request.need(_NEW_PIN, bytes), request.need(_PIN_HASH, bytes)
    if not protocol.verify(shared, encrypted + wrapped, request.need(_PROOF, bytes)):
        raise CtapRefusal(status.PIN_AUTH_INVALID)
    _try(context, protocol, protocol.decrypt(shared, wrapped))
    _store(context, protocol.decrypt(shared, encrypted))
    context.session.token = None
    return {}


def _token_without_permissions(context: Context, request: Request) -> Answer:
    if request.get(_PERMISSIONS, int) is not None or request.get(_RP_ID, str) is not None:
        raise CtapRefusal(status.INVALID_PARAMETER)
    legacy = MAKE | ASSERT | (0 if context.model.pin_tokens else MANAGE)
    return _token(context, request, legacy, None)


def _token_with_permissions(context: Context, request: Request) -> Answer:
    permissions, rp_id = request.need(_PERMISSIONS, int), request.get(_RP_ID, str)
    if permissions <= 0 or (permissions & (MAKE | ASSERT) and rp_id is None):
        raise CtapRefusal(status.INVALID_PARAMETER if permissions <= 0 else status.MISSING_PARAMETER)
    if permissions & ~(MAKE | ASSERT | MANAGE):
        raise CtapRefusal(status.UNAUTHORIZED_PERMISSION)
    if permissions & (MAKE | ASSERT) and not context.model.pin_makes_and_asserts:
        raise CtapRefusal(status.UNAUTHORIZED_PERMISSION)
    return _token(context, request, permissions, rp_id)


def _token(context: Context, request: Request, permissions: int, rp_id: str | None) -> Answer:
    if context.lasting.pin_hash is None:
        raise CtapRefusal(status.PIN_NOT_SET)
    protocol = context.protocol(request, _PROTOCOL)
    _require_tries(context)
    shared = protocol.decapsulate(request.need(_KEY, dict))
    _try(context, protocol, protocol.decrypt(shared, request.need(_PIN_HASH, bytes)))
    if context.lasting.pin_must_change:
        legacy = request.get(_PERMISSIONS, int) is None
        raise CtapRefusal(status.PIN_INVALID if legacy else status.PIN_POLICY_VIOLATION)
    return {2: protocol.encrypt(shared, context.session.new_token(permissions, rp_id).value)}


def _require_tries(context: Context) -> None:
    if context.lasting.pin_retries == 0:
        raise CtapRefusal(status.PIN_BLOCKED)
    if context.session.wrong_pins >= PIN_RETRIES_A_SESSION:
        raise CtapRefusal(status.PIN_AUTH_BLOCKED)


def _try(context: Context, protocol: PinProtocol, pin_hash: bytes) -> None:
    """Spend a try first, so that pulling the card does not save it."""
    lasting, session = context.lasting, context.session
    lasting.pin_retries -= 1
    lasting.pins_tried += 1
    if lasting.pin_hash is not None and hmac.compare_digest(lasting.pin_hash, pin_hash):
        lasting.pin_retries, session.wrong_pins = PIN_RETRIES, 0
        return
    protocol.regenerate()
    session.wrong_pins += 1
    _require_tries(context)
    raise CtapRefusal(status.PIN_INVALID)


def _store(context: Context, padded: bytes) -> None:
    pin = padded.rstrip(b"\0")
    try:
        text = pin.decode()
    except UnicodeDecodeError as error:
        raise CtapRefusal(status.PIN_POLICY_VIOLATION) from error
    if len(padded) != _PADDED_PIN or len(text) < context.model.shortest_pin or len(pin) == _PADDED_PIN:
        raise CtapRefusal(status.PIN_POLICY_VIOLATION)
    context.lasting.set_pin(text)
    context.lasting.pin_must_change = False


_SUBCOMMANDS: dict[int, Callable[[Context, Request], Answer]] = {
    1: _retries,
    2: _key_agreement,
    3: _set,
    4: _change,
    5: _token_without_permissions,
    9: _token_with_permissions,
}
