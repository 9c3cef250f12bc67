"""Transcripts as tests: the ```console blocks of a Markdown file are run as written, in one shell.

A line that begins with `$ ` is a command, `> ` continues it, what follows is its output (stdout and stderr
together). In output `...` stands for any text, alone on a line for any lines, and a last line `[N]` for the
exit status N; without one the status must be 0. A command without output shown may print anything.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

_BLOCK = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)


@dataclass
class Step:
    """One command and what the file shows of it."""

    command: str
    shown: list[str] = field(default_factory=list)

    @property
    def status(self) -> int:
        found = re.fullmatch(r"\[(\d+)\]", self.shown[-1]) if self.shown else None
        return int(found[1]) if found else 0

    def expectation(self) -> str | None:
        """A regular expression for the output; None when nothing is shown."""
        lines = [line for line in self.shown if not re.fullmatch(r"\[\d+\]", line)]
        if not lines:
            return None
        parts = [r"(?:.*\n)*?" if line.strip() == "..." else _line(line) for line in lines]
        return "".join(parts)


def steps(markdown: str) -> list[Step]:
    """The commands of every console block, in order."""
    found: list[Step] = []
    for block in _BLOCK.findall(markdown):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(Step(line[2:]))
            elif line.startswith("> ") and found and not found[-1].shown:
                found[-1].command += "\n" + line[2:]
            elif line.strip():
                found[-1].shown.append(line.rstrip())
    return found


def run(path: Path, directory: Path, timeout: float = 300) -> None:
    """Run a file's transcript in a fresh directory and home; AssertionError names the first difference."""
    plan = steps(path.read_text())
    assert plan, f"{path} has no console block"
    mark = secrets.token_hex(8)
    script = "".join(
        f"{{\n{step.command}\n}} </dev/null 2>&1\nprintf '\\n{mark} %d\\n' $?\n" for step in plan
    )
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=directory,
        env=environment(directory),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    results = re.findall(rf"(.*?)\n{mark} (\d+)\n", done.stdout, re.DOTALL)
    for number, (step, (output, status)) in enumerate(zip(plan, results, strict=False), 1):
        compare(f"{path.name}, command {number}", step, output, int(status))
    assert len(results) == len(plan), f"{path.name} stopped after command {len(results)}:\n{done.stdout}"


def compare(where: str, step: Step, output: str, status: int) -> None:
    """One command's outcome against what the file shows."""
    story = f"{where}: $ {step.command}\n{output}\n[{status}]"
    assert status == step.status, f"{story}\nexpected [{step.status}]"
    expected = step.expectation()
    text = "".join(line.rstrip() + "\n" for line in output.splitlines() if line.strip())
    assert expected is None or re.fullmatch(expected, text), story + "\nexpected:\n" + "\n".join(step.shown)


def environment(directory: Path) -> dict[str, str]:
    """A shell's surroundings that hold nothing of the person who runs the tests."""
    kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return kept | {
        "PATH": path,
        "HOME": str(directory),
        "MESHHW_HOME": str(directory / "home"),
        "MESHHW_PKCS11_MODULES": "",
    }


def _line(shown: str) -> str:
    return ".*".join(re.escape(part) for part in shown.split("...")) + "\n"
