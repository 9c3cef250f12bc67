"""Base64url without padding (RFC 4648 section 5), as binaries are written in JSON."""

from __future__ import annotations

import binascii

from meshhw.errors import FormatError

ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
WHITESPACE = b" \t\r\n"
_FOREIGN = bytes(octet for octet in range(256) if octet not in ALPHABET)
_TO_STANDARD = bytes.maketrans(_FOREIGN + b"-_", b"!" * len(_FOREIGN) + b"+/")
"""Also turns what is outside the alphabet into what no decoder takes."""
_PADDING = (b"", b"", b"==", b"=")
_TO_URL = bytes.maketrans(b"+/", b"-_")


def encode_base64url(octets: bytes) -> str:
    """The text of these octets, without padding or line breaks."""
    return binascii.b2a_base64(octets, newline=False).translate(_TO_URL, b"=").decode("ascii")


def decode_base64url(text: str | bytes, *, lenient: bool = False) -> bytes:
    """The octets of this text. `lenient` drops the line breaks, indentation and padding of older writers and
    takes unused bits that are not zero. Raises FormatError."""
    try:
        plain = text.encode("ascii") if isinstance(text, str) else bytes(text)
    except UnicodeEncodeError as error:
        raise FormatError("base64url text holds a character outside its alphabet") from error
    if lenient and not plain.isalnum():
        plain = plain.translate(None, WHITESPACE).rstrip(b"=")
    octets = decode_quartets(plain)
    partial = len(octets) % 3
    if partial and not lenient and encode_base64url(octets[-partial:])[-1] != chr(plain[-1]):
        raise FormatError("base64url text ends in bits that are not zero")
    return octets


def decode_quartets(plain: bytes) -> bytes:
    """The octets of text that holds nothing but the alphabet. Raises FormatError."""
    try:
        return binascii.a2b_base64(plain.translate(_TO_STANDARD) + _PADDING[len(plain) % 4], strict_mode=True)
    except binascii.Error as error:
        raise FormatError("base64url text holds a character outside its alphabet, or one too few") from error
