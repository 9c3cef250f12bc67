"""What the tests of the command line share: the real program in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pytest

from tests.account.vaults import home_with_cheap_vault

PASSPHRASE = "a passphrase of the vault"


class Meshhw(Protocol):
    """The fixture's type."""

    def __call__(
        self, *args: str, env: Mapping[str, str] | None = None, text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run the program with these arguments, more environment, and `text` on stdin."""
        ...


@pytest.fixture
def meshhw(tmp_path: Path) -> Meshhw:
    """Run `meshhw ARGS…` in a clean state directory, without a terminal."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MESHHW_")}
    clean |= {"MESHHW_HOME": str(tmp_path / "home"), "MESHHW_PKCS11_MODULES": ""}

    def call(
        *args: str, env: Mapping[str, str] | None = None, text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "meshhw", *args],
            env=clean | dict(env or {}),
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return call


@pytest.fixture
def secret(tmp_path: Path) -> dict[str, str]:
    """What opens the vault in `meshhw`'s directory, which costs little, as each command does it."""
    home_with_cheap_vault(tmp_path / "home", PASSPHRASE)
    return {"MESHHW_PIN_SOURCE": "env:SECRET", "SECRET": PASSPHRASE}
