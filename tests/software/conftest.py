"""Vaults in a directory of their own, under the cheapest passphrase that is still allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from meshhw_software.driver import SoftwareDriver
from meshhw_software.kdf import ITERATIONS, MEMORY_KIB, Cost
from meshhw_software.token import VaultToken

from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.log import NULL_RECORDER, UseRecorder
from meshhw.keystore.uri import TokenURI

PASSPHRASE = "correct horse"
OpenVault = Callable[..., VaultToken]


@pytest.fixture
def driver() -> SoftwareDriver:
    return SoftwareDriver(Cost(MEMORY_KIB[0], ITERATIONS[0]))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory that was not made yet."""
    path = tmp_path / "home"
    monkeypatch.setenv("MESHHW_HOME", str(path))
    return path


@pytest.fixture
def open_vault(driver: SoftwareDriver, home: Path) -> Iterator[OpenVault]:
    """open_vault(uri, passphrase) opens a vault; all are closed in the end."""
    opened: list[VaultToken] = []

    def open_it(
        uri: str = "software:",
        passphrase: str = PASSPHRASE,
        asked: Scripted | None = None,
        recorder: UseRecorder = NULL_RECORDER,
    ) -> VaultToken:
        interaction = asked or Scripted({PinKind.VAULT: passphrase})
        token = driver.open(TokenURI.parse(uri), OpenOptions(interaction, recorder))
        assert isinstance(token, VaultToken)
        opened.append(token)
        return token

    yield open_it
    for token in opened:
        token.close()
