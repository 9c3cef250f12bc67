"""Private keys while they work in memory: one class per family, each doing what the mathematics allows.

Standard keys work in the `cryptography` library. Those it cannot hold (the Mesh's Ed448 seeds of 56 octets,
composed scalars) and whole points go through meshhw.curves, where libraries multiply as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa, x448, x25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from meshhw.algorithms import Algorithm, Family, PrivateKey, PublicKey, SecretForm
from meshhw.curves import eddsa
from meshhw.curves.multiply import base_multiple, multiply
from meshhw.curves.named import curve_named
from meshhw.curves.scalar import clamp, field_of, token_scalar
from meshhw.errors import DecryptionFailed, InvalidPublicKey, NotSupported, UsageError
from meshhw.pubkeys import from_cryptography, to_cryptography

if TYPE_CHECKING:
    from meshhw.curves.point import Curve, Point

_EXPONENT = 65537
_Raw = (
    type[ed448.Ed448PrivateKey]
    | type[ed25519.Ed25519PrivateKey]
    | type[x448.X448PrivateKey]
    | type[x25519.X25519PrivateKey]
)
_RAW: dict[Algorithm, _Raw] = {
    Algorithm.ED448: ed448.Ed448PrivateKey,
    Algorithm.ED25519: ed25519.Ed25519PrivateKey,
    Algorithm.X448: x448.X448PrivateKey,
    Algorithm.X25519: x25519.X25519PrivateKey,
}


class EdwardsSecret:
    """Ed25519 or Ed448: pure EdDSA without a context (RFC 8032)."""

    def __init__(self, private: PrivateKey) -> None:
        self.public: PublicKey
        self._library: ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey | None = None
        curve, octets = eddsa.edwards_curve(private.algorithm.value), private.octets
        if private.form is SecretForm.SCALAR:
            self._expanded = eddsa.from_scalar(curve, _scalar(private))
            self.public = PublicKey(private.algorithm, self._expanded.public)
        elif len(octets) != curve.encoded_size:  # the Mesh derives Ed448 seeds of 56 octets
            self._expanded = eddsa.expand(curve, octets)
            self.public = PublicKey(private.algorithm, self._expanded.public)
        else:
            kind = (
                ed25519.Ed25519PrivateKey if private.algorithm is Algorithm.ED25519 else ed448.Ed448PrivateKey
            )
            self._library = kind.from_private_bytes(octets)
            self.public = from_cryptography(self._library.public_key())

    def sign(self, message: bytes) -> bytes:
        """R || S."""
        if self._library is not None:
            return self._library.sign(message)
        return eddsa.sign(self._expanded, message)

    def sign_composed(self, message: bytes, activation: int) -> bytes:
        """R || S under this scalar + another one; the nonce prefix is of their sum, and as secret."""
        curve = eddsa.edwards_curve(self.public.algorithm.value)
        seed = self._library
        own = self._expanded if seed is None else eddsa.expand(curve, seed.private_bytes_raw())
        total = field_of(curve).add(own.scalar, activation % curve.order)
        return eddsa.sign(eddsa.from_scalar(curve, total), message)


class MontgomerySecret:
    """X25519 or X448 (RFC 7748), clamped from a seed or as a bare scalar."""

    def __init__(self, private: PrivateKey) -> None:
        algorithm = private.algorithm
        self._curve = curve_named(algorithm.value)
        _require_length(private, algorithm.field_length)
        bare = private.form is SecretForm.SCALAR
        scalar = _scalar(private) if bare else clamp(self._curve, private.octets)
        point = base_multiple(self._curve, scalar)
        if algorithm is Algorithm.X25519:
            # An X25519 public key is u alone and means the point with even v: the scalar follows it.
            self.public = PublicKey(algorithm, point.x_octets())
            self._scalar = -scalar if point.y & 1 else scalar
        else:
            self.public = PublicKey(algorithm, point.encode())
            self._scalar = scalar
        self._library = _montgomery(algorithm, _clamped(self._curve, scalar) if bare else private.octets)

    def agree(self, peer: PublicKey) -> bytes:
        """The u-coordinate. Raises InvalidPublicKey for an all-zero result."""
        if self._library is None:
            return self.agree_point(peer)[: self._curve.size]
        other = to_cryptography(peer)
        try:
            if isinstance(other, x25519.X25519PublicKey) and isinstance(
                self._library, x25519.X25519PrivateKey
            ):
                return self._library.exchange(other)
            if isinstance(other, x448.X448PublicKey) and isinstance(self._library, x448.X448PrivateKey):
                return self._library.exchange(other)
        except ValueError as error:
            raise InvalidPublicKey("the agreement is zero: the other side's key is of small order") from error
        raise NotSupported(f"a key of {self.public.algorithm} cannot agree with one of {peer.algorithm}")

    def agree_point(self, peer: PublicKey) -> bytes:
        """u and the parity octet."""
        return _point(multiply(self._curve.decode(peer.octets), self._scalar))


class NistSecret:
    """P-256 or P-384: ECDSA and ECDH (FIPS 186-5, SP 800-56A)."""

    def __init__(self, private: PrivateKey) -> None:
        algorithm = private.algorithm
        self._curve = curve_named(algorithm.value)
        if private.form is SecretForm.SCALAR:
            raise UsageError(f"a private key of {algorithm} is imported as a big-endian number (SEED)")
        _require_length(private, algorithm.field_length)
        self._scalar = int.from_bytes(private.octets, "big")
        if not 0 < self._scalar < self._curve.order:
            raise UsageError(f"the number is no private key of {algorithm}")
        p256 = algorithm is Algorithm.P256
        self._hash: hashes.HashAlgorithm = hashes.SHA256() if p256 else hashes.SHA384()
        self._library = ec.derive_private_key(self._scalar, ec.SECP256R1() if p256 else ec.SECP384R1())
        self.public = from_cryptography(self._library.public_key())

    def sign(self, message: bytes) -> bytes:
        """r || s, s low."""
        return self._signature(message, ec.ECDSA(self._hash))

    def sign_digest(self, digest: bytes) -> bytes:
        """r || s, s low. Raises UsageError for a digest of another length."""
        if len(digest) != self._hash.digest_size:
            raise UsageError(
                f"{self.public.algorithm} signs digests of {self._hash.digest_size} octets, not {len(digest)}"
            )
        return self._signature(digest, ec.ECDSA(Prehashed(self._hash)))

    def _signature(self, data: bytes, method: ec.ECDSA) -> bytes:
        r, s = decode_dss_signature(self._library.sign(data, method))
        size = self._curve.size
        return r.to_bytes(size, "big") + min(s, self._curve.order - s).to_bytes(size, "big")

    def agree(self, peer: PublicKey) -> bytes:
        """The x-coordinate."""
        other = to_cryptography(peer)
        if not isinstance(other, ec.EllipticCurvePublicKey):
            raise NotSupported(f"a key of {self.public.algorithm} cannot agree with one of {peer.algorithm}")
        return self._library.exchange(ec.ECDH(), other)

    def agree_point(self, peer: PublicKey) -> bytes:
        """The point, SEC 1 uncompressed."""
        return _point(multiply(self._curve.decode(peer.octets), self._scalar))


class RsaSecret:
    """RSA: PSS with SHA-256, and OAEP (RFC 8017)."""

    def __init__(self, private: PrivateKey) -> None:
        self._library = _load_rsa(private.octets)
        self.public = from_cryptography(self._library.public_key())
        if self.public.algorithm is not private.algorithm:
            raise UsageError(f"this is a key of {self.public.algorithm}, not of {private.algorithm}")

    def sign(self, message: bytes) -> bytes:
        """PSS, MGF1 with SHA-256, a salt of 32 octets."""
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
        return self._library.sign(message, pss, hashes.SHA256())

    def sign_pkcs1(self, message: bytes, hash_name: str) -> bytes:
        """RSASSA-PKCS1-v1_5 with "sha256" or "sha512". Raises NotSupported."""
        digests: dict[str, hashes.HashAlgorithm] = {"sha256": hashes.SHA256(), "sha512": hashes.SHA512()}
        if hash_name not in digests:
            raise NotSupported(f"no PKCS #1 signature with {hash_name!r}", hint="sha256 or sha512")
        return self._library.sign(message, padding.PKCS1v15(), digests[hash_name])

    def decrypt(self, ciphertext: bytes, name: str) -> bytes:
        """OAEP; `name` is "oaep-sha1" or "oaep-sha256". Raises DecryptionFailed, NotSupported."""
        digests: dict[str, hashes.HashAlgorithm] = {
            "oaep-sha1": hashes.SHA1(),  # noqa: S303  # the hash that the named padding has
            "oaep-sha256": hashes.SHA256(),
        }
        if name not in digests:
            raise NotSupported(f"no padding is called {name!r}", hint="oaep-sha1 or oaep-sha256")
        digest = digests[name]
        try:
            return self._library.decrypt(ciphertext, padding.OAEP(padding.MGF1(digest), digest, None))
        except ValueError as error:
            raise DecryptionFailed("the ciphertext does not fit this RSA key") from error


Secret = EdwardsSecret | MontgomerySecret | NistSecret | RsaSecret
_OF_FAMILY: dict[Family, type[Secret]] = {
    Family.EDWARDS: EdwardsSecret,
    Family.MONTGOMERY: MontgomerySecret,
    Family.WEIERSTRASS: NistSecret,
    Family.RSA: RsaSecret,
}


def load(private: PrivateKey) -> Secret:
    """The working form of a private key. Raises UsageError for octets that are none."""
    return _OF_FAMILY[private.algorithm.family](private)


def generate(algorithm: Algorithm) -> PrivateKey:
    """A fresh private key."""
    if algorithm.family is Family.RSA:
        made = rsa.generate_private_key(_EXPONENT, algorithm.field_length * 8)
        der = made.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        return PrivateKey(algorithm, der)
    if algorithm.family is Family.WEIERSTRASS:
        number = field_of(curve_named(algorithm.value)).random()
        return PrivateKey(algorithm, number.to_bytes(algorithm.field_length, "big"))
    return PrivateKey(algorithm, _RAW[algorithm].generate().private_bytes_raw())


def _scalar(private: PrivateKey) -> int:
    _require_length(private, private.algorithm.field_length)
    scalar = int.from_bytes(private.octets, "little")
    if not 0 < scalar < curve_named(private.algorithm.value).order:
        raise UsageError(f"the number is no scalar of {private.algorithm}")
    return scalar


def _clamped(curve: Curve, scalar: int) -> bytes | None:
    """Octets by which a clamping library works with +-scalar; None for the rare scalar that has none."""
    try:
        return token_scalar(curve, scalar)
    except UsageError:
        return None


def _montgomery(
    algorithm: Algorithm, octets: bytes | None
) -> x25519.X25519PrivateKey | x448.X448PrivateKey | None:
    if octets is None:
        return None
    if algorithm is Algorithm.X25519:
        return x25519.X25519PrivateKey.from_private_bytes(octets)
    return x448.X448PrivateKey.from_private_bytes(octets)


def _require_length(private: PrivateKey, length: int) -> None:
    if len(private.octets) != length:
        raise UsageError(
            f"a private key of {private.algorithm} has {length} octets, not {len(private.octets)}"
        )


def _load_rsa(der: bytes) -> rsa.RSAPrivateKey:
    try:
        key = serialization.load_der_private_key(der, None)
    except (ValueError, TypeError) as error:
        raise UsageError("the octets are no RSA private key (DER)") from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise UsageError("the octets are a private key, but not of RSA")
    return key


def _point(point: Point) -> bytes:
    if point.is_identity:
        raise InvalidPublicKey("the agreement is the neutral element: the other side's key is wrong")
    return point.encode()
