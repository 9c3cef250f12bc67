"""pycryptodome's points, loaded when a curve first needs them: to load them is half of a command's start."""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def ecc() -> Any:
    """The module of `EccPoint` and `EccXPoint`, both documented, though it re-exports neither."""
    from Crypto.PublicKey import ECC

    return ECC
