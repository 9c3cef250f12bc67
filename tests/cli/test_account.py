"""`meshhw account` as a person uses it, on the software vault."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Meshhw


@pytest.fixture
def pins(tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "pins"
    path.write_text("a passphrase\nnew=a passphrase\n")
    return {"MESHHW_PIN_SOURCE": f"file:{path}"}


def test_create_and_show(meshhw: Meshhw, pins: dict[str, str]) -> None:
    made = meshhw("account", "create", "Alice@Example.com", "--on", "software:", env=pins)
    assert made.returncode == 0, made.stderr
    assert "the seed stays sealed" in made.stderr
    shown = json.loads(meshhw("account", "show", "--json").stdout)
    assert (shown["udf"], shown["address"], shown["seed"]) == (
        made.stdout.strip(),
        "alice@example.com",
        "sealed",
    )
    assert len(shown["keys"]) == 6
    assert "administrator-signature" in meshhw("account", "show").stdout


def test_faults_have_their_exit_status(meshhw: Meshhw, pins: dict[str, str]) -> None:
    assert meshhw("account", "show").returncode == 3
    assert meshhw("account", "create", "alice", "--on", "software:", env=pins).returncode == 2
    refused = meshhw("account", "create", "a@b.c", "--on", "software:", "--require-hardware", env=pins)
    assert refused.returncode == 5
    assert meshhw("account", "create", "a@b.c", "--on", "software:").returncode == 4
