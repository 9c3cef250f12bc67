"""`meshhw demo` on two SoftHSM tokens, as a stranger runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from meshhw.lab.skipping import or_skip
from meshhw.lab.softhsm import SoftHSM


@pytest.fixture(autouse=True)
def softhsm_is_installed(tmp_path: Path) -> None:
    or_skip(lambda: SoftHSM(tmp_path / "probe"))


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory for the demo's own ones, with a name that leaves room for those of sockets."""
    with TemporaryDirectory(prefix="mhd-", dir="/tmp") as name:
        yield Path(name)


def test_the_demo_tells_the_whole_story_and_leaves_nothing(short_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "meshhw", "demo", "--json"],
        capture_output=True,
        text=True,
        env=os.environ | {"TMPDIR": str(short_path)},
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout)
    statuses = [step["status"] for step in steps]
    assert statuses[:9] == [0, 0, 0, 0, 0, 0, 0, 4, 3]
    assert [status for status in statuses[9:] if status] == [3]  # the old share
    assert "left out" not in done.stderr
    assert "yubikey:serial=" in steps[-1]["output"]
    assert "generation 2" in steps[-1]["output"]
    made = next(step for step in steps if step["command"].startswith("meshhw device show"))
    assert made["output"].count(" native ") == 4
    assert "suite 448" in made["output"]
    assert done.stderr.count("CKA_EXTRACTABLE -> false") == 4
    assert "demo two" in steps[0]["output"]
    assert "demo%20two" not in "".join(step["output"] for step in steps[1:9])
    assert list(short_path.glob("meshhw-demo-*")) == []
