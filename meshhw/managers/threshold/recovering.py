"""After an interruption: finding on their tokens the shares that a journal names, and destroying them.

Shares of a renewal that was given up may be out of reach, on a token that was pulled meanwhile. They are kept
in mind (`strays`), told of, and destroyed when their token is here again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from meshhw.curves.named import curve_named
from meshhw.errors import MeshError
from meshhw.jsonbcd import decode_base64url
from meshhw.keystore.api import Needs, OpenOptions
from meshhw.keystore.uri import KeyURI
from meshhw.managers.threshold.demand import Demand
from meshhw.managers.threshold.store import KeyStore, Stray
from meshhw.managers.threshold.tokens import OpenTokens
from meshhw.managers.threshold.use import Say
from meshhw.managers.threshold.worker import run


@dataclass(frozen=True, slots=True)
class Remains:
    """What a journal names and could not be destroyed."""

    keys: tuple[str, ...] = ()
    """Keys that their tokens still hold, or held when they were here last."""
    shares: tuple[tuple[str, str], ...] = ()
    """Tokens, and the public shares (Base64url) that they may hold."""
    absent: tuple[str, ...] = ()
    """The tokens among them that are not here."""

    def __bool__(self) -> bool:
        return bool(self.keys or self.shares)


def destroy_found(journal: Mapping[str, Any], options: OpenOptions) -> Remains:
    """Destroy the keys that were written down, and any that holds one of the public shares that were planned,
    as far as their tokens are here.

    Raises what the tokens raise that are here.
    """
    keys = set(journal.get("keys", ()))
    places = [(token, share) for token, share in journal.get("shares", ())]
    found: dict[str, tuple[str, str]] = {}
    with OpenTokens(options) as tokens:
        here = {token: tokens.present(token) for token, _ in places}
        for place in places:
            if here[place[0]]:
                found |= dict.fromkeys(_keys_of_share(tokens, place, journal["algorithm"]), place)
    wanted = sorted(keys | set(found))
    left: list[str] = run("destroy", {"keys": wanted}, options) if wanted else []
    held = [place for place in places if not here[place[0]]]
    held += [found[uri] for uri in left if uri in found]
    away = [KeyURI.parse(token).brief() for token, present in here.items() if not present]
    away += absent_of(left, options)
    return Remains(tuple(left), tuple(dict.fromkeys(held)), tuple(dict.fromkeys(away)))


def absent_of(keys: Iterable[str], options: OpenOptions) -> list[str]:
    """The tokens of these keys that are not here, by their brief URIs. Asks for no PIN."""
    with OpenTokens(options) as tokens:
        places = dict.fromkeys(KeyURI.parse(key).token for key in keys)
        return [token.brief() for token in places if not tokens.present(token)]


@contextmanager
def undoing(error: BaseException) -> Iterator[None]:
    """What undoing a command meets is told with the command's own fault, not in the place of it."""
    try:
        yield
    except MeshError as late:
        if not isinstance(error, MeshError):
            raise
        error.hint = f"{error.hint}; not all is undone: {late.message} ({late.hint})".removeprefix("; ")


def give_up(store: KeyStore, journal: dict[str, Any], remains: Remains) -> None:
    """Keep in mind what is left of a renewal that was rolled back."""
    if remains:
        found = Stray(algorithm=journal["algorithm"], keys=remains.keys, shares=remains.shares)
        store.write_strays([*store.strays(), found])


def settle_strays(store: KeyStore, options: OpenOptions, say: Say) -> None:
    """Destroy what renewals that were given up left on tokens that are here now; says it beforehand."""
    strays = store.strays()
    demand = Demand()
    with OpenTokens(options) as tokens:
        for token in {place for stray in strays for place in _places(stray)}:
            if tokens.present(token):
                demand.add(tokens, token, Needs(pin=True))
    if not demand.names:
        return
    say(demand.text(f"destroying what a renewal of {store.name} that was given up left behind"))
    kept = []
    for stray in strays:
        remains = destroy_found(stray, options)
        if remains:
            kept.append(Stray(algorithm=stray["algorithm"], keys=remains.keys, shares=remains.shares))
    store.write_strays(kept)


def _places(stray: Stray) -> Iterator[str]:
    yield from (token for token, _ in stray["shares"])
    yield from (str(KeyURI.parse(key).token) for key in stray["keys"])


def _keys_of_share(tokens: OpenTokens, place: tuple[str, str], algorithm: str) -> Iterator[str]:
    """The keys on a token that hold the share with this public point."""
    curve = curve_named(algorithm)
    wanted = curve.decode(decode_base64url(place[1])).x_octets()
    held = tokens.token(place[0]).keys()
    for key in held:
        same_curve = key.algorithm.value == algorithm
        if same_curve and curve.decode(key.public.octets).x_octets() == wanted:
            yield str(key.uri)
