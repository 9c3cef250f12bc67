"""Tokens whose keys are files: a disk without room is a token that is full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from meshhw.errors import DiskFull, TokenFull


@contextmanager
def room(label: str) -> Iterator[None]:
    """Within, a full disk is TokenFull, as of every other token that takes no more."""
    try:
        yield
    except DiskFull as error:
        raise TokenFull(f"{label} is full: {error.message}", hint=error.hint) from error
