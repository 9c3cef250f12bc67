"""Algorithms, operations, tiers and suites, and the public and private keys that they give shape to.

Octets of a public key, everywhere in this project (the written form of docs/formats.md):
Ed25519 32 and Ed448 57 (RFC 8032), X25519 32 (u, little-endian), X448 57 (u and one octet whose top
bit is the parity of v), P-256 65 and P-384 97 (SEC 1 uncompressed), RSA the DER RSAPublicKey (RFC 8017).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from meshhw.errors import InvalidPublicKey, UsageError


class Operation(StrEnum):
    """What a key or a token can be asked to do."""

    GENERATE = "generate"
    IMPORT = "import"
    SIGN = "sign"
    SIGN_DIGEST = "sign-digest"
    AGREE = "agree"
    AGREE_POINT = "agree-point"
    UNWRAP = "unwrap"
    DECRYPT = "decrypt"
    ATTEST = "attest"
    DELETE = "delete"


class Tier(StrEnum):
    """How well a private key is kept while it works (design: the capability matrix)."""

    NATIVE = "native"
    SEALED = "sealed"
    SOFTWARE = "software"


class Family(StrEnum):
    """The mathematics an algorithm stands on."""

    EDWARDS = "edwards"
    MONTGOMERY = "montgomery"
    WEIERSTRASS = "weierstrass"
    RSA = "rsa"


class Algorithm(StrEnum):
    """A key's algorithm, by the name that people read."""

    ED448 = "Ed448"
    X448 = "X448"
    ED25519 = "Ed25519"
    X25519 = "X25519"
    P256 = "P-256"
    P384 = "P-384"
    RSA2048 = "RSA-2048"
    RSA3072 = "RSA-3072"
    RSA4096 = "RSA-4096"

    @property
    def family(self) -> Family:
        """The family of curves, or RSA."""
        return _FAMILY[self]

    @property
    def public_length(self) -> int | None:
        """Octets of a public key; None for RSA, whose DER varies."""
        return _PUBLIC_LENGTH.get(self)

    @property
    def field_length(self) -> int:
        """Octets of one coordinate (what `agree` returns), or of an RSA modulus."""
        return _FIELD_LENGTH[self]

    @property
    def signs(self) -> bool:
        """Whether keys of this algorithm sign."""
        return self.family is not Family.MONTGOMERY

    @property
    def agrees(self) -> bool:
        """Whether keys of this algorithm agree (Diffie-Hellman)."""
        return self.family in (Family.MONTGOMERY, Family.WEIERSTRASS)

    @classmethod
    def parse(cls, text: str) -> Algorithm:
        """The algorithm of this name; case, dashes and underscores do not matter.

        Raises UsageError with the list of names.
        """
        wanted = text.replace("-", "").replace("_", "").lower()
        for algorithm in cls:
            if algorithm.value.replace("-", "").lower() == wanted:
                return algorithm
        raise UsageError(f"no algorithm is called {text!r}", hint="one of " + ", ".join(cls))


_FAMILY = {
    Algorithm.ED448: Family.EDWARDS,
    Algorithm.ED25519: Family.EDWARDS,
    Algorithm.X448: Family.MONTGOMERY,
    Algorithm.X25519: Family.MONTGOMERY,
    Algorithm.P256: Family.WEIERSTRASS,
    Algorithm.P384: Family.WEIERSTRASS,
    Algorithm.RSA2048: Family.RSA,
    Algorithm.RSA3072: Family.RSA,
    Algorithm.RSA4096: Family.RSA,
}
_PUBLIC_LENGTH = {
    Algorithm.ED448: 57,
    Algorithm.X448: 57,
    Algorithm.ED25519: 32,
    Algorithm.X25519: 32,
    Algorithm.P256: 65,
    Algorithm.P384: 97,
}
_FIELD_LENGTH = {
    Algorithm.ED448: 57,
    Algorithm.X448: 56,
    Algorithm.ED25519: 32,
    Algorithm.X25519: 32,
    Algorithm.P256: 32,
    Algorithm.P384: 48,
    Algorithm.RSA2048: 256,
    Algorithm.RSA3072: 384,
    Algorithm.RSA4096: 512,
}


class Suite(StrEnum):
    """One pair of algorithms for all the keys of a profile, strongest first."""

    S448 = "448"
    S25519 = "25519"
    P256 = "P256"

    @property
    def signature(self) -> Algorithm:
        """The suite's signature algorithm."""
        return _SUITE[self][0]

    @property
    def agreement(self) -> Algorithm:
        """The suite's key-agreement algorithm (encryption and authentication keys)."""
        return _SUITE[self][1]


_SUITE = {
    Suite.S448: (Algorithm.ED448, Algorithm.X448),
    Suite.S25519: (Algorithm.ED25519, Algorithm.X25519),
    Suite.P256: (Algorithm.P256, Algorithm.P256),
}


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key: its algorithm and its octets in the written form (module docstring).

    Construction checks the length alone; `meshhw.keystore.peer.checked_peer` checks the point.
    Raises InvalidPublicKey.
    """

    algorithm: Algorithm
    octets: bytes

    def __post_init__(self) -> None:
        expected = self.algorithm.public_length
        if expected is not None and len(self.octets) != expected:
            raise InvalidPublicKey(
                f"a public key of {self.algorithm} has {expected} octets, not {len(self.octets)}"
            )

    @property
    def u(self) -> bytes:
        """The u-coordinate alone (RFC 7748 octets) of a Montgomery key; X448 loses its sign octet."""
        return self.octets[: self.algorithm.field_length]


class SecretForm(StrEnum):
    """What the octets of a PrivateKey are."""

    SEED = "seed"
    """The standard's own private key: an RFC 8032 seed (Ed25519 32, Ed448 57; the Mesh's derived Ed448
    seeds have 56), RFC 7748 octets that are clamped on use, a big-endian NIST scalar, or DER for RSA."""
    SCALAR = "scalar"
    """An integer modulo the group's order, little-endian, 32/57/32/56 octets, never clamped nor hashed
    (the Mesh's `z` forms); composed keys and shares."""


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """Private key octets on their way INTO a token. Its repr shows nothing of them."""

    algorithm: Algorithm
    octets: bytes = field(repr=False)
    form: SecretForm = SecretForm.SEED
