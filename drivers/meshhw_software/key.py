"""Handles on a vault's keys: one class for each set of uses, with the methods of those uses and no others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from meshhw.algorithms import Algorithm, Family, Operation, PublicKey, Tier
from meshhw.errors import NotSupported
from meshhw.keystore.api import Needs
from meshhw.keystore.log import UseRecorder, recorded
from meshhw.keystore.peer import checked_peer
from meshhw.keystore.tokenkey import TokenKey
from meshhw.keystore.uri import KeyURI
from meshhw_software.header import KeyHeader
from meshhw_software.secret import EdwardsSecret, MontgomerySecret, NistSecret, RsaSecret, Secret

_S = TypeVar("_S", bound=Secret)


class Keeper(Protocol):
    """What a handle asks of its vault."""

    recorder: UseRecorder

    def tier_of(self, header: KeyHeader) -> Tier: ...

    def needs_of(self, header: KeyHeader) -> Needs: ...

    def secret(self, header: KeyHeader) -> Secret: ...


class SoftwareKey(TokenKey):
    """What all handles share (`meshhw.keystore.api.Key`)."""

    def __init__(self, keeper: Keeper, uri: KeyURI, header: KeyHeader) -> None:
        self._keeper = keeper
        super().__init__(uri, header.public_key())
        self._header = header

    @property
    def tier(self) -> Tier:
        """SOFTWARE, or SEALED behind another token."""
        return self._keeper.tier_of(self._header)

    @property
    def label(self) -> str:
        """The name that it was given."""
        return self._header.label

    def needs(self) -> Needs:
        """The passphrase while the vault is shut, and what a sealing token asks."""
        return self._keeper.needs_of(self._header)

    def _secret(self, kind: type[_S]) -> _S:
        secret = self._keeper.secret(self._header)
        if not isinstance(secret, kind):  # cannot be: the header is bound to the body
            raise NotSupported(f"a key of {self.algorithm} does not do that")
        return secret

    @contextmanager
    def _recorded(self, operation: Operation) -> Iterator[None]:
        with recorded(self._keeper.recorder, self._uri, operation):
            yield


class EdwardsKey(SoftwareKey):
    """Ed25519, Ed448."""

    def sign(self, message: bytes) -> bytes:
        """Pure EdDSA."""
        with self._recorded(Operation.SIGN):
            return self._secret(EdwardsSecret).sign(message)

    def sign_composed(self, message: bytes, activation: int) -> bytes:
        """Pure EdDSA under this scalar + another one."""
        with self._recorded(Operation.SIGN):
            return self._secret(EdwardsSecret).sign_composed(message, activation)


class MontgomeryKey(SoftwareKey):
    """X25519, X448."""

    def agree(self, peer: PublicKey) -> bytes:
        """The u-coordinate."""
        with self._recorded(Operation.AGREE):
            checked_peer(self.algorithm, peer)
            return self._secret(MontgomerySecret).agree(peer)

    def agree_point(self, peer: PublicKey) -> bytes:
        """u and the parity octet."""
        with self._recorded(Operation.AGREE_POINT):
            checked_peer(self.algorithm, peer)
            return self._secret(MontgomerySecret).agree_point(peer)


class NistSigner(SoftwareKey):
    """P-256, P-384 for signatures."""

    def sign(self, message: bytes) -> bytes:
        """ECDSA over the message's digest."""
        with self._recorded(Operation.SIGN):
            return self._secret(NistSecret).sign(message)

    def sign_digest(self, digest: bytes) -> bytes:
        """ECDSA over a digest."""
        with self._recorded(Operation.SIGN_DIGEST):
            return self._secret(NistSecret).sign_digest(digest)


class NistAgreer(SoftwareKey):
    """P-256, P-384 for agreement."""

    def agree(self, peer: PublicKey) -> bytes:
        """The x-coordinate."""
        with self._recorded(Operation.AGREE):
            checked_peer(self.algorithm, peer)
            return self._secret(NistSecret).agree(peer)

    def agree_point(self, peer: PublicKey) -> bytes:
        """The point, SEC 1 uncompressed."""
        with self._recorded(Operation.AGREE_POINT):
            checked_peer(self.algorithm, peer)
            return self._secret(NistSecret).agree_point(peer)


class NistKey(NistSigner, NistAgreer):
    """P-256, P-384 for both."""


class RsaSigner(SoftwareKey):
    """RSA for signatures."""

    def sign(self, message: bytes) -> bytes:
        """RSA-PSS."""
        with self._recorded(Operation.SIGN):
            return self._secret(RsaSecret).sign(message)

    def sign_pkcs1(self, message: bytes, hash_name: str) -> bytes:
        """RSASSA-PKCS1-v1_5."""
        with self._recorded(Operation.SIGN):
            return self._secret(RsaSecret).sign_pkcs1(message, hash_name)


class RsaDecrypter(SoftwareKey):
    """RSA for decryption."""

    def decrypt(self, ciphertext: bytes, padding: str) -> bytes:
        """RSA-OAEP."""
        with self._recorded(Operation.DECRYPT):
            return self._secret(RsaSecret).decrypt(ciphertext, padding)


class RsaKey(RsaSigner, RsaDecrypter):
    """RSA for both."""


_SIGN = frozenset({Operation.SIGN})
_AGREE = frozenset({Operation.AGREE})
_DECRYPT = frozenset({Operation.DECRYPT})
_CLASSES: dict[tuple[Family, frozenset[Operation]], type[SoftwareKey]] = {
    (Family.EDWARDS, _SIGN): EdwardsKey,
    (Family.MONTGOMERY, _AGREE): MontgomeryKey,
    (Family.WEIERSTRASS, _SIGN): NistSigner,
    (Family.WEIERSTRASS, _AGREE): NistAgreer,
    (Family.WEIERSTRASS, _SIGN | _AGREE): NistKey,
    (Family.RSA, _SIGN): RsaSigner,
    (Family.RSA, _DECRYPT): RsaDecrypter,
    (Family.RSA, _SIGN | _DECRYPT): RsaKey,
}


def all_uses(algorithm: Algorithm) -> frozenset[Operation]:
    """All that keys of an algorithm can be for."""
    return frozenset().union(*(uses for family, uses in _CLASSES if family is algorithm.family))


def uses_of(algorithm: Algorithm, wanted: frozenset[Operation]) -> tuple[Operation, ...]:
    """The uses of a new key; all of its algorithm's where none is named. Raises NotSupported."""
    uses = wanted or all_uses(algorithm)
    if (algorithm.family, uses) not in _CLASSES:
        raise NotSupported(f"no key of {algorithm} is for {', '.join(sorted(wanted))}")
    return tuple(sorted(uses))


def handle(keeper: Keeper, uri: KeyURI, header: KeyHeader) -> SoftwareKey:
    """The handle of a key. Raises NotSupported for uses that its algorithm does not have."""
    kind = _CLASSES.get((header.algorithm.family, frozenset(header.uses)))
    if kind is None:
        raise NotSupported(f"{uri} has uses that a key of {header.algorithm} cannot have")
    return kind(keeper, uri, header)
