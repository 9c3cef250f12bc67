"""The keys that follow from a seed and a salt, in our form and in that of 2022."""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from meshhw.algorithms import Algorithm, PublicKey
from meshhw.errors import InvalidPublicKey
from meshhw.udf import UDF, Kind
from meshhw.udf.secret import symmetric_key_id

KEK_INFO = b"meshhw/kek/1"
LEGACY_KEK_INFOS = (b"", b"master")
SEED_OCTETS = 32
SALT_OCTETS = 16
_P25519 = 2**255 - 19
_SHA512 = SHA512()
_P448 = 2**448 - 2**224 - 1


def hkdf_sha512(secret: bytes, info: bytes, length: int, salt: bytes | None = None) -> bytes:
    """HKDF-SHA-512 (RFC 5869)."""
    return HKDF(_SHA512, length, salt=salt, info=info).derive(secret)


def kek_info(epk: PublicKey, recipient: PublicKey) -> bytes:
    """The info of our key-encryption keys: it binds both public keys."""
    return KEK_INFO + agreement_octets(epk) + agreement_octets(recipient)


def agreement_octets(public: PublicKey) -> bytes:
    """A public key as it enters the KEK's info: u alone, or the SEC 1 point. Raises InvalidPublicKey for a u
    that is not canonical."""
    prime = {Algorithm.X25519: _P25519, Algorithm.X448: _P448}.get(public.algorithm)
    if prime is None:
        return public.octets
    if int.from_bytes(public.u, "little") >= prime:
        raise InvalidPublicKey(f"the u-coordinate of an {public.algorithm} key is not canonical")
    return public.u


def seed_kid(seed: bytes) -> str:
    """The public name of a seed or symmetric key, which begins EBQ (or EB and another letter)."""
    return symmetric_key_id(UDF.make(Kind.SYMMETRIC, seed))


def body_key(seed: bytes, salt: bytes) -> bytes:
    """The AES-256-GCM key of the body's segments."""
    return hkdf_sha512(seed, b"meshhw/body/1", 32, salt)


def eds_key(seed: bytes, salt: bytes, prefix: bytes) -> bytes:
    """The AES-256-GCM key of the one EDS with this salt prefix."""
    return hkdf_sha512(seed, b"meshhw/eds/1", 32, prefix + salt)


def header_mac(seed: bytes, salt: bytes, authenticated: bytes) -> bytes:
    """`hmac`: commits to the seed, and covers the header."""
    key = hkdf_sha512(seed, b"meshhw/header/1", 64, salt)
    return hmac.digest(key, authenticated, "sha512")[:32]


def legacy_key_and_iv(seed: bytes, salt: bytes) -> tuple[bytes, bytes]:
    """The AES-256-CBC key and initialisation vector of the 2022 form; `salt` has its EDS prefix in front."""
    return _legacy(seed, b"encrypt", 32, salt), _legacy(seed, b"iv", 16, salt)


def legacy_witness(seed: bytes, salt: bytes, signature: bytes) -> bytes:
    """The 2022 form's proof that the signer knew the seed."""
    return _legacy(seed, signature, 32, salt)


def _legacy(seed: bytes, info: bytes, length: int, salt: bytes) -> bytes:
    return HKDF(SHA256(), length, salt=salt, info=info).derive(seed)
