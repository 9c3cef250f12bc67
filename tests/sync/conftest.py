"""A laptop and a phone of one account, made once; every test has copies of their homes.

The copies' keys stay in the vaults of the first homes, which no test changes.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.sync.people import Machine, connected, founder


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Machine, Machine]:
    root = tmp_path_factory.mktemp("originals")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MESHHW_HOME", str(root / "home"))
        laptop = founder(root / "laptop")
        return laptop, connected(laptop, root / "phone", "web")


@pytest.fixture
def laptop(originals: tuple[Machine, Machine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    return copied(originals[0], tmp_path / "laptop")


@pytest.fixture
def phone(originals: tuple[Machine, Machine], tmp_path: Path) -> Machine:
    return copied(originals[1], tmp_path / "phone")


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    (tmp_path / "shared").mkdir()
    return tmp_path / "shared"


def copied(machine: Machine, home: Path) -> Machine:
    shutil.copytree(machine.home, home)
    return Machine(home)
