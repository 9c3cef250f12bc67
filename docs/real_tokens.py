"""The tokens that their owners tested: docs/reports/*.json, as a section of docs/compatibility.md."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
REPORTS, PAGE = HERE / "reports", HERE / "compatibility.md"
HEADING = "## Real tokens"


def section(reports: Path = REPORTS) -> Iterator[str]:
    """The section's lines."""
    import run_pages

    yield f"\n{HEADING}\n"
    found = {_title(report): report for report in _reports(reports)}
    if not found:
        yield "None was reported yet: [how to](reports/README.md)."
        return
    yield "As their owners reported them ([how to](reports/README.md)).\n"
    yield from run_pages.promises(found)
    yield ""
    yield from run_pages.operations(found)
    pulled = [(title, *pair) for title, report in found.items() for pair in report["attended"].items()]
    if pulled:
        yield "\n| token | in its owner's hands | what it did |\n|---|---|---|"
        yield from (f"| {title} | {what} | {did} |" for title, what, did in pulled)


def page(reports: Path = REPORTS) -> str:
    """docs/compatibility.md with this section made anew, and all else as it is."""
    before, _, _ = PAGE.read_text().partition(f"\n{HEADING}\n")
    return before + "\n".join(section(reports)) + "\n"


def _reports(directory: Path) -> Iterator[dict[str, Any]]:
    yield from (json.loads(path.read_text()) for path in sorted(directory.glob("*.json")))


def _title(report: dict[str, Any]) -> str:
    return f"{report['model']}, firmware {report['firmware']} ({report['date']})".replace("|", "/")
