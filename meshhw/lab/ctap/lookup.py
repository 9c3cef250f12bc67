"""Finding the credentials that a request means."""

from __future__ import annotations

from typing import Any

from meshhw.lab.ctap import status
from meshhw.lab.ctap.context import Context
from meshhw.lab.ctap.credential import Credential
from meshhw.lab.ctap.request import Request
from meshhw.lab.ctap.status import CtapRefusal

LONGEST_LIST = 8


def listed(context: Context, descriptors: list[Any], rp_id: str) -> list[Credential]:
    """The credentials of this card and relying party that a list of descriptors names."""
    if len(descriptors) > LONGEST_LIST:
        raise CtapRefusal(status.REQUEST_TOO_LARGE)
    found = []
    for descriptor in descriptors:
        one = Request(descriptor if isinstance(descriptor, dict) else {})
        credential = by_identifier(context, one.need("id", bytes), rp_id)
        if one.need("type", str) == "public-key" and credential is not None:
            found.append(credential)
    return found


def by_identifier(context: Context, identifier: bytes, rp_id: str) -> Credential | None:
    """The credential with that id, wherever it lives."""
    for kept in context.lasting.credentials:
        if kept.identifier == identifier and kept.rp_id == rp_id:
            return kept
    return context.lasting.wrapper.unwrap(identifier, rp_id)


def discoverable(context: Context, rp_id: str) -> list[Credential]:
    """The credentials that the card keeps for a relying party, the newest first."""
    return [kept for kept in reversed(context.lasting.credentials) if kept.rp_id == rp_id]
