"""What a command will ask of the person, counted before the first PIN: "2 PINs, 1 touch: these tokens"."""

from __future__ import annotations

from dataclasses import dataclass, field

from meshhw.errors import TokenError
from meshhw.keystore.api import Needs, TellsNeeds
from meshhw.keystore.uri import KeyURI, TokenURI
from meshhw.managers.threshold.tokens import OpenTokens, name_of

_UNTOLD = Needs(pin=True)
"""What is assumed of a token that does not say."""


@dataclass
class Demand:
    """A PIN counts once for each token, a touch each time."""

    given: set[str] = field(default_factory=set)
    """Tokens whose PIN is known already."""
    touches: int = 0
    pins: set[str] = field(default_factory=set)
    names: dict[str, str] = field(default_factory=dict)

    def add(self, tokens: OpenTokens, token: TokenURI | str, needs: Needs, times: int = 1) -> None:
        """A token that will be used so many times with these needs."""
        opened = tokens.token(token)
        uri = str(opened.info().uri)  # a token may be written in several ways
        self.names[uri] = name_of(opened)
        self.touches += times if needs.touch else 0
        if needs.pin and uri not in self.given:
            self.pins.add(uri)

    def add_key(self, tokens: OpenTokens, key: KeyURI) -> None:
        """One use of a key; where it cannot be looked at without a PIN, that PIN."""
        try:
            needs = key_needs(tokens, key)
        except TokenError:
            needs = _UNTOLD
        self.add(tokens, key.token, needs)

    def text(self, what: str) -> str:
        """The line for the person."""
        counts = [_count(len(self.pins), "PIN", "PINs"), _count(self.touches, "touch", "touches")]
        asked = ", ".join(count for count in counts if count)
        return f"{what}{'; ' if asked else ''}{asked}: {', '.join(self.names.values())}"


def key_needs(tokens: OpenTokens, key: KeyURI) -> Needs:
    """What one use of a key will ask. Raises KeyNotFound where its absence shows without a PIN."""
    token = tokens.token(key.token)
    return token.needs_of_key(key) if isinstance(token, TellsNeeds) else _UNTOLD


def unseal_needs(tokens: OpenTokens, place: str, blob: bytes) -> Needs:
    """What opening a sealed share will ask. Raises DecryptionFailed for octets that are none."""
    token = tokens.token(place)
    return token.needs_to_unseal(blob) if isinstance(token, TellsNeeds) else _UNTOLD


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}" if number else ""
