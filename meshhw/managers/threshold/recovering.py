"""After an interruption: finding on their tokens the shares that a journal names, and destroying them."""

from __future__ import annotations

from typing import Any

from meshhw.curves.named import curve_named
from meshhw.jsonbcd import decode_base64url
from meshhw.keystore.api import OpenOptions
from meshhw.managers.threshold.tokens import OpenTokens
from meshhw.managers.threshold.worker import run


def destroy_found(journal: dict[str, Any], options: OpenOptions) -> list[str]:
    """Destroy the keys that were written down, and any that holds one of the public shares that were planned.

    The result names keys that could not be destroyed. Raises TokenNotFound when a token is not there.
    """
    found = set(journal.get("keys", ()))
    with OpenTokens(options) as tokens:
        for token, octets in journal.get("shares", ()):
            found |= set(_keys_of_share(tokens, token, journal["algorithm"], decode_base64url(octets)))
    left: list[str] = run("destroy", {"keys": sorted(found)}, options) if found else []
    return left


def _keys_of_share(tokens: OpenTokens, token: str, algorithm: str, octets: bytes) -> list[str]:
    """The keys on a token that hold the share with this public point."""
    curve = curve_named(algorithm)
    wanted = curve.decode(octets).x_octets()
    found = []
    held = tokens.token(token).keys()
    for key in held:
        same_curve = key.algorithm.value == algorithm
        if same_curve and curve.decode(key.public.octets).x_octets() == wanted:
            found.append(str(key.uri))
    return found
