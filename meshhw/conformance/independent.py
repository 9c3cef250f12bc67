"""The other side of every check: `cryptography`, which shares no code with the tokens or with us."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa, x448, x25519
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from meshhw.algorithms import Algorithm, PrivateKey, PublicKey
from meshhw.conformance.model import Broken, NotApplicable
from meshhw.pubkeys import from_cryptography, to_cryptography

_CURVE: dict[Algorithm, ec.EllipticCurve] = {Algorithm.P256: ec.SECP256R1(), Algorithm.P384: ec.SECP384R1()}
_HASH: dict[Algorithm, hashes.HashAlgorithm] = {
    Algorithm.P256: hashes.SHA256(),
    Algorithm.P384: hashes.SHA384(),
}
_ORDER = {
    Algorithm.P256: 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    Algorithm.P384: int(
        "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
        16,
    ),
}


@dataclass(frozen=True, slots=True)
class Partner:
    """An agreement key of the independent library."""

    public: PublicKey
    private: x25519.X25519PrivateKey | x448.X448PrivateKey | ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def new(cls, algorithm: Algorithm) -> Partner:
        """A fresh key pair of X25519, X448, P-256 or P-384."""
        private = _fresh_agreement_key(algorithm)
        return cls(from_cryptography(private.public_key()), private)

    def agree(self, public: PublicKey) -> bytes:
        """The raw coordinate, as the library computes it."""
        other = to_cryptography(public)
        if isinstance(self.private, ec.EllipticCurvePrivateKey) and isinstance(
            other, ec.EllipticCurvePublicKey
        ):
            return self.private.exchange(ec.ECDH(), other)
        if isinstance(self.private, x25519.X25519PrivateKey) and isinstance(other, x25519.X25519PublicKey):
            return self.private.exchange(other)
        if isinstance(self.private, x448.X448PrivateKey) and isinstance(other, x448.X448PublicKey):
            return self.private.exchange(other)
        raise NotApplicable("keys of two algorithms")

    def wrap(self, public: PublicKey, info: bytes, secret: bytes) -> bytes:
        """A secret wrapped (RFC 3394) for a key that unwraps under agreements."""
        return aes_key_wrap(HKDF(hashes.SHA512(), 32, None, info).derive(self.agree(public)), secret)


def digest(algorithm: Algorithm, message: bytes) -> bytes:
    """The digest that ECDSA of this curve signs."""
    hasher = hashes.Hash(_HASH[algorithm])
    hasher.update(message)
    return hasher.finalize()


def check_signature(public: PublicKey, message: bytes, signature: bytes, *, prehashed: bool = False) -> None:
    """Verify a signature in this project's form. Raises Broken with the reason."""
    key = to_cryptography(public)
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            hashed = _HASH[public.algorithm]
            algorithm = ec.ECDSA(Prehashed(hashed) if prehashed else hashed)
            key.verify(_der(public.algorithm, signature), message, algorithm)
        elif isinstance(key, rsa.RSAPublicKey):
            pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO)
            key.verify(signature, message, pss, hashes.SHA256())
        elif isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
            key.verify(signature, message)
    except InvalidSignature as error:
        raise Broken("the signature does not verify") from error


def check_low_s(algorithm: Algorithm, signature: bytes) -> None:
    """Raises Broken unless s is at most half the order."""
    _, s = decode_dss_signature(_der(algorithm, signature))
    if s > _ORDER[algorithm] // 2:
        raise Broken("s is high")


def encrypt(public: PublicKey, message: bytes, name: str) -> bytes:
    """RSA-OAEP under `oaep-sha1` or `oaep-sha256`."""
    key = to_cryptography(public)
    if not isinstance(key, rsa.RSAPublicKey):
        raise NotApplicable("not an RSA key")
    hashed = hashes.SHA1() if name == "oaep-sha1" else hashes.SHA256()  # noqa: S303  # the padding's own hash
    return key.encrypt(message, padding.OAEP(padding.MGF1(hashed), hashed, None))


def fresh_private(algorithm: Algorithm) -> tuple[PrivateKey, PublicKey]:
    """A key pair in the form that tokens import (SecretForm.SEED)."""
    if algorithm in _CURVE:
        key = ec.generate_private_key(_CURVE[algorithm])
        scalar = key.private_numbers().private_value.to_bytes(algorithm.field_length, "big")
        return PrivateKey(algorithm, scalar), from_cryptography(key.public_key())
    if algorithm.agrees:
        agreement = _fresh_agreement_key(algorithm)
        return PrivateKey(algorithm, _raw(agreement)), from_cryptography(agreement.public_key())
    if algorithm in (Algorithm.ED25519, Algorithm.ED448):
        edwards = (
            ed25519.Ed25519PrivateKey.generate()
            if algorithm is Algorithm.ED25519
            else ed448.Ed448PrivateKey.generate()
        )
        return PrivateKey(algorithm, edwards.private_bytes_raw()), from_cryptography(edwards.public_key())
    big = rsa.generate_private_key(65537, algorithm.field_length * 8)
    der = big.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return PrivateKey(algorithm, der), from_cryptography(big.public_key())


def _fresh_agreement_key(
    algorithm: Algorithm,
) -> x25519.X25519PrivateKey | x448.X448PrivateKey | ec.EllipticCurvePrivateKey:
    if algorithm is Algorithm.X25519:
        return x25519.X25519PrivateKey.generate()
    if algorithm is Algorithm.X448:
        return x448.X448PrivateKey.generate()
    return ec.generate_private_key(_CURVE[algorithm])


def _raw(key: x25519.X25519PrivateKey | x448.X448PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        raise NotApplicable("NIST keys have no raw form")
    return key.private_bytes_raw()


def _der(algorithm: Algorithm, signature: bytes) -> bytes:
    size = algorithm.field_length
    if len(signature) != 2 * size:
        raise Broken(f"an ECDSA signature has {2 * size} octets, not {len(signature)}")
    return encode_dss_signature(
        int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
    )
