"""Ed25519 and Ed448 with expanded keys: seeds of any length the Mesh uses, and scalars that came from no
seed.

Ordinary keys sign through the `cryptography` library. This is for the ones it cannot hold: the Mesh's
derived Ed448 keys, whose seed has 56 octets, and composed or shared keys, which are a bare scalar (RFC
8032, sections 5.1.5 to 5.2.6; pure, without a context).
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from meshhw.curves.check import has_small_order
from meshhw.curves.edwards import ED448, ED25519, EdwardsCurve
from meshhw.curves.multiply import base_multiple, multiply
from meshhw.curves.scalar import field_of
from meshhw.errors import InvalidPublicKey, SignatureInvalid, UsageError

DOM4 = b"SigEd448\x00\x00"  # RFC 8032, section 2: dom4 with no pre-hash and an empty context
_HEDGE_OCTETS = 32


@dataclass(frozen=True, slots=True)
class ExpandedKey:
    """A secret scalar modulo the group's order and the secret prefix from which nonces are made.

    `hedged` keys mix fresh randomness into each nonce; RFC 8032 signatures of a seed are deterministic.
    """

    curve: EdwardsCurve
    scalar: int = field(repr=False)
    prefix: bytes = field(repr=False)
    public: bytes
    hedged: bool = False


def edwards_curve(name: str) -> EdwardsCurve:
    """ED25519 or ED448 by name. Raises UsageError."""
    for curve in (ED25519, ED448):
        if curve.name == name:
            return curve
    raise UsageError(f"{name} does not sign with EdDSA")


def expand(curve: EdwardsCurve, seed: bytes) -> ExpandedKey:
    """The key of a seed: 32 octets for Ed25519; 57 for Ed448, or 56 for one derived by the Mesh. Raises
    UsageError.
    """
    if len(seed) not in ({32} if curve is ED25519 else {56, 57}):
        raise UsageError(f"a seed of {curve.name} does not have {len(seed)} octets")
    half = curve.encoded_size
    digest = _hash(curve, seed)
    scalar = field_of(curve).reduce(_prune(curve, digest[:half]))
    return ExpandedKey(curve, scalar, digest[half:], base_multiple(curve, scalar).encode())


def from_scalar(curve: EdwardsCurve, scalar: int) -> ExpandedKey:
    """The key of a scalar that came from no seed: composed, or read from one of the `z` forms.

    Its prefix is derived from the scalar, so it is as secret, and its nonces are hedged. Raises UsageError
    for zero.
    """
    reduced = scalar % curve.order
    if reduced == 0:
        raise UsageError("zero is no private key")
    octets = reduced.to_bytes(curve.encoded_size, "little")
    info = b"meshhw/eddsa-prefix/1" + curve.name.encode()
    prefix = HKDF(SHA512(), curve.encoded_size, salt=None, info=info).derive(octets)
    return ExpandedKey(curve, reduced, prefix, base_multiple(curve, reduced).encode(), hedged=True)


def sign(key: ExpandedKey, message: bytes) -> bytes:
    """The RFC 8032 signature R || S (64 or 114 octets)."""
    curve, numbers = key.curve, field_of(key.curve)
    fresh = secrets.token_bytes(_HEDGE_OCTETS) if key.hedged else b""
    nonce = numbers.reduce(_hash(curve, _domain(curve) + key.prefix + fresh + message))
    commitment = base_multiple(curve, nonce).encode()
    challenge = challenge_scalar(curve, commitment, key.public, message)
    response = numbers.add(nonce, numbers.multiply(challenge, key.scalar))
    return commitment + response.to_bytes(curve.encoded_size, "little")


def challenge_scalar(curve: EdwardsCurve, commitment: bytes, public: bytes, message: bytes) -> int:
    """k = H(dom || R || A || M) modulo the order."""
    return field_of(curve).reduce(_hash(curve, _domain(curve) + commitment + public + message))


def verify(curve: EdwardsCurve, public: bytes, message: bytes, signature: bytes) -> None:
    """Check a signature by S*B = R + k*A, without the cofactor. Raises SignatureInvalid."""
    size = curve.encoded_size
    try:
        key, commitment = curve.decode(public), curve.decode(signature[:size])
        if has_small_order(key):
            raise SignatureInvalid(f"the {curve.name} key is of small order: one signature fits any message")
        response = int.from_bytes(signature[size:], "little")
        if len(signature) != 2 * size or response >= curve.order:
            raise SignatureInvalid(f"the {curve.name} signature is malformed")
        challenge = challenge_scalar(curve, signature[:size], public, message)
        expected = commitment + multiply(key, challenge)
    except InvalidPublicKey as error:
        raise SignatureInvalid(f"the {curve.name} signature or key encodes no point") from error
    if base_multiple(curve, response) != expected:
        raise SignatureInvalid(f"the {curve.name} signature does not verify")


def _domain(curve: EdwardsCurve) -> bytes:
    return b"" if curve is ED25519 else DOM4


def _hash(curve: EdwardsCurve, octets: bytes) -> bytes:
    if curve is ED25519:
        return hashlib.sha512(octets).digest()
    return hashlib.shake_256(octets).digest(114)


def _prune(curve: EdwardsCurve, half: bytes) -> bytes:
    """RFC 8032, 5.1.5 and 5.2.5, step 2."""
    number = bytearray(half)
    if curve is ED25519:
        number[0] &= 0xF8
        number[-1] = (number[-1] & 0x7F) | 0x40
    else:
        number[0] &= 0xFC
        number[-2] |= 0x80
        number[-1] = 0
    return bytes(number)
