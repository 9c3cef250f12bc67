"""The extensions credProtect and hmac-secret (CTAP 2.1 sections 12.1 and 12.5)."""

from __future__ import annotations

from meshhw.lab.ctap import status
from meshhw.lab.ctap.context import Context
from meshhw.lab.ctap.credential import PROTECT_OPTIONAL, PROTECT_REQUIRED, Credential
from meshhw.lab.ctap.request import Request
from meshhw.lab.ctap.status import CtapRefusal

_SALT = 32
_PROTOCOL = 4


def known(context: Context, wanted: Request) -> Request:
    """What is wanted without that of which the model has never heard, which authenticators ignore."""
    return wanted.only(context.model.extensions)


def protect_level(wanted: Request) -> int:
    """The credProtect level that makeCredential asks for."""
    level = wanted.get("credProtect", int) or PROTECT_OPTIONAL
    if not PROTECT_OPTIONAL <= level <= PROTECT_REQUIRED:
        raise CtapRefusal(status.INVALID_OPTION)
    return level


def made(wanted: Request, level: int) -> dict[str, object]:
    """The extensions' outputs in a new credential's authenticator data."""
    outputs: dict[str, object] = {}
    if wanted.get("credProtect", int) is not None:
        outputs["credProtect"] = level
    if wanted.get("hmac-secret", bool):
        outputs["hmac-secret"] = True
    return outputs


def asserted(
    context: Context, wanted: Request, credential: Credential, *, verified: bool
) -> dict[str, object]:
    """The extensions' outputs in an assertion's authenticator data."""
    inputs = wanted.get("hmac-secret", dict)
    if inputs is None:
        return {}
    request = Request(inputs)
    version = request.get(_PROTOCOL, int) or 1
    if _PROTOCOL in inputs and not context.model.names_protocol:
        raise CtapRefusal(status.INVALID_PARAMETER)
    protocol = context.session.protocols.get(version)
    if protocol is None:
        raise CtapRefusal(status.INVALID_PARAMETER)
    shared = protocol.decapsulate(request.need(1, dict))
    encrypted = request.need(2, bytes)
    if not protocol.verify(shared, encrypted, request.need(3, bytes)):
        raise CtapRefusal(status.PIN_AUTH_INVALID)
    salts = protocol.decrypt(shared, encrypted)
    if len(salts) not in (_SALT, 2 * _SALT):
        raise CtapRefusal(status.INVALID_LENGTH)
    secrets = [
        credential.secret(salts[start : start + _SALT], verified=verified)
        for start in range(0, len(salts), _SALT)
    ]
    return {"hmac-secret": protocol.encrypt(shared, b"".join(secrets))}
