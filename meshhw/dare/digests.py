"""The digests of bodies, by the name that a header's `dig` has for them.

Both have 128 bits of collision resistance or more. SHA-256 is the faster where processors have instructions
for it, and is what archives have, whose bodies are large; what is signed one by one has SHA-512.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from meshhw.errors import FormatError

if TYPE_CHECKING:
    from hashlib import _Hash

    from meshhw.dare.header import Header

SHA512, SHA256 = "S512", "S256"
_NAMES = {None: "sha512", SHA512: "sha512", "SHA2": "sha512", SHA256: "sha256"}


def digest_name(header: Header) -> str:
    """hashlib's name of the body's digest. Raises FormatError."""
    try:
        return _NAMES[header.dig if header.dig != "none" else None]
    except KeyError:
        raise FormatError(f"the digest {str(header.dig)[:20]!r} is not known here") from None


def digest_function(header: Header) -> Callable[..., _Hash]:
    """The digest itself. Raises FormatError."""
    return hashlib.sha256 if digest_name(header) == "sha256" else hashlib.sha512
