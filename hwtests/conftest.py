"""Fixtures of the emulated tokens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from meshhw.errors import DriverUnavailable
from meshhw.lab.swtpm import SoftwareTpm


@pytest.fixture
def swtpm_token() -> Iterator[SoftwareTpm]:
    """A fresh software TPM."""
    try:
        tpm = SoftwareTpm()
    except DriverUnavailable as missing:
        pytest.skip(missing.message)
    with tpm:
        yield tpm
