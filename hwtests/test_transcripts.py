"""Every command that README.md and docs/ show is run as written, on emulated tokens."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import transcript
from tests.account.vaults import homes_with_cheap_vaults

ROOT = Path(__file__).parents[1]
PAGES = [
    path
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if transcript.steps(path.read_text())
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page(page: Path, tmp_path: Path) -> None:
    if shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM is not installed (package softhsm2)")
    homes_with_cheap_vaults(page.read_text(), tmp_path)
    try:
        transcript.run(page, tmp_path)
    finally:
        environment = transcript.environment(tmp_path)
        down = [sys.executable, "-m", "meshhw", "lab", "down"]
        subprocess.run(down, env=environment, cwd=tmp_path, capture_output=True, check=False)
