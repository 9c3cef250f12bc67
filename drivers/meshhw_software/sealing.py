"""Secrets that another token must open: the vault's own key, or one key's, under FIDO2, a TPM, a card.

The other token is found through the registry by the URI that the header names, and needs nothing but
`Seals`; this driver knows none of them.
"""

from __future__ import annotations

from meshhw.algorithms import Tier
from meshhw.errors import NotSupported, UsageError
from meshhw.keystore import registry
from meshhw.keystore.api import OpenOptions, Seals, Token
from meshhw.keystore.uri import TokenURI

_TOUCHED = frozenset({"fido2"})


class Sealers:
    """The other tokens that one vault has asked; each stays open, and keeps its PIN, until `close`."""

    def __init__(self, options: OpenOptions) -> None:
        self._options = options
        self._open: dict[str, Token] = {}

    def seal(self, uri: str, secret: bytes, purpose: bytes) -> bytes:
        """A blob that only that token opens. Raises NotSupported, and what the token raises."""
        return self._sealer(uri).seal(secret, purpose)

    def unseal(self, uri: str, blob: bytes, purpose: bytes) -> bytes:
        """The secret. Raises NotSupported, DecryptionFailed, and what the token raises."""
        return self._sealer(uri).unseal(blob, purpose)

    def canonical(self, uri: str) -> str:
        """The full name of the token that `uri` (a bare scheme, perhaps) finds now."""
        self._sealer(uri)
        return str(self._open[uri].info().uri)

    def close(self) -> None:
        """Close every token that was asked."""
        while self._open:
            self._open.popitem()[1].close()

    def _sealer(self, uri: str) -> Seals:
        token = self._open.get(uri)
        if token is None:
            token = registry.open_token(TokenURI.parse(uri), self._options)
            self._open[uri] = token
        if not isinstance(token, Seals):
            raise NotSupported(f"{uri} seals no secrets", hint="choose a FIDO2, PIV or TPM token")
        return token


def tier_of(sealed_by: str) -> Tier:
    """SEALED behind a token; another vault protects no better than software does."""
    if not sealed_by or TokenURI.parse(sealed_by).scheme == "software":
        return Tier.SOFTWARE
    return Tier.SEALED


def wants_touch(sealed_by: str) -> bool:
    """Whether the sealing token asks for a touch at each opening."""
    return bool(sealed_by) and TokenURI.parse(sealed_by).scheme in _TOUCHED


def refuse_self(sealed_by: str, own: str) -> None:
    """Raises UsageError when a vault would have to be open to open itself."""
    if str(TokenURI.parse(sealed_by)) == own:
        raise UsageError("a vault cannot seal its own keys", hint="name another token")
