"""Keys that clamp and return only x, as tokens do: `cryptography` behind the key-store interface."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x448 import X448PrivateKey, X448PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from meshhw.algorithms import Algorithm, PublicKey, Tier
from meshhw.curves.multiply import base_multiple, multiply
from meshhw.curves.point import Curve, Point
from meshhw.curves.scalar import field_of, token_scalar
from meshhw.errors import TokenRemoved
from meshhw.keystore.api import Needs
from meshhw.keystore.uri import KeyURI, TokenURI
from meshhw.pubkeys import to_cryptography
from meshhw.threshold.holders import KeyHolder, as_peer
from meshhw.threshold.shares import Dealing, Share, deal


@dataclass
class XOnlyKey:
    """A share in a token that clamps and answers with x alone; `queries` counts the questions."""

    algorithm: Algorithm
    octets: bytes = field(repr=False)
    present: bool = True
    queries: int = 0

    @property
    def uri(self) -> KeyURI:
        return TokenURI.make("software", vault="x-only").key(id=b"1")

    @property
    def public(self) -> PublicKey:
        raise AssertionError("an x-only token is known by its descriptor")

    @property
    def tier(self) -> Tier:
        return Tier.NATIVE

    def needs(self) -> Needs:
        return Needs()

    def agree(self, peer: PublicKey) -> bytes:
        if not self.present:
            raise TokenRemoved("the token was pulled")
        self.queries += 1
        if self.algorithm is Algorithm.X25519:
            theirs = X25519PublicKey.from_public_bytes(peer.u)
            return X25519PrivateKey.from_private_bytes(self.octets).exchange(theirs)
        if self.algorithm is Algorithm.X448:
            return X448PrivateKey.from_private_bytes(self.octets).exchange(
                X448PublicKey.from_public_bytes(peer.u)
            )
        curve = ec.SECP256R1() if self.algorithm is Algorithm.P256 else ec.SECP384R1()
        point = to_cryptography(peer)
        assert isinstance(point, ec.EllipticCurvePublicKey)
        return ec.derive_private_key(int.from_bytes(self.octets, "big"), curve).exchange(ec.ECDH(), point)


@dataclass
class FullKey(XOnlyKey):
    """A share whose holder gives the whole point (a TPM, a vault)."""

    curve: Curve | None = None
    scalar: int = field(default=0, repr=False)

    @property
    def public(self) -> PublicKey:
        assert self.curve is not None
        return as_peer(base_multiple(self.curve, self._effective))

    @property
    def _effective(self) -> int:
        """An X25519 key is named without sign: it works as the scalar of lift(u, 0)."""
        assert self.curve is not None
        point = base_multiple(self.curve, self.scalar)
        flipped = self.algorithm is Algorithm.X25519 and point.y & 1
        return -self.scalar % self.curve.order if flipped else self.scalar

    def agree_point(self, peer: PublicKey) -> bytes:
        assert self.curve is not None
        self.queries += 1
        return multiply(self.curve.decode(peer.octets), self._effective).encode()


def x_only(curve: Curve, share: Share) -> KeyHolder:
    """A holder whose token is x-only."""
    key = XOnlyKey(Algorithm(curve.name), token_scalar(curve, share.scalar))
    return KeyHolder(share.index, key, base_multiple(curve, share.scalar))


def full(curve: Curve, share: Share) -> KeyHolder:
    """A holder that gives whole points."""
    key = FullKey(Algorithm(curve.name), b"", curve=curve, scalar=share.scalar)
    return KeyHolder(share.index, key, base_multiple(curve, share.scalar))


@dataclass
class Other:
    """A holder that passes for an honest one."""

    honest: KeyHolder

    @property
    def index(self) -> int:
        return self.honest.index

    @property
    def share(self) -> Point:
        return self.honest.share


def fresh(curve: Curve, threshold: int, count: int) -> Dealing:
    """A new key in shares."""
    return deal(curve, field_of(curve).random(), threshold, range(1, count + 1))


def wrap_to(curve: Curve, public: Point, info: bytes, key: bytes) -> tuple[PublicKey, bytes]:
    """An ephemeral key and `key` wrapped for the owner of `public`, as any sender does it."""
    ephemeral = secrets.randbelow(curve.order - 1) + 1
    peer = as_peer(base_multiple(curve, ephemeral))
    # An X25519 peer is its lift(u, 0); u of the product is the same for both signs.
    shared = multiply(public, ephemeral).x_octets()
    return peer, aes_key_wrap(HKDF(SHA512(), 32, salt=None, info=info).derive(shared), key)
