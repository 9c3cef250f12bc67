"""The digests of bodies, by the name that a header's `dig` has for them.

Both have 128 bits of collision resistance or more. SHA-256 is the faster where processors have instructions
for it. Archives have it, whose bodies are large, and long envelopes that are signed by keys of 128 bits, to
which it loses nothing; everything else has SHA-512.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from meshhw.algorithms import Algorithm, PublicKey
from meshhw.errors import FormatError

if TYPE_CHECKING:
    from hashlib import _Hash

    from meshhw.dare.header import Header

SHA512, SHA256 = "S512", "S256"
_NAMES = {None: "sha512", SHA512: "sha512", "SHA2": "sha512", SHA256: "sha256"}

LONG = 1 << 24
"""Octets of a payload from which the digest takes longer than all else: shorter ones keep SHA-512."""
_OF_128_BITS = (Algorithm.ED25519, Algorithm.P256)


def digest_for(length: int | None, signers: Iterable[PublicKey]) -> str:
    """The `dig` of an envelope of our form of so many octets, None where that is not known before, that
    these keys sign."""
    if length is None or length < LONG:
        return SHA512
    return SHA256 if all(key.algorithm in _OF_128_BITS for key in signers) else SHA512


def hash_name(dig: str | None) -> str:
    """hashlib's name of the digest that `dig` names. Raises FormatError."""
    try:
        return _NAMES[dig if dig != "none" else None]
    except KeyError:
        raise FormatError(f"the digest {str(dig)[:20]!r} is not known here") from None


def digest_name(header: Header) -> str:
    """hashlib's name of the body's digest. Raises FormatError."""
    return hash_name(header.dig)


def digest_function(header: Header) -> Callable[..., _Hash]:
    """The digest itself. Raises FormatError."""
    return hashlib.sha256 if digest_name(header) == "sha256" else hashlib.sha512
