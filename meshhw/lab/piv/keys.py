"""Private keys in the card's slots: made, imported and used, by PIV algorithm identifier."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from meshhw.lab.piv import personality as ids
from meshhw.lab.piv.apdu import WRONG_DATA, CardError
from meshhw.lab.piv.tlv import fields, tlv

Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | x25519.X25519PrivateKey

RSA_BITS = {ids.RSA1024: 1024, ids.RSA2048: 2048, ids.RSA3072: 3072, ids.RSA4096: 4096}
CURVES: dict[int, ec.EllipticCurve] = {ids.P256: ec.SECP256R1(), ids.P384: ec.SECP384R1()}
EXPONENT = 65537
CACHED_TOUCH_SECONDS = 15.0
PIN_NEVER, PIN_ONCE, PIN_ALWAYS = 1, 2, 3
TOUCH_NEVER, TOUCH_ALWAYS, TOUCH_CACHED = 1, 2, 3
GENERATED, IMPORTED = 1, 2

_OFF_CURVE = (ValueError, UnsupportedAlgorithm)


@dataclass(slots=True)
class SlotKey:
    """A key, how it came to be, and its policies (the YubiKey's codes)."""

    algorithm: int
    private: Private = field(repr=False)
    origin: int
    pin_policy: int
    touch_policy: int
    touched: float = 0.0

    @property
    def wants_touch(self) -> bool:
        """Whether the next use waits for a touch."""
        cached = self.touch_policy == TOUCH_CACHED and time.monotonic() - self.touched < CACHED_TOUCH_SECONDS
        return self.touch_policy in (TOUCH_ALWAYS, TOUCH_CACHED) and not cached

    def public(self) -> bytes:
        """Data objects 81 and 82 (modulus, exponent) or 86 (point), SP 800-73-4 part 2, table 11."""
        key = self.private.public_key()
        if isinstance(key, rsa.RSAPublicKey):
            numbers = key.public_numbers()
            modulus = numbers.n.to_bytes(key.key_size // 8, "big")
            return tlv(0x81, modulus) + tlv(0x82, numbers.e.to_bytes(3, "big"))
        if isinstance(key, ec.EllipticCurvePublicKey):
            return tlv(0x86, key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
        return tlv(0x86, key.public_bytes_raw())

    def raw(self, challenge: bytes, card: ids.Personality) -> bytes:
        """Sign a digest (ECDSA), a message (Ed25519), or exponentiate a padded block (RSA)."""
        if isinstance(self.private, rsa.RSAPrivateKey):
            result = _exponentiate(self.private, challenge)
            return result.lstrip(b"\0") if card.ways.bare_answers else result
        if isinstance(self.private, ec.EllipticCurvePrivateKey):
            return _ecdsa(self.private, challenge, bare=card.ways.bare_answers)
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            if card.longest_eddsa is not None and len(challenge) > card.longest_eddsa:
                raise CardError(WRONG_DATA)
            if card.ways.signs_beginning:
                return self.private.sign(challenge[:32].ljust(32, b"\0"))
            return self.private.sign(challenge)
        raise CardError(WRONG_DATA)

    def agree(self, peer: bytes, *, whole: bool = False) -> bytes:
        """The x- or u-coordinate. Raises CardError (6A80) for a peer off the curve or of small order.

        With `whole` it stands where a whole point has it; what follows nobody who wants it looks at.
        """
        try:
            if isinstance(self.private, x25519.X25519PrivateKey):
                return self.private.exchange(x25519.X25519PublicKey.from_public_bytes(peer))
            if isinstance(self.private, ec.EllipticCurvePrivateKey):
                point = ec.EllipticCurvePublicKey.from_encoded_point(self.private.curve, peer)
                x = self.private.exchange(ec.ECDH(), point)
                return b"\x04" + x + bytes(len(x)) if whole else x
        except _OFF_CURVE as error:
            raise CardError(WRONG_DATA) from error
        raise CardError(WRONG_DATA)


def generate(algorithm: int) -> Private:
    """A new private key."""
    if algorithm in RSA_BITS:
        return rsa.generate_private_key(EXPONENT, RSA_BITS[algorithm])
    if algorithm in CURVES:
        return ec.generate_private_key(CURVES[algorithm])
    return (
        ed25519.Ed25519PrivateKey.generate()
        if algorithm == ids.ED25519
        else x25519.X25519PrivateKey.generate()
    )


def load(algorithm: int, data: bytes) -> Private:
    """A private key from the data objects of the import instruction. Raises CardError (6A80)."""
    parts = fields(data)
    try:
        if algorithm in RSA_BITS:
            return _load_rsa(RSA_BITS[algorithm], parts)
        if algorithm in CURVES:
            return ec.derive_private_key(int.from_bytes(parts[0x06], "big"), CURVES[algorithm])
        if algorithm == ids.ED25519:
            return ed25519.Ed25519PrivateKey.from_private_bytes(parts[0x07])
        return x25519.X25519PrivateKey.from_private_bytes(parts[0x08])
    except (KeyError, ValueError) as error:
        raise CardError(WRONG_DATA) from error


def _load_rsa(bits: int, parts: dict[int, bytes]) -> rsa.RSAPrivateKey:
    p, q, dp, dq, inverse = (int.from_bytes(parts[tag], "big") for tag in (1, 2, 3, 4, 5))
    public = rsa.RSAPublicNumbers(EXPONENT, p * q)
    private = pow(EXPONENT, -1, (p - 1) * (q - 1))
    key = rsa.RSAPrivateNumbers(p, q, private, dp, dq, inverse, public).private_key()
    if key.key_size != bits:
        raise CardError(WRONG_DATA)
    return key


def _exponentiate(key: rsa.RSAPrivateKey, block: bytes) -> bytes:
    """The bare RSA operation of the card. Its timing leaks; the emulation keeps no secret worth it."""
    if len(block) != key.key_size // 8:
        raise CardError(WRONG_DATA)
    numbers = key.private_numbers()
    value = pow(int.from_bytes(block, "big"), numbers.d, numbers.public_numbers.n)
    return value.to_bytes(len(block), "big")


def _ecdsa(key: ec.EllipticCurvePrivateKey, digest: bytes, *, bare: bool) -> bytes:
    length = key.curve.key_size // 8
    if not digest or len(digest) > length:
        raise CardError(WRONG_DATA)
    algorithm = hashes.SHA256() if length == 32 else hashes.SHA384()
    signature = key.sign(digest.rjust(length, b"\0"), ec.ECDSA(Prehashed(algorithm)))
    return b"".join(n.to_bytes(length, "big") for n in decode_dss_signature(signature)) if bare else signature
