"""Which authenticators are there: every place is asked at the same time what sits in it, and nothing more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from fido2.ctap2.base import Ctap2, Info

from meshhw.errors import TokenBusy
from meshhw.keystore.api import TokenInfo
from meshhw.keystore.deadline import gather
from meshhw.keystore.turns import turn
from meshhw.keystore.uri import TokenURI
from meshhw_fido2 import transport
from meshhw_fido2.errors import UNANSWERED
from meshhw_fido2.transport import Place

LOOK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Seen:
    """An authenticator and where it is. `full` is all that can be said of it, for matching a URI."""

    place: Place
    aaguid: bytes
    info: TokenInfo
    full: TokenURI


def look(seconds: float | None = None) -> list[Seen]:
    """The authenticators that answer in time. Two of one model are told apart by their place."""
    return _authenticators(_answers(seconds))


def fitting(uri: TokenURI, seconds: float | None = None) -> Sequence[Seen]:
    """Those that a URI names. Raises TokenBusy when there is none, and a place could not be asked."""
    answers = _answers(seconds)
    found = [seen for seen in _authenticators(answers) if seen.full.fits(uri)]
    if not found:
        for _, answer in answers:
            if isinstance(answer, TokenBusy):
                raise answer
    return found


_Answers = list[tuple[Place, Info | Exception | None]]


def _answers(seconds: float | None) -> _Answers:
    limit = LOOK_SECONDS if seconds is None else max(seconds, LOOK_SECONDS)
    return gather(transport.places(limit), _ask, limit)


def _authenticators(answers: _Answers) -> list[Seen]:
    found = [_describe(place, info) for place, info in answers if isinstance(info, Info)]
    twins = Counter(seen.info.uri for seen in found)
    return [
        replace(seen, info=replace(seen.info, uri=seen.full)) if twins[seen.info.uri] > 1 else seen
        for seen in found
    ]


def _ask(place: Place) -> Info | None:
    """None for a place that holds something else, or that somebody keeps for himself."""
    with turn(place.reader) if place.reader else nullcontext():
        return _told(place)


def _told(place: Place) -> Info | None:
    try:
        device = place.open()
    except UNANSWERED:
        return None
    try:
        return Ctap2(device).info
    except UNANSWERED:
        return None
    finally:
        transport.close(device)


def _describe(place: Place, info: Info) -> Seen:
    aaguid = str(info.aaguid)
    uri = TokenURI.make("fido2", aaguid=aaguid, serial=place.serial or None)
    return Seen(
        place,
        bytes(info.aaguid),
        TokenInfo(
            uri,
            driver="fido2",
            kind="authenticator",
            model=place.product or aaguid,
            serial=place.serial,
            firmware=_dotted(info.firmware_version),
            label=place.product or place.reader,
            reader=place.reader,
        ),
        TokenURI.make("fido2", aaguid=aaguid, serial=place.serial or None, path=place.path),
    )


def _dotted(version: int) -> str:
    return ".".join(str(version >> shift & 0xFF) for shift in (16, 8, 0)) if version else ""
