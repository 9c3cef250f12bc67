"""The form of every UDF: one type octet and data, in Base32 groups of four (mesh-udf, sections 3 and 4)."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from enum import Enum

from meshhw.errors import InvalidName

DEFAULT_BITS = 140
MAX_BITS = 440
MIN_COMPARED_BITS = 100
_MAX_TEXT = 4096
_MIN_LETTERS = 4
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


class Kind(Enum):
    """What a UDF is; the value is its lowest type octet.

    Digests may be cut to any multiple of 20 bits; the other kinds are always whole.
    """

    AUTHENTICATOR = 0
    AUTHENTICATOR_SHA3 = 1
    SYMMETRIC = 32
    SYMMETRIC_SIGNED = 33
    DIGEST_SHA3 = 80
    DIGEST_SHA2 = 96
    NONCE = 104
    OID = 112
    SHARE = 144
    SEED = 200

    @classmethod
    def of(cls, type_octet: int) -> Kind:
        """The kind of a type octet; a digest's compression level is part of the octet. Raises InvalidName."""
        for digest in (cls.DIGEST_SHA2, cls.DIGEST_SHA3):
            if digest.value <= type_octet <= digest.value + 4:
                return digest
        try:
            return cls(type_octet)
        except ValueError:
            raise InvalidName(f"no kind of UDF has the type octet {type_octet}") from None

    @property
    def is_digest(self) -> bool:
        """Whether it is the digest of content, public and cut to a precision."""
        return self in (Kind.DIGEST_SHA2, Kind.DIGEST_SHA3)

    @property
    def is_secret(self) -> bool:
        """Whether whoever reads it can decrypt or impersonate; such a UDF is not shown by repr."""
        return self in _SECRETS


_SECRETS = (Kind.AUTHENTICATOR, Kind.SYMMETRIC, Kind.SYMMETRIC_SIGNED, Kind.SHARE, Kind.SEED)


@dataclass(frozen=True, slots=True)
class UDF:
    """A parsed or made UDF. `text` is its canonical presentation: upper case, groups of four, no padding.

    Presentations of a digest that differ in their leftover bits differ; of the other kinds they are one.
    """

    text: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> UDF:
        """Read a presentation; dashes, spaces and case do not matter. Raises InvalidName."""
        if len(text) > _MAX_TEXT:
            raise InvalidName(f"a UDF has at most {_MAX_TEXT} characters")
        letters = text.replace("-", "").replace(" ", "")
        # Some letters of other scripts become A to Z when they are made capital.
        letters = letters.upper() if letters.isascii() else ""
        if len(letters) < _MIN_LETTERS or not set(letters) <= set(ALPHABET):
            raise InvalidName("this is not a UDF", hint="a UDF is letters A to Z and digits 2 to 7 in groups")
        octets = decode_base32(letters)
        whole = not Kind.of(octets[0]).is_digest
        return cls(group(encode_base32(octets) if whole else letters))

    @classmethod
    def make(cls, kind: Kind, data: bytes) -> UDF:
        """The whole UDF of this kind and data."""
        return cls(group(encode_base32(bytes([kind.value]) + data)))

    @property
    def octets(self) -> bytes:
        """Type octet and data; bits that do not fill an octet are left out, as every reader does."""
        return decode_base32(self.text.replace("-", ""))

    @property
    def kind(self) -> Kind:
        """What it is."""
        return Kind.of(self.octets[0])

    @property
    def data(self) -> bytes:
        """What follows the type octet."""
        return self.octets[1:]

    @property
    def compression(self) -> int:
        """The compression level of a digest: 0, or 1 to 4 for 20, 30, 40 or 50 trailing zero bits."""
        return self.octets[0] - self.kind.value

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"UDF({self.kind.name if self.kind.is_secret else self.text})"


def present(octets: bytes, bits: int | None = DEFAULT_BITS) -> str:
    """Type octet and data as text: whole with `bits` None, else cut to ceil(bits / 5) characters.

    Raises InvalidName for a precision that is not worth a name, beyond 440 bits, or beyond the data.
    """
    letters = encode_base32(octets)
    if bits is None:
        return group(letters)
    shown = -(-bits // 5)
    if shown < _MIN_LETTERS or bits > min(MAX_BITS, 8 * len(octets)):
        raise InvalidName(f"a UDF cannot be shown with {bits} bits")
    return group(letters[:shown])


def same_name(a: str, b: str, *, minimum_bits: int = MIN_COMPARED_BITS) -> bool:
    """Whether two presentations name the same thing: one is the beginning of the other, and long enough.

    Digests of different precision compare by their common prefix; other kinds must be equal. Raises
    InvalidName.
    """
    first, second = UDF.parse(a), UDF.parse(b)
    if first.kind is not second.kind or not first.kind.is_digest:
        return first == second
    x, y = sorted((first.text.replace("-", ""), second.text.replace("-", "")), key=len)
    return 5 * len(x) >= minimum_bits and y.startswith(x)


def encode_base32(octets: bytes) -> str:
    """RFC 4648 Base32 without padding."""
    return base64.b32encode(octets).decode().rstrip("=")


def decode_base32(letters: str) -> bytes:
    """floor(5n / 8) octets of n Base32 characters; the leftover bits are dropped, whatever they are."""
    number = 0
    for letter in letters:
        number = number << 5 | ALPHABET.index(letter)
    whole = 5 * len(letters) // 8
    return (number >> (5 * len(letters) - 8 * whole)).to_bytes(whole, "big")


def group(letters: str) -> str:
    """Groups of four, joined by dashes."""
    return "-".join(letters[i : i + 4] for i in range(0, len(letters), 4))
