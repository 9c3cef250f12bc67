"""The transcripts beside this file, which need nothing but Python, and the runner's own promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import transcript
from tests.account.vaults import homes_with_cheap_vaults

HERE = Path(__file__).parent


@pytest.mark.parametrize("path", sorted(HERE.glob("*.md")), ids=lambda path: path.stem)
def test_transcript(path: Path, tmp_path: Path) -> None:
    homes_with_cheap_vaults(path.read_text(), tmp_path)
    transcript.run(path, tmp_path)


def play(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trial.md"
    path.write_text(f"```console\n{text}\n```\n")
    transcript.run(path, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "$ echo one; echo two >&2\none\ntwo",
        "$ echo 2026-01-01 done\n... done",
        "$ seq 5\n1\n...\n5",
        "$ seq 5",
        "$ false\n[1]",
        "$ x=1\n$ echo $x\n1",
        "$ cat <<E\n> a\n> E\na",
    ],
)
def test_the_runner_accepts_what_happens_as_shown(tmp_path: Path, text: str) -> None:
    play(tmp_path, text)


@pytest.mark.parametrize(
    "text", ["$ echo one\ntwo", "$ false", "$ true\n[1]", "$ seq 3\n1\n2", "$ exit 0\n$ echo never\nnever"]
)
def test_the_runner_notices_what_does_not(tmp_path: Path, text: str) -> None:
    with pytest.raises(AssertionError):
        play(tmp_path, text)
