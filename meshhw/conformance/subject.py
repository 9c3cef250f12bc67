"""The token under test: makes keys for the checks and always removes them again."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from meshhw.algorithms import Algorithm, Family, Operation, PrivateKey
from meshhw.conformance.model import Broken, NotApplicable
from meshhw.errors import KeyNotFound, NotSupported, TokenFull
from meshhw.keystore.api import (
    Agrees,
    Capabilities,
    Decrypts,
    Deletes,
    Generates,
    Imports,
    Key,
    KeySpec,
    OpenOptions,
    PinPolicy,
    Signs,
    Token,
    UnwrapsAgreed,
)
from meshhw.keystore.registry import open_token

_POWERS: dict[Operation, type] = {
    Operation.SIGN: Signs,
    Operation.AGREE: Agrees,
    Operation.UNWRAP: UnwrapsAgreed,
    Operation.DECRYPT: Decrypts,
}
"""What a key must be of to be asked for a use, where the token makes none for the purpose."""


@dataclass(slots=True)
class Subject:
    """A token, what it says it can do, and the means to make keys on it for a moment."""

    token: Token
    capabilities: Capabilities
    rsa: dict[Algorithm, Key] = field(default_factory=dict)
    """RSA keys are slow to make: one of each size serves all checks, until `clear`."""

    full_at: int | None = None
    """With how many keys it was found to be really full."""

    opens: Callable[[OpenOptions], Token] | None = None
    """How the token is opened a second time, where its name is not enough."""

    @classmethod
    def of(cls, token: Token, opens: Callable[[OpenOptions], Token] | None = None) -> Subject:
        """Ask the token what it can do."""
        return cls(token, token.capabilities(), opens=opens)

    def again(self, options: OpenOptions) -> Token:
        """The token, opened a second time."""
        return self.opens(options) if self.opens else open_token(self.token.info().uri, options)

    @contextmanager
    def generated(
        self,
        algorithm: Algorithm,
        *uses: Operation,
        label: str = "",
        pin_policy: PinPolicy = PinPolicy.DEFAULT,
    ) -> Iterator[Key]:
        """A key made on the token; where the token cannot make one, one that it already has."""
        if not (isinstance(self.token, Generates) and self.capabilities.can(algorithm, Operation.GENERATE)):
            yield self._existing(algorithm, *uses)
            return
        if algorithm.family is Family.RSA and not label:
            yield self._shared_rsa(self.token, algorithm)
            return
        spec = KeySpec(algorithm, label or _label(), frozenset(uses), pin_policy=pin_policy)
        try:
            key = self.token.generate(spec)
        except TokenFull:  # a card with few slots: what was kept to save time makes room
            if not self.rsa:
                raise
            full = len(list(self.token.keys()))
            self.clear()
            self._require_full_at(full, spec, self.token)
            key = self.token.generate(spec)
        try:
            yield key
        finally:
            self.remove(key)

    @contextmanager
    def imported(self, private: PrivateKey, *uses: Operation) -> Iterator[Key]:
        """A key imported for a moment. Raises NotApplicable where the token does not take it."""
        if not (
            isinstance(self.token, Imports) and self.capabilities.can(private.algorithm, Operation.IMPORT)
        ):
            raise NotApplicable("the token imports no such key")
        try:
            key = self.token.import_key(private, KeySpec(private.algorithm, _label(), frozenset(uses)))
        except NotSupported as error:
            raise NotApplicable(error.message) from error
        try:
            yield key
        finally:
            self.remove(key)

    def remove(self, key: Key) -> None:
        """Destroy a key that a check made, if it is still there."""
        if isinstance(self.token, Deletes):
            try:
                self.token.delete(key.uri)
            except KeyNotFound:
                return

    def clear(self) -> None:
        """Destroy the keys that were kept between checks."""
        while self.rsa:
            self.remove(self.rsa.popitem()[1])

    def _require_full_at(self, full: int, spec: KeySpec, token: Generates) -> None:
        """That a token which was full with so many keys takes no more than those. Raises Broken."""
        if full == self.full_at:
            return
        extra: list[Key] = []
        try:
            with suppress(TokenFull):
                while len(list(self.token.keys())) <= full:
                    extra.append(token.generate(spec))
                raise Broken(f"with {full} keys it said that it was full, and now it holds {full + 1}")
        finally:
            for key in extra:
                self.remove(key)
        self.full_at = full

    def _shared_rsa(self, token: Generates, algorithm: Algorithm) -> Key:
        if algorithm not in self.rsa:
            self.rsa[algorithm] = token.generate(KeySpec(algorithm, _label()))
        return self.rsa[algorithm]

    def _existing(self, algorithm: Algorithm, *uses: Operation) -> Key:
        held = self.token.keys()
        for key in held:
            if key.algorithm is algorithm and all(isinstance(key, _POWERS[use]) for use in uses):
                return key
        raise NotApplicable("the token makes no such key and holds none")


def _label() -> str:
    return f"conformance-{secrets.token_hex(4)}"
