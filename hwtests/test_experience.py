"""The chapter "User Experience" without a service: one story on every family of tokens, run by a shell."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import transcript
from tests.account.vaults import homes_with_cheap_vaults

STORY = Path(__file__).with_name("experience.md")


def family(name: str, suite: str, order: str = "", needs: str = "sh") -> object:
    """A family of tokens, the suite, what `lab up` is told, and the program without which it cannot run."""
    return pytest.param(name, suite, order, needs, id=f"{name} {suite}")


@pytest.mark.parametrize(
    ("name", "suite", "order", "needs"),
    [
        family("software", "448"),
        family("softhsm", "448", "--softhsm 2", "softhsm2-util"),
        family("piv", "25519", "--piv 2", "pcscd"),
        family("piv", "P256", "--piv 2", "pcscd"),
        family("tpm", "P256", "--tpm 2", "swtpm"),
    ],
)
def test_story(tmp_path: Path, name: str, suite: str, order: str, needs: str) -> None:
    path = transcript.environment(tmp_path)["PATH"]
    if shutil.which(needs, path=path) is None:
        pytest.skip(f"{needs} is not installed")
    told = {
        "FAMILY": name,
        "SUITE": suite,
        "LAB": f'meshhw lab up {order} && eval "$(meshhw lab env)"' if order else "true",
        "ADMIN": f"{name}-1" if order else "software:",
        "PHONE": f"{name}-2" if order else "software:",
    }
    text = STORY.read_text()
    for word, value in told.items():
        text = text.replace(f"@{word}@", value)
    page = tmp_path / "experience.md"
    page.write_text(text)
    homes_with_cheap_vaults(text, tmp_path)
    try:
        transcript.run(page, tmp_path)
    finally:
        down = [sys.executable, "-m", "meshhw", "lab", "down"]
        environment = transcript.environment(tmp_path)
        subprocess.run(down, env=environment, cwd=tmp_path, capture_output=True, check=False)
