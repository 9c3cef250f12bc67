"""Connected keys at work: the base key in its token, the activation beside it in memory.

Agreement: token and activation each multiply the peer's point, and the results are added; the token's
unknown sign is found by the key unwrap's own check (one question) or by a second question. Signature on
ECDSA tokens: the token signs a digest divided by the activation's factor; with EdDSA: what opens the base key
adds the activation to it for one signature. What a composed key makes is
checked under the composed public key before it leaves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, Hash, HashAlgorithm
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

from meshhw.algorithms import Algorithm, PublicKey, Tier
from meshhw.curves.check import decode_checked
from meshhw.curves.eddsa import edwards_curve
from meshhw.curves.eddsa import verify as verify_eddsa
from meshhw.curves.multiply import multiply
from meshhw.curves.named import curve_named
from meshhw.curves.point import Point
from meshhw.curves.scalar import field_of
from meshhw.errors import DecryptionFailed, InvalidPublicKey, NotSupported, SignatureInvalid
from meshhw.keystore.api import Key, Needs, SignsComposed, SignsDigest
from meshhw.keystore.uri import KeyURI
from meshhw.managers.account.activation import base_point, composed_public, tweaked_public
from meshhw.pubkeys import to_cryptography
from meshhw.threshold.agreement import Partial
from meshhw.threshold.followup import plain_follow_up
from meshhw.threshold.holders import KeyHolder

_HASHES: dict[Algorithm, HashAlgorithm] = {Algorithm.P256: SHA256(), Algorithm.P384: SHA384()}


@dataclass(frozen=True, slots=True)
class _Composed:
    """What composed keys have of their base key."""

    base: Key
    published: PublicKey | None = field(default=None, kw_only=True)
    """The base public key as its profile has it: the token of an X448 key does not know its sign."""

    @property
    def base_public(self) -> PublicKey:
        """The base public key that the activation is added to."""
        return self.published or self.base.public

    @property
    def uri(self) -> KeyURI:
        """Where the base key is."""
        return self.base.uri

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm of base and composed key alike."""
        return self.base.algorithm

    @property
    def tier(self) -> Tier:
        """The tier of the base key: without it the activation is worth nothing."""
        return self.base.tier

    def needs(self) -> Needs:
        """What the base key needs."""
        return self.base.needs()


@dataclass(frozen=True, slots=True)
class ComposedAgreement(_Composed):
    """A key that agrees as base + activation (X25519, X448, P-256, P-384)."""

    activation: int = field(repr=False)

    @property
    def public(self) -> PublicKey:
        """base public + activation * B."""
        return composed_public(self.base_public, self.activation)

    def unwrap(self, peer: PublicKey, kdf_info: bytes, wrapped: bytes) -> bytes:
        """RFC 3394 unwrap under the agreement, with one question to the token. Raises DecryptionFailed."""
        point = self._checked(peer)
        for total in self._sums(point, self._holder().partial(point)):
            key_encryption_key = HKDF(SHA512(), 32, salt=None, info=kdf_info).derive(total.x_octets())
            try:
                return aes_key_unwrap(key_encryption_key, wrapped)
            except (InvalidUnwrap, ValueError):
                continue
        raise DecryptionFailed("the wrapped key is not for this key, or was changed")

    def agree(self, peer: PublicKey) -> bytes:
        """The raw coordinate of the agreement, with two questions to a token that gives no sign."""
        point = self._checked(peer)
        holder = self._holder()
        partial = holder.partial(point)
        if not partial.sign_known:
            follow_up = plain_follow_up(point)
            answer = holder.partial(follow_up.point).point.x_octets()
            partial = follow_up.settle(partial, holder.share, answer)
        for total in self._sums(point, partial):
            return total.x_octets()
        raise InvalidPublicKey("the agreement is the neutral element: the peer's key is made for that")

    def _checked(self, peer: PublicKey) -> Point:
        if peer.algorithm is not self.algorithm:
            raise NotSupported(f"a key of {self.algorithm} cannot agree with one of {peer.algorithm}")
        return decode_checked(curve_named(self.algorithm), peer.octets)

    def _holder(self) -> KeyHolder:
        return KeyHolder(0, self.base, base_point(self.base_public))

    def _sums(self, point: Point, partial: Partial) -> Iterator[Point]:
        own = multiply(point, self.activation)
        signs = (partial.point,) if partial.sign_known else (partial.point, -partial.point)
        return (own + part for part in signs if not (own + part).is_identity)


@dataclass(frozen=True, slots=True)
class SealedSignature(_Composed):
    """An EdDSA key base + activation, whose base is unsealed for one signature (`sealed`)."""

    activation: int = field(repr=False)

    @property
    def public(self) -> PublicKey:
        """base public + activation * B."""
        return composed_public(self.base_public, self.activation)

    def sign(self, message: bytes) -> bytes:
        """R || S. Raises NotSupported for a base key inside a token, SignatureInvalid for a wrong answer."""
        if not isinstance(self.base, SignsComposed):
            raise NotSupported(f"{self.base.uri} is not added to an activation")
        signature = self.base.sign_composed(message, self.activation)
        verify_eddsa(edwards_curve(self.algorithm.value), self.public.octets, message, signature)
        return signature


@dataclass(frozen=True, slots=True)
class TweakedSignature(_Composed):
    """An ECDSA key factor * base (docs/formats.md, `tweaked`), whose token signs digests."""

    factor: int = field(repr=False)

    @property
    def public(self) -> PublicKey:
        """factor * base public."""
        return tweaked_public(self.base_public, self.factor)

    def sign(self, message: bytes) -> bytes:
        """r || s with s low over SHA-256 (P-256) or SHA-384 (P-384) of the message."""
        hasher = Hash(_HASHES[self.algorithm])
        hasher.update(message)
        return self.sign_digest(hasher.finalize())

    def sign_digest(self, digest: bytes) -> bytes:
        """r || s with s low. Raises SignatureInvalid when the token's answer does not make a signature."""
        if not isinstance(self.base, SignsDigest):
            raise NotSupported(f"{self.base.uri} signs no digest that another program made")
        numbers, size = field_of(curve_named(self.algorithm)), self.algorithm.field_length
        divided = numbers.multiply(int.from_bytes(digest, "big") % numbers.order, numbers.invert(self.factor))
        answer = self.base.sign_digest(divided.to_bytes(size, "big"))
        r, s = int.from_bytes(answer[:size], "big"), int.from_bytes(answer[size:], "big")
        s = numbers.multiply(s, self.factor)
        s = min(s, numbers.order - s)
        self._verify(digest, r, s)
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    def _verify(self, digest: bytes, r: int, s: int) -> None:
        key = to_cryptography(self.public)
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise NotSupported(f"{self.algorithm} keys are not tweaked")
        try:
            key.verify(encode_dss_signature(r, s), digest, ec.ECDSA(Prehashed(_HASHES[self.algorithm])))
        except InvalidSignature as error:
            raise SignatureInvalid("the token's signature does not fit the activated key") from error
