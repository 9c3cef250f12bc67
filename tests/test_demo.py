"""The demo where no token is: the same story on the software vault."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshhw.errors import MeshError
from meshhw.managers.demo import Demo
from meshhw.managers.demo_stage import VaultStage


def test_the_demo_plays_on_the_vault(tmp_path: Path) -> None:
    told: list[str] = []
    demo = Demo(tmp_path, VaultStage(tmp_path), told.append)
    demo.play()
    statuses = [step.status for step in demo.steps]
    assert statuses[:9] == [0, 0, 0, 0, 0, 0, 0, 4, 3]
    assert [status for status in statuses[9:] if status] == [3]  # the old share
    assert "   opened.txt: Meet me at the old mill." in told
    assert any("the chain is whole" in line for line in told)
    assert not (tmp_path / "no.txt").exists()


def test_a_step_that_does_not_end_as_it_must_ends_the_demo(tmp_path: Path) -> None:
    demo = Demo(tmp_path, VaultStage(tmp_path), lambda _: None)
    with pytest.raises(MeshError, match="ended with 3, it must be 0"):
        demo.meshhw("device", "show", "nobody")
