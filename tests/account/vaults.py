"""Vaults that cost little to unlock, for tests that unlock them often."""

from __future__ import annotations

from pathlib import Path

from meshhw_software.driver import SoftwareDriver
from meshhw_software.kdf import ITERATIONS, MEMORY_KIB, Cost

from meshhw.keystore.api import OpenOptions, StoresData
from meshhw.keystore.uri import TokenURI


def cheap_vault(home: Path, options: OpenOptions) -> list[TokenURI]:
    """A vault below `home` with the least Argon2id parameters that are accepted."""
    uri = TokenURI.make("software", vault=str(home / "keys"))
    token = SoftwareDriver(Cost(MEMORY_KIB[0], ITERATIONS[0])).open(uri, options)
    assert isinstance(token, StoresData)
    token.store_data("made", b"")
    token.close()
    return [uri]
