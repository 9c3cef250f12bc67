"""authenticatorMakeCredential (CTAP 2.1 section 6.1), in the order of its steps."""

from __future__ import annotations

import secrets
from typing import Any

from meshhw.keystore import cbor
from meshhw.lab.ctap import extensions, status
from meshhw.lab.ctap.attestation import Maker
from meshhw.lab.ctap.client_pin import MAKE
from meshhw.lab.ctap.context import Context
from meshhw.lab.ctap.credential import ALGORITHMS, PROTECT_REQUIRED, Credential
from meshhw.lab.ctap.lookup import listed
from meshhw.lab.ctap.request import Request
from meshhw.lab.ctap.status import CtapRefusal

_HASH, _RP, _USER, _ALGORITHMS, _EXCLUDE, _EXTENSIONS, _OPTIONS, _PROOF, _PROTOCOL = range(1, 10)
USER_PRESENT, USER_VERIFIED, ATTESTED, EXTENDED = 0x01, 0x04, 0x40, 0x80


def make_credential(context: Context, request: Request, maker: Maker) -> dict[int, object]:
    """A new credential and its attestation."""
    client_data_hash = request.need(_HASH, bytes)
    rp_id = request.part(_RP).need("id", str)
    user = request.need(_USER, dict)
    Request(user).need("id", bytes)
    context.refuse_probe(request.get(_PROOF, bytes))
    algorithm = _choose(request.need(_ALGORITHMS, list))
    discoverable = _discoverable(request.part(_OPTIONS))
    verified = context.verified(request, (_PROOF, _PROTOCOL), client_data_hash, MAKE, rp_id)
    context.demand_verification(verified=verified)
    protected = context.lasting.pin_hash is not None
    if protected and not verified and (discoverable or not context.model.makes_unverified):
        raise CtapRefusal(status.PUAT_REQUIRED)
    wanted = request.part(_EXTENSIONS)
    wanted = extensions.known(context, wanted)
    level = extensions.protect_level(wanted)
    _refuse_excluded(context, request.get(_EXCLUDE, list), rp_id, verified=verified)
    context.need_touch()
    context.spend_token()
    credential = Credential(rp_id, algorithm, level, secrets.token_bytes(32))
    _keep(context, credential, user if discoverable else None)
    outputs = extensions.made(wanted, level)
    data = _authenticator_data(context, credential, outputs, verified=verified)
    return {1: "packed", 2: data, 3: maker.statement(data + client_data_hash)}


def _choose(offered: list[Any]) -> int:
    for entry in offered:
        one = Request(entry if isinstance(entry, dict) else {})
        if one.need("type", str) == "public-key" and one.need("alg", int) in ALGORITHMS:
            return one.need("alg", int)
    raise CtapRefusal(status.UNSUPPORTED_ALGORITHM)


def _discoverable(options: Request) -> bool:
    if options.get("uv", bool) or options.get("up", bool) is False:
        raise CtapRefusal(status.INVALID_OPTION)
    return bool(options.get("rk", bool))


def _refuse_excluded(context: Context, excluded: list[Any] | None, rp_id: str, *, verified: bool) -> None:
    for known in listed(context, excluded or [], rp_id):
        if verified or known.protect != PROTECT_REQUIRED:
            context.need_touch()
            raise CtapRefusal(status.CREDENTIAL_EXCLUDED)


def _keep(context: Context, credential: Credential, user: dict[str, Any] | None) -> None:
    lasting = context.lasting
    if user is None:
        credential.identifier = lasting.wrapper.wrap(credential)
        return
    others = [
        one
        for one in lasting.credentials
        if (one.rp_id, (one.user or {}).get("id")) != (credential.rp_id, user["id"])
    ]
    if len(others) >= lasting.capacity:
        raise CtapRefusal(status.KEY_STORE_FULL)
    credential.identifier, credential.user = secrets.token_bytes(32), user
    lasting.credentials = [*others, credential]


def _authenticator_data(
    context: Context, credential: Credential, outputs: dict[str, object], *, verified: bool
) -> bytes:
    flags = USER_PRESENT | ATTESTED | (USER_VERIFIED if verified else 0) | (EXTENDED if outputs else 0)
    return b"".join(
        [
            credential.rp_id_hash,
            bytes([flags]),
            context.lasting.count().to_bytes(4, "big"),
            context.aaguid,
            len(credential.identifier).to_bytes(2, "big"),
            credential.identifier,
            cbor.encode(credential.cose_key()),
            cbor.encode(outputs) if outputs else b"",
        ]
    )
