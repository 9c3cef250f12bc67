"""A token that cannot run on this machine skips its test, and the skip names what is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest

from meshhw.errors import DriverUnavailable, OperationTimeout

Lab = TypeVar("Lab")


def or_skip(make: Callable[[], Lab]) -> Lab:
    """What `make` makes; skips the test when it raises that something is missing or held by another lab."""
    try:
        return make()
    except (DriverUnavailable, OperationTimeout) as missing:
        pytest.skip(f"{missing.message} ({missing.hint})")
