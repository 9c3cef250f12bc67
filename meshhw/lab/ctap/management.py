"""authenticatorCredentialManagement (CTAP 2.1 section 6.8)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from meshhw.keystore import cbor
from meshhw.lab.ctap import status
from meshhw.lab.ctap.client_pin import MANAGE
from meshhw.lab.ctap.context import Context
from meshhw.lab.ctap.credential import Credential
from meshhw.lab.ctap.request import Request
from meshhw.lab.ctap.status import CtapRefusal

_SUBCOMMAND, _PARAMETERS, _PROTOCOL, _PROOF = 1, 2, 3, 4
_RP_ID_HASH, _CREDENTIAL, _USER = 1, 2, 3
NEXT = (3, 5)
"""The subcommands that go on with an enumeration; they carry no proof."""

Answer = dict[int, object]


def manage(context: Context, request: Request) -> Answer:
    """Answer one subcommand, after its proof."""
    subcommand = request.need(_SUBCOMMAND, int)
    action = _SUBCOMMANDS.get(subcommand)
    if action is None:
        raise CtapRefusal(status.INVALID_SUBCOMMAND)
    parameters = request.get(_PARAMETERS, dict)
    message = bytes([subcommand]) + (b"" if parameters is None else cbor.encode(parameters))
    if request.get(_PROOF, bytes) is None:
        raise CtapRefusal(status.PUAT_REQUIRED)
    context.verified(request, (_PROOF, _PROTOCOL), message, MANAGE)
    return action(context, Request(parameters or {}))


def _metadata(context: Context, _: Request) -> Answer:
    kept = len(context.lasting.credentials)
    return {1: kept, 2: context.lasting.capacity - kept}


def _relying_parties(context: Context, _: Request) -> Answer:
    names = sorted({kept.rp_id for kept in context.lasting.credentials})
    answers: list[Answer] = [{3: {"id": name}, 4: hashlib.sha256(name.encode()).digest()} for name in names]
    return _first(context, answers, count=5)


def _credentials(context: Context, parameters: Request) -> Answer:
    wanted = parameters.need(_RP_ID_HASH, bytes)
    answers = [_described(kept) for kept in context.lasting.credentials if kept.rp_id_hash == wanted]
    return _first(context, answers, count=9)


def _delete(context: Context, parameters: Request) -> Answer:
    context.lasting.credentials.remove(_find(context, parameters))
    return {}


def _update(context: Context, parameters: Request) -> Answer:
    found, user = _find(context, parameters), parameters.need(_USER, dict)
    if found.user is None or user.get("id") != found.user["id"]:
        raise CtapRefusal(status.INVALID_PARAMETER)
    found.user = user
    return {}


def _first(context: Context, answers: list[Answer], count: int) -> Answer:
    if not answers:
        raise CtapRefusal(status.NO_CREDENTIALS)
    context.session.waiting_answers = [cbor.encode(answer) for answer in answers[1:]]
    return {**answers[0], count: len(answers)}


def _described(kept: Credential) -> Answer:
    return {
        6: dict(kept.user or {}),
        7: {"id": kept.identifier, "type": "public-key"},
        8: kept.cose_key(),
        10: kept.protect,
    }


def _find(context: Context, parameters: Request) -> Credential:
    identifier = parameters.part(_CREDENTIAL).need("id", bytes)
    for kept in context.lasting.credentials:
        if kept.identifier == identifier:
            return kept
    raise CtapRefusal(status.NO_CREDENTIALS)


_SUBCOMMANDS: dict[int, Callable[[Context, Request], Answer]] = {
    1: _metadata,
    2: _relying_parties,
    4: _credentials,
    6: _delete,
    7: _update,
}
