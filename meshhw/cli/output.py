"""What a command prints: data on stdout, everything else on stderr.

With `--json`, stdout is exactly one JSON value whatever happens; without, tables for people on a terminal
and aligned columns for pipes. Octets never reach a terminal.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshhw.errors import UsageError

Row = Mapping[str, Any]


@dataclass(slots=True)
class Output:
    """The one door to stdout of one command."""

    json: bool = False
    verbose: int = 0
    printed: bool = field(default=False, init=False)
    """Whether the command's JSON value is out; what comes later must not add a second."""

    def show(self, value: Any, text: str | Callable[[], str] | None = None) -> None:
        """The command's result: `value` as JSON, or `text` for people (default: `value` itself)."""
        if self.json:
            self._dump(value)
        else:
            shown = text() if callable(text) else str(value) if text is None else text
            self._write(shown)

    def table(self, rows: Sequence[Row], columns: Sequence[str], empty: str = "") -> None:
        """Rows as a JSON array of objects, or as a table of the named columns; `empty` is said on stderr."""
        if self.json:
            self._dump([dict(row) for row in rows])
        elif not rows:
            self.note(empty or "nothing to list")
        elif sys.stdout.isatty():
            _rich_table(rows, columns)
        else:
            self._write(_plain_table(rows, columns))

    def line(self, text: str) -> None:
        """One line of a story that is told as it happens; a command with --json has a value instead."""
        self._write(text)

    def octets(self, data: bytes | Iterable[bytes]) -> None:
        """Binary data to a pipe or a redirected file. Raises UsageError on a terminal."""
        if sys.stdout.isatty():
            raise UsageError(
                "binary data is not written to a terminal", hint="name a file with --out, or use a pipe"
            )
        self.printed = True
        for piece in [data] if isinstance(data, bytes) else data:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()

    def note(self, message: str) -> None:
        """One line for the person, on stderr."""
        say(message)

    def detail(self, message: str) -> None:
        """One line on stderr for those who said -v."""
        if self.verbose:
            say(message)

    def _dump(self, value: Any) -> None:
        if self.printed:
            raise AssertionError("a command has one JSON value")  # a defect of the command, not of its input
        self.printed = True
        self._write(json.dumps(value, indent=2, ensure_ascii=False, default=str))

    def _write(self, text: str) -> None:
        sys.stdout.write(text if text.endswith("\n") or not text else text + "\n")
        sys.stdout.flush()


def say(message: str) -> None:
    """One `meshhw: …` line on stderr."""
    sys.stderr.write(f"meshhw: {message}\n")
    sys.stderr.flush()


def write_file(path: Path, octets: bytes) -> None:
    """A file that the person named: whole or not at all, with the modes that other programs would give it."""
    if path.exists() and not path.is_file():  # a device or a pipe is written through
        path.write_bytes(octets)
        return
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        beside.write_bytes(octets)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _plain_table(rows: Sequence[Row], columns: Sequence[str]) -> str:
    lines = [
        [name.upper() for name in columns],
        *([_cell(row.get(name)) for name in columns] for row in rows),
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _rich_table(rows: Sequence[Row], columns: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name.upper(), overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row.get(name))) for name in columns))
    Console().print(table)
