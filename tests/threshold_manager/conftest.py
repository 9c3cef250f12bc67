"""A home with a device and several vaults, each under the cheapest passphrase that is still allowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from meshhw_software.driver import SoftwareDriver
from meshhw_software.kdf import ITERATIONS, MEMORY_KIB, Cost

from meshhw.algorithms import Algorithm, Suite
from meshhw.keystore.api import KeySpec, OpenOptions
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.uri import TokenURI
from meshhw.managers.device import DeviceManager
from meshhw.managers.host import Host
from meshhw.managers.profilemaking import ProfileRequest

PASSPHRASE = "correct horse"
NewVault = Callable[[str], TokenURI]


@pytest.fixture
def options() -> OpenOptions:
    return OpenOptions(interaction=Scripted({PinKind.VAULT: PASSPHRASE}))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "home"
    monkeypatch.setenv("MESHHW_HOME", str(path))
    return path


@pytest.fixture
def new_vault(home: Path, tmp_path: Path, options: OpenOptions) -> NewVault:
    """Makes a vault of that name and returns its URI."""
    driver = SoftwareDriver(Cost(MEMORY_KIB[0], ITERATIONS[0]))

    def make(name: str) -> TokenURI:
        uri = TokenURI.make("software", vault=str(tmp_path / name))
        token = driver.open(uri, options)
        token.delete(token.generate(KeySpec(Algorithm.ED25519)).uri)
        token.close()
        return uri

    return make


@pytest.fixture
def host(home: Path, new_vault: NewVault, options: OpenOptions) -> Host:
    """The host state of a home with one device."""
    host = Host(home)
    with DeviceManager(host, options) as manager:
        manager.create(ProfileRequest(tokens=[new_vault("device")], suite=Suite.S25519))
    return host
