"""The command that an owner of a real token runs, tried on a card of the lab as on anybody's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwtests.test_lab_commands import Home
from hwtests.test_pages import asked

ROOT = Path(__file__).parents[1]
HANDS = (("pull ", "pull"), ("put ", "return"), ("do not touch ", "notouch"))
"""What the run asks of its person, and the fault of the lab that does it."""


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Somebody with a FIDO2 card in a reader."""
    home = Home(tmp_path_factory.mktemp("owner") / "home")
    done = home.run("lab", "up", "--fido2", "1")
    if done.returncode:
        pytest.skip(done.stderr.strip())
    home.use_lab()
    yield home
    home.run("lab", "down")


def run(owner: Home, *options: str) -> tuple[int, str]:
    """The status and what was said; what the run asks to be done to the card is done."""
    uri = owner.json("lab", "status")[0]["uri"]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "hwtests", "--token", uri, *options]
    with subprocess.Popen(
        command, cwd=ROOT, env=owner.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        assert running.stdout is not None
        said = []
        for line in running.stdout:
            said.append(line)
            for words, fault in HANDS:
                if line.startswith(words):
                    owner.run("lab", "fault", "fido2-1", fault)
    return running.returncode, "".join(said)


def test_a_token_that_is_not_given_up_is_left_alone(owner: Home) -> None:
    status, said = run(owner)
    assert status == 2
    assert "say --wipe" in said


def test_an_owners_run_makes_a_row_of_the_tables(owner: Home, tmp_path: Path) -> None:
    reports = tmp_path / "reports"
    options = ("--wipe", "--attended", "--patience", "6", "--reports", str(reports))
    status, said = run(owner, *options)
    assert status == 0, said
    (written,) = reports.glob("*.json")
    assert f"{written} is a row for docs/compatibility.md" in said
    report = json.loads(written.read_text())
    assert "uri" not in report
    assert set(report["attended"]) == {"pulled", "touch not given"}
    lines = asked("list(real_tokens.section(__import__('pathlib').Path(sys.argv[1])))", str(reports))
    title = f"{report['model']}, firmware {report['firmware']} ({report['date']})"
    assert [line for line in lines if line.startswith(f"| {title} | -")]
    assert [line for line in lines if line.startswith(f"| {title} | pulled | TokenRemoved within ")]
