"""Encrypted data sequences: the small texts beside a body (`cloaked`, `annotations`; DARE section 2.5).

An EDS is two JSON-B binaries, a salt prefix that is unique within the envelope and the data. Early drafts
added an empty third.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from meshhw.dare import cbc
from meshhw.dare.kdf import eds_key, legacy_key_and_iv
from meshhw.errors import DecryptionFailed, FormatError
from meshhw.jsonbcd import tags

_NONCE = bytes(12)
_EMPTY = bytes((tags.BINARY, 0))
MAX_COUNT = 255


def write_eds(prefix: bytes, data: bytes) -> bytes:
    """The octets of an EDS, of data that is encrypted already or never will be."""
    head, length = tags.head(tags.BINARY, len(prefix)), tags.head(tags.BINARY, len(data))
    return head + prefix + length + data


def read_eds(octets: bytes) -> tuple[bytes, bytes]:
    """Salt prefix and data. Raises FormatError."""
    prefix, at = _binary(octets, 0)
    data, at = _binary(octets, at)
    if octets[at:] not in (b"", _EMPTY):
        raise FormatError("an annotation is two binaries, a salt prefix and the data")
    return prefix, data


def _binary(octets: bytes, at: int) -> tuple[bytes, int]:
    """One JSON-B binary, and where it ends."""
    tag = octets[at] if at < len(octets) else 0
    if tag & 0xFC != tags.BINARY:
        raise FormatError("an annotation is two binaries, a salt prefix and the data")
    start = at + 1 + tags.length_octets(tag)
    end = start + int.from_bytes(octets[at + 1 : start], "big")
    if end > len(octets):
        raise FormatError("an annotation is cut short")
    return octets[start:end], end


def prefixes(count: int) -> list[bytes]:
    """Salt prefixes 00, 01, 02... Raises FormatError for more than an octet can count."""
    if count > MAX_COUNT:
        raise FormatError(f"an envelope has at most {MAX_COUNT} annotations")
    return [bytes([number]) for number in range(count)]


def encrypt_eds(seed: bytes, salt: bytes, prefix: bytes, data: bytes) -> bytes:
    """Our form."""
    return write_eds(prefix, AESGCM(eds_key(seed, salt, prefix)).encrypt(_NONCE, data, None))


def decrypt_all(seed: bytes, salt: bytes, sequences: Sequence[bytes]) -> tuple[bytes, ...]:
    """The data of our form's EDSs. Raises DecryptionFailed, also when a prefix is used twice."""
    split = [read_eds(octets) for octets in sequences]
    if len(split) > 1 and len({prefix for prefix, _ in split}) != len(split):
        raise DecryptionFailed("two annotations share a salt prefix")
    try:
        return tuple([AESGCM(eds_key(seed, salt, key)).decrypt(_NONCE, data, None) for key, data in split])
    except (InvalidTag, ValueError) as error:
        raise DecryptionFailed("an annotation was changed") from error


def encrypt_legacy(seed: bytes, salt: bytes, prefix: bytes, data: bytes) -> bytes:
    """The form of 2022."""
    key, iv = legacy_key_and_iv(seed, prefix + salt)
    return write_eds(prefix, b"".join(cbc.encrypt_stream(key, iv, io.BytesIO(data))))


def decrypt_legacy(seed: bytes, salt: bytes, sequences: Sequence[bytes]) -> tuple[bytes, ...]:
    """The data of EDSs of 2022. Raises DecryptionFailed."""
    plain = []
    for octets in sequences:
        prefix, data = read_eds(octets)
        key, iv = legacy_key_and_iv(seed, prefix + salt)
        plain.append(b"".join(cbc.decrypt_stream(key, iv, (data,))))
    return tuple(plain)
