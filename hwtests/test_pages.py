"""The pages that a run makes tell of every promise and token, and show a change of all but latencies."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hwtests.candidates import CANDIDATES
from hwtests.families import FAMILIES

ROOT = Path(__file__).parents[1]
COMPATIBILITY, RELIABILITY = (ROOT / "docs" / name for name in ("compatibility.md", "reliability.md"))
ASK = "import sys, json; sys.path.insert(0, 'docs'); import page_facts, real_tokens, run_pages; "


def asked(expression: str, *arguments: str) -> Any:
    """The value of an expression among the modules that make the pages."""
    command = [sys.executable, "-c", f"{ASK}print(json.dumps({expression}))", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def facts(page: str, tmp_path: Path) -> dict[str, str]:
    file = tmp_path / "page.md"
    file.write_text(page)
    told: dict[str, str] = asked(
        "{' | '.join(key): cell for key, cell in page_facts.facts(open(sys.argv[1]).read()).items()}",
        str(file),
    )
    return told


def test_the_pages_tell_of_every_promise_family_and_token() -> None:
    titles = asked("run_pages.TITLES")
    page = RELIABILITY.read_text()
    rows = [line.split("|") for line in page.splitlines() if "(`test_" in line]
    written = [re.findall(r"(.*) \(`(test_\w+)`\)", row[1].strip())[0] for row in rows]
    assert written == [(text, name) for name, text in asked("list(run_pages._promises())")], "run ./dev docs"
    head = next(line for line in page.splitlines() if line.startswith("| promise |"))
    assert {cell.strip() for cell in head.split("|")[2:-1]} == {titles[name] for name in FAMILIES}
    shown = {line.split("|")[1].strip() for line in COMPATIBILITY.read_text().splitlines() if "|" in line}
    assert shown >= {titles[name] for name in CANDIDATES}, "run ./dev docs"


def test_latencies_may_differ_and_nothing_else(tmp_path: Path) -> None:
    page = COMPATIBILITY.read_text()
    before = facts(page, tmp_path)
    assert len(before) > 200
    slower = re.sub(r"\| \d+\.\d\d \|", "| 99.99 |", page)
    assert slower != page
    assert facts(slower, tmp_path) == before
    for old, new in (("| native |", "| sealed |"), ("| + | + |", "| + | - |"), (" | 3 |\n", " | 4 |\n")):
        assert old in page
        assert facts(page.replace(old, new, 1), tmp_path) != before
    page = RELIABILITY.read_text()
    before = facts(page, tmp_path)
    for old, new in (("| kept |", "| no (1) |"), ("\n1. ", "\n1. not "), ("| no (1) |", "| kept |")):
        assert old in page
        assert facts(page.replace(old, new, 1), tmp_path) != before


def changed(reports: Path) -> list[str]:
    """Where the committed pages differ, whatever system they were made on."""
    lines: list[str] = asked("page_facts.changed(run_pages.Path(sys.argv[1]))", str(reports))
    return lines


@pytest.fixture
def as_committed(tmp_path: Path) -> dict[str, dict[str, str]]:
    """The outcomes of a run of two families that came out as the page says."""
    outcomes: dict[str, dict[str, str]] = {}
    names = {text: name for name, text in asked("list(run_pages._promises())")}
    titles = asked("run_pages.TITLES")
    for key, cell in facts(RELIABILITY.read_text(), tmp_path).items():
        title, _, text = key.partition(" | ")
        for family in ("piv", "software"):
            if titles[family] == title and text.rpartition(" (`")[0] in names:
                name = names[text.rpartition(" (`")[0]]
                reason = cell.removeprefix("no: ") if cell != "kept" else ""
                outcome = "skipped" if reason else "passed"
                outcomes[f"{name} {family}"] = {"outcome": outcome, "reason": f"Skipped: {reason}"}
    assert len(outcomes) > 30
    return outcomes


def test_a_promise_that_comes_out_otherwise_than_the_page_says_is_told(
    as_committed: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    reports = tmp_path / "reports"
    reports.mkdir()
    (reports / "promises.json").write_text(json.dumps(as_committed))
    assert changed(reports) == []
    fewer = dict(list(as_committed.items())[::2])
    (reports / "promises.json").write_text(json.dumps(fewer))
    assert changed(reports) == []  # what could not be asked is passed over
    for change in (
        {"test_swapped piv": {"outcome": "skipped", "reason": "Skipped: not today"}},
        {"test_hung software": {"outcome": "passed", "reason": ""}},
        {"test_hung software": {"outcome": "skipped", "reason": "Skipped: another reason"}},
    ):
        (reports / "promises.json").write_text(json.dumps(as_committed | change))
        assert len(changed(reports)) == 1
    check = [sys.executable, "docs/build.py", "--check", "--from", str(reports)]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False)
    here = asked("page_facts.of_this_system(open(sys.argv[1]).read())", str(COMPATIBILITY))
    assert (done.returncode, "reliability.md: " in done.stdout) == (int(here), here), done.stderr


def test_a_page_of_another_system_is_told_from_one_of_this() -> None:
    made = asked(
        "[page_facts.of_this_system(run_pages.MADE.format(name)) for name in (run_pages.system(), 'Plan 9')]"
    )
    assert made == [True, False]
