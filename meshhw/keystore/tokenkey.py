"""What the key handles of all drivers share: a name, a public key, and that the key works in its token."""

from __future__ import annotations

from meshhw.algorithms import Algorithm, PublicKey, Tier
from meshhw.keystore.uri import KeyURI


class TokenKey:
    """The part of `meshhw.keystore.api.Key` that is the same everywhere; `needs` is each driver's own."""

    def __init__(self, uri: KeyURI, public: PublicKey) -> None:
        self._uri = uri
        self._public = public

    @property
    def uri(self) -> KeyURI:
        """The key's full name."""
        return self._uri

    @property
    def algorithm(self) -> Algorithm:
        """Its algorithm."""
        return self._public.algorithm

    @property
    def public(self) -> PublicKey:
        """Its public key; parity 0 on Montgomery curves where the token does not know it."""
        return self._public

    @property
    def tier(self) -> Tier:
        """Native: the key works inside its token."""
        return Tier.NATIVE

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._uri}>"
