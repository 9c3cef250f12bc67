"""`./dev bench [NAME…]`: measure, print, and store the table in docs/performance.md."""

from __future__ import annotations

import importlib
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from benchmarks.harness import Result, Taken, measure

MODULES = (
    "startup",
    "listing",
    "pkcs11",
    "piv",
    "tpm",
    "dare",
    "archives",
    "sequences",
    "threshold",
    "account",
)
MEMORY, IN_MEMORY = Path("/dev/shm"), ("dare", "archives")  # noqa: S108 - what a disk does is nobody's merit
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
_TABLE = re.compile(r"<!-- (\w+) -->.*?<!-- end -->", re.DOTALL)


def main(names: list[str]) -> int:
    """Measure the named modules, or all; 1 when a figure exceeds its limit.

    Each in a process of its own: modules and services that one has loaded would stand in the next one's way.
    """
    if len(names) != 1:
        command = [sys.executable, "-m", "benchmarks"]
        return max(subprocess.run([*command, name], check=False).returncode for name in names or MODULES)
    (name,) = names
    if name in IN_MEMORY and MEMORY.is_dir():
        os.environ.setdefault("TMPDIR", str(MEMORY))
    page, kept = PAGE.read_text(), True
    # A generator sets up and clears away around each figure, so each is measured when it comes.
    results = [measure(figure) for figure in importlib.import_module(f"benchmarks.{name}").figures()]
    for result in results:
        kept = kept and result.kept
        print(result.row(), result.verdict, flush=True)
    PAGE.write_text(_store(page, name, results))
    return 0 if kept else 1


def _store(page: str, name: str, results: list[Result | Taken]) -> str:
    head = "| what | against | median each | ratio | promised |\n|---|---|---|---|---|"
    where = f"Python {platform.python_version()}, {platform.machine()}"
    rows = "\n".join(result.row() for result in results)
    text = f"<!-- {name} -->\n{head}\n{rows}\n\n({where})\n<!-- end -->"
    return _TABLE.sub(lambda found: text if found[1] == name else found[0], page)


sys.exit(main(sys.argv[1:]))
