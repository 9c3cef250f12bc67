"""What the pages of a run say, latencies apart, and where another run says something else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import run_pages

Facts = dict[tuple[str, ...], str]
"""Under the token's title first: what a cell says."""
_NOTE = re.compile(r"^(\d+)\. (.*)$", re.MULTILINE)
_REFERENCE = re.compile(r"no \((\d+)\)")


def differences(directory: Path) -> list[str]:
    """As `changed`. Nothing on another system, whose releases of the emulated tokens may do more or less."""
    if not of_this_system((run_pages.ROOT / "docs" / "compatibility.md").read_text()):
        print(f"the pages were made on another system than {run_pages.system()}: they are not compared")
        return []
    return changed(directory)


def changed(directory: Path) -> list[str]:
    """Where the committed pages are other than the reports in `directory` make them.

    What that run could not ask is passed over.
    """
    return [line for name in run_pages.PAGES for line in _differences(name, directory)]


def of_this_system(page: str) -> bool:
    """Whether a page was made where this program runs."""
    return run_pages.MADE.format(run_pages.system()) in page


def _differences(name: str, directory: Path) -> Iterator[str]:
    asked = "conformance-*.json" if name == "compatibility.md" else "promises.json"
    if not any(directory.glob(asked)):
        return
    committed = facts((run_pages.ROOT / "docs" / name).read_text())
    made = facts(run_pages.PAGES[name](directory))
    titles = {key[0] for key in made}
    for key, says in made.items():
        if committed.get(key) != says:
            yield f"{name}: {' | '.join(key)}: {committed.get(key)!r} is {says!r} now"
    if name == "reliability.md":  # a test without an outcome was skipped before it began
        return
    for key in committed:
        if key not in made and key[0] in titles:
            yield f"{name}: {' | '.join(key)} is gone"


def facts(page: str) -> Facts:
    """Every cell of a page's tables but the latencies."""
    notes = dict(_NOTE.findall(page))
    found: Facts = {}
    head: list[str] = []
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if not cells:
            head = []
        elif not head:
            head = cells
        elif set(cells[0]) != {"-"}:
            plain = [_REFERENCE.sub(lambda told: f"no: {notes[told[1]]}", cell) for cell in cells]
            found |= _row(head, plain)
    return found


def _row(head: list[str], cells: list[str]) -> Facts:
    first = cells[0]
    if "ms" in head:
        return {tuple(cells[:3]): f"{cells[3]}, {cells[5]} calls"}
    pairs = list(zip(head[1:], cells[1:], strict=True))
    if head[0] == "token":
        return {(first, title): cell for title, cell in pairs}
    return {(title, first): cell for title, cell in pairs if cell}
