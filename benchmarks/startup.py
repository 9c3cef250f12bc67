"""How fast the command line starts, against what it cannot start without."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from benchmarks.harness import Figure


def run(*arguments: str) -> None:
    """This Python with these arguments; what it prints is thrown away."""
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def figures() -> Iterator[Figure]:
    """`meshhw --help`."""
    yield Figure(
        "`meshhw --help`",
        lambda: run("-m", "meshhw", "--help"),
        lambda: run("-c", "import typer"),
        "`python -c 'import typer'`",
        limit=1.4,
    )
