"""pycryptodome's points, loaded when a curve first needs them: to load them is half of a command's start."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, cast


@cache
def ecc() -> Any:
    """The module of `EccPoint` and `EccXPoint`, both documented, though it re-exports neither."""
    with _without_cffi():
        from Crypto.PublicKey import ECC

    return ECC


@contextmanager
def _without_cffi() -> Iterator[None]:
    """While this lasts, `import cffi` fails, and pycryptodome calls its C functions by ctypes, as fast.

    With cffi it has that parse its functions' declarations when they are loaded, and a parser of C generated
    for it, which takes as long as all else. PyNaCl, which brings cffi along, needs no parser.
    """
    if "cffi" in sys.modules:
        yield
        return
    hidden = cast("dict[str, Any]", sys.modules)
    hidden["cffi"] = None
    try:
        yield
    finally:
        del hidden["cffi"]
