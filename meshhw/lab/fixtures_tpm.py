"""Fixtures for software TPMs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from meshhw.keystore.home import VARIABLE
from meshhw.lab.skipping import or_skip
from meshhw.lab.swtpm import SoftwareTpm

if TYPE_CHECKING:
    from meshhw.lab.pkcs11_token import Pkcs11Token

NewTpm = Callable[[], SoftwareTpm]


@pytest.fixture
def tpm_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory of the test's own: a TPM's keys are files there."""
    home = tmp_path / "home"
    monkeypatch.setenv(VARIABLE, str(home))
    return home


@pytest.fixture
def new_swtpm(tpm_home: Path) -> Iterator[NewTpm]:
    """Makes software TPMs that end with the test; their keys stay below the test's own home."""
    assert not tpm_home.exists()
    with ExitStack() as running:
        yield lambda: running.enter_context(or_skip(SoftwareTpm))


@pytest.fixture(scope="session")
def tpm2_pkcs11_token() -> Iterator[Pkcs11Token]:
    """A software TPM behind tpm2-pkcs11 and its resource manager; a process can have one."""
    from meshhw.lab.tpm2_pkcs11 import Tpm2Pkcs11

    with or_skip(lambda: Tpm2Pkcs11("tpm2-pkcs11")) as lab:
        yield lab.token


@pytest.fixture
def swtpm_token(new_swtpm: NewTpm) -> SoftwareTpm:
    """A fresh software TPM."""
    return new_swtpm()
