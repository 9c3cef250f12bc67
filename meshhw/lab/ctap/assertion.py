"""authenticatorGetAssertion and GetNextAssertion (CTAP 2.1 sections 6.2 and 6.3)."""

from __future__ import annotations

from dataclasses import dataclass

from meshhw.keystore import cbor
from meshhw.lab.ctap import extensions, status
from meshhw.lab.ctap.client_pin import ASSERT
from meshhw.lab.ctap.context import Context
from meshhw.lab.ctap.credential import PROTECT_LISTED, PROTECT_OPTIONAL, Credential
from meshhw.lab.ctap.lookup import discoverable, listed
from meshhw.lab.ctap.make import EXTENDED, USER_PRESENT, USER_VERIFIED
from meshhw.lab.ctap.request import Request
from meshhw.lab.ctap.status import CtapRefusal

_RP_ID, _HASH, _ALLOW, _EXTENSIONS, _OPTIONS, _PROOF, _PROTOCOL = range(1, 8)


@dataclass(frozen=True, slots=True)
class _Wanted:
    client_data_hash: bytes
    extensions: Request
    present: bool
    verified: bool


def get_assertion(context: Context, request: Request) -> dict[int, object]:
    """One assertion; further ones wait for getNextAssertion."""
    rp_id, client_data_hash = request.need(_RP_ID, str), request.need(_HASH, bytes)
    context.refuse_probe(request.get(_PROOF, bytes))
    options = request.part(_OPTIONS)
    if options.get("uv", bool) or options.get("rk", bool) is not None:
        raise CtapRefusal(status.INVALID_OPTION if options.get("uv", bool) else status.UNSUPPORTED_OPTION)
    present = options.get("up", bool) is not False
    verified = context.verified(request, (_PROOF, _PROTOCOL), client_data_hash, ASSERT, rp_id)
    context.demand_verification(verified=verified)
    allow = request.get(_ALLOW, list)
    found = listed(context, allow, rp_id) if allow else discoverable(context, rp_id)
    highest = PROTECT_LISTED if allow else PROTECT_OPTIONAL
    usable = [credential for credential in found if verified or credential.protect <= highest]
    if not usable:
        raise CtapRefusal(status.NO_CREDENTIALS)
    wanted = _Wanted(
        client_data_hash, extensions.known(context, request.part(_EXTENSIONS)), present, verified
    )
    if not present and wanted.extensions.get("hmac-secret", dict) is not None:
        raise CtapRefusal(status.UNSUPPORTED_OPTION)
    if present:
        context.need_touch()
    answers = [_assert(context, one, wanted) for one in (usable[:1] if allow else usable)]
    if present:
        context.spend_token()
    if len(answers) > 1:
        answers[0][5] = len(answers)
    context.session.waiting_answers = [cbor.encode(answer) for answer in answers[1:]]
    return answers[0]


def _assert(context: Context, credential: Credential, wanted: _Wanted) -> dict[int, object]:
    outputs = extensions.asserted(context, wanted.extensions, credential, verified=wanted.verified)
    flags = (
        (USER_PRESENT if wanted.present else 0)
        | (USER_VERIFIED if wanted.verified else 0)
        | (EXTENDED if outputs else 0)
    )
    data = credential.rp_id_hash + bytes([flags]) + context.lasting.count().to_bytes(4, "big")
    data += cbor.encode(outputs) if outputs else b""
    answer: dict[int, object] = {
        1: {"id": credential.identifier, "type": "public-key"},
        2: data,
        3: credential.sign(data + wanted.client_data_hash),
    }
    if credential.user is not None:
        # Names identify a person, so they are told only to who knows the PIN.
        answer[4] = dict(credential.user) if wanted.verified else {"id": credential.user["id"]}
    return answer
