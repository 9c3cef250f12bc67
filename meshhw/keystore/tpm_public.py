"""Public areas of TPM 2.0 objects, read with `struct` alone (TPM 2.0 Library part 2, TPMT_PUBLIC).

An object's *name* is its name algorithm's identifier and the digest of its public area: it names the object
and proves its attributes at once.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from enum import IntFlag

from cryptography.hazmat.primitives.asymmetric import rsa

from meshhw.algorithms import Algorithm, PublicKey
from meshhw.errors import FormatError, InvalidPublicKey
from meshhw.pubkeys import from_cryptography

MAX_OCTETS = 2048
ALG_RSA, ALG_KEYEDHASH, ALG_ECC, ALG_SYMCIPHER = 0x0001, 0x0008, 0x0023, 0x0025
ALG_NULL, ALG_RSAES, ALG_ECDAA, ALG_XOR = 0x0010, 0x0015, 0x001A, 0x000A
HASHES = {0x0004: "sha1", 0x000B: "sha256", 0x000C: "sha384", 0x000D: "sha512"}
CURVES = {0x0003: Algorithm.P256, 0x0004: Algorithm.P384}


class Attributes(IntFlag):
    """TPMA_OBJECT, those bits that say how an object is kept."""

    FIXED_TPM = 1 << 1
    FIXED_PARENT = 1 << 4
    SENSITIVE_DATA_ORIGIN = 1 << 5
    USER_WITH_AUTH = 1 << 6
    NO_DA = 1 << 10
    RESTRICTED = 1 << 16
    DECRYPT = 1 << 17
    SIGN = 1 << 18


MADE_INSIDE = Attributes.FIXED_TPM | Attributes.FIXED_PARENT | Attributes.SENSITIVE_DATA_ORIGIN


@dataclass(slots=True)
class Reader:
    """Reads big-endian fields from octets. Raises FormatError beyond their end."""

    octets: bytes
    position: int = 0

    def take(self, length: int) -> bytes:
        """The next `length` octets."""
        end = self.position + length
        if end > len(self.octets):
            raise FormatError("a TPM structure is cut off", position=self.position)
        piece = self.octets[self.position : end]
        self.position = end
        return piece

    def number(self, length: int) -> int:
        """The next unsigned integer of `length` octets."""
        return int.from_bytes(self.take(length), "big")

    def sized(self) -> bytes:
        """A TPM2B: two octets of length, then the octets."""
        return self.take(self.number(2))

    def end(self) -> None:
        """Raise FormatError unless everything was read."""
        if self.position != len(self.octets):
            raise FormatError("a TPM structure has octets after its end", position=self.position)


@dataclass(frozen=True, slots=True)
class PublicArea:
    """One TPMT_PUBLIC. `public` is None for what is no key of an algorithm known here."""

    octets: bytes = field(repr=False)
    kind: int
    name_algorithm: int
    attributes: Attributes
    policy: bytes
    scheme: int
    scheme_hash: int | None
    public: PublicKey | None

    @property
    def name(self) -> bytes:
        """The object's name: TPMI_ALG_HASH and digest."""
        digest = hashlib.new(HASHES[self.name_algorithm], self.octets).digest()
        return struct.pack(">H", self.name_algorithm) + digest

    @property
    def made_inside(self) -> bool:
        """Whether the TPM made the private part itself and can never let it out."""
        return MADE_INSIDE in self.attributes

    def has(self, attribute: Attributes) -> bool:
        """Whether an attribute is set."""
        return attribute in self.attributes


def parse_public(octets: bytes) -> PublicArea:
    """Read a TPMT_PUBLIC. Raises FormatError."""
    if len(octets) > MAX_OCTETS:
        raise FormatError(f"a TPM public area has at most {MAX_OCTETS} octets")
    reader = Reader(octets)
    kind, name_algorithm = reader.number(2), reader.number(2)
    if name_algorithm not in HASHES:
        raise FormatError(f"name algorithm 0x{name_algorithm:04x} is not known", position=2)
    attributes = Attributes(reader.number(4))
    policy = reader.sized()
    if kind not in _READ:
        raise FormatError(f"TPM objects of type 0x{kind:04x} are not known", position=0)
    scheme, scheme_hash, public = _READ[kind](reader)
    reader.end()
    return PublicArea(octets, kind, name_algorithm, attributes, policy, scheme, scheme_hash, public)


def parse_sized_public(octets: bytes) -> PublicArea:
    """Read a TPM2B_PUBLIC. Raises FormatError."""
    reader = Reader(octets)
    area = reader.sized()
    reader.end()
    return parse_public(area)


_Details = tuple[int, int | None, PublicKey | None]


def _ecc(reader: Reader) -> _Details:
    _symmetric(reader)
    scheme, scheme_hash = _scheme(reader)
    curve = reader.number(2)
    _scheme(reader)  # the key derivation scheme has the same shape
    x, y = reader.sized(), reader.sized()
    algorithm = CURVES.get(curve)
    if algorithm is None:
        return scheme, scheme_hash, None
    size = algorithm.field_length
    if max(len(x), len(y)) > size:
        raise FormatError("a coordinate is longer than its field")
    return scheme, scheme_hash, PublicKey(algorithm, b"\4" + x.rjust(size, b"\0") + y.rjust(size, b"\0"))


def _rsa(reader: Reader) -> _Details:
    _symmetric(reader)
    scheme, scheme_hash = _scheme(reader)
    reader.take(2)  # keyBits, which the modulus tells too
    exponent = reader.number(4) or 65537
    modulus = int.from_bytes(reader.sized(), "big")
    return scheme, scheme_hash, _rsa_public(modulus, exponent)


def _rsa_public(modulus: int, exponent: int) -> PublicKey | None:
    try:
        return from_cryptography(rsa.RSAPublicNumbers(exponent, modulus).public_key())
    except (ValueError, InvalidPublicKey):
        return None


def _keyed_hash(reader: Reader) -> _Details:
    scheme = reader.number(2)
    scheme_hash = None if scheme == ALG_NULL else reader.number(2)
    if scheme == ALG_XOR:
        reader.take(2)
    reader.sized()
    return scheme, scheme_hash, None


def _symmetric_cipher(reader: Reader) -> _Details:
    _symmetric(reader)
    reader.sized()
    return ALG_NULL, None, None


_READ = {ALG_ECC: _ecc, ALG_RSA: _rsa, ALG_KEYEDHASH: _keyed_hash, ALG_SYMCIPHER: _symmetric_cipher}


def _symmetric(reader: Reader) -> None:
    if reader.number(2) != ALG_NULL:
        reader.take(4)  # key bits, mode


def _scheme(reader: Reader) -> tuple[int, int | None]:
    scheme = reader.number(2)
    if scheme in (ALG_NULL, ALG_RSAES):
        return scheme, None
    scheme_hash = reader.number(2)
    if scheme == ALG_ECDAA:
        reader.take(2)
    return scheme, scheme_hash
