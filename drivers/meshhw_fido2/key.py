"""A credential that proves presence, as a key. It signs nothing but assertions, so it has no `sign`."""

from __future__ import annotations

from typing import Protocol

from meshhw.algorithms import PublicKey
from meshhw.keystore.api import Needs
from meshhw.keystore.presence import PresenceProof
from meshhw.keystore.tokenkey import TokenKey
from meshhw.keystore.uri import KeyURI


class Prover(Protocol):
    """What a handle asks of its token."""

    def prove(self, uri: KeyURI, credential: bytes, digest: bytes) -> PresenceProof: ...

    def needs(self) -> Needs: ...


class PresenceKey(TokenKey):
    """`meshhw.keystore.api.Key` and `ProvesPresence`."""

    def __init__(self, prover: Prover, uri: KeyURI, credential: bytes, public: PublicKey, label: str) -> None:
        self._prover = prover
        super().__init__(uri, public)
        self.credential = credential
        self._label = label

    @property
    def label(self) -> str:
        """The name that it was given."""
        return self._label

    def needs(self) -> Needs:
        """Always a touch; the PIN where one is set and was not given."""
        return self._prover.needs()

    def prove(self, digest: bytes) -> PresenceProof:
        """A person confirms the digest by a touch (and the PIN, where one is set)."""
        return self._prover.prove(self._uri, self.credential, digest)
