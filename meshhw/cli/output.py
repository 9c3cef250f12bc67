"""What a command prints: data on stdout, everything else on stderr.

With `--json`, stdout is exactly one JSON value whatever happens; without, tables for people on a terminal
and aligned columns for pipes. Octets never reach a terminal.
"""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshhw.errors import UsageError

Row = Mapping[str, Any]
_URIS = ("uri", "key")
_PIPE = Path("-")
_WIDEST = 10_000


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
        """Rows as a JSON array of objects, or as a table of the named columns; `empty` is said on stderr.

        For people, the URIs in the columns `uri` and `key` are brief ones, unless they asked to be told more.
        """
        if self.json:
            self._dump([dict(row) for row in rows])
        elif not rows:
            self.note(empty or "nothing to list")
        else:
            shown = rows if self.verbose else [_shortened(row) for row in rows]
            if sys.stdout.isatty():
                _rich_table(shown, columns)
            else:
                self._write(_plain_table(shown, columns))

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


def unless_pipe(path: Path | None) -> Path | None:
    """The file that an option names; none for `-`, which is stdout."""
    return None if path == _PIPE else path


def not_pipe(path: Path) -> Path:
    """The file that an option names. Raises UsageError for `-`, where more than the file's octets is told."""
    if path == _PIPE:
        raise UsageError("this is not written to a pipe", hint="name a file")
    return path


def nobody_listens() -> bool:
    """Whether what reads stdout or stderr has gone, as `head` does when it has enough."""
    waiting = select.poll()
    for descriptor in (1, 2):
        waiting.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in waiting.poll(0))


def require_place(path: Path) -> None:
    """Raise UsageError where no file can be made, before a command does what it can do only once."""
    not_pipe(path)
    if not path.parent.is_dir():
        raise UsageError(f"{path} cannot be written: there is no directory {path.parent}")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"{path} cannot be written", hint="name a file that you may write")


def write_file(path: Path, octets: bytes) -> None:
    """A file that the person named: whole or not at all, with the modes that other programs would give it."""
    not_pipe(path)
    if path.exists() and not path.is_file():  # a device or a pipe is written through
        path.write_bytes(octets)
        return
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        beside.write_bytes(octets)
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        error.filename = str(path)  # the person never heard of the other
        raise


def brief_uri(text: str) -> str:
    """A token's or key's URI as people are shown it; what is no URI stays as it is."""
    from meshhw.errors import InvalidURI
    from meshhw.keystore.uri import KeyURI

    try:
        return KeyURI.parse(text).brief()
    except InvalidURI:
        return text


def facts(value: Mapping[str, Any], prefix: str = "") -> str:
    """Named facts, one a line and aligned; a mapping among them is set in below its name."""
    told = {name: fact for name, fact in value.items() if fact not in (None, "")}
    width = max((len(name) for name, fact in told.items() if not isinstance(fact, Mapping)), default=0) + 2
    lines = []
    for name, fact in told.items():
        if isinstance(fact, Mapping):
            lines += [f"{prefix}{name}", facts(fact, prefix + "  ")]
        else:
            lines.append(f"{prefix}{name:<{width}}{_cell(fact)}")
    return "\n".join(lines)


def _shortened(row: Row) -> Row:
    return {name: brief_uri(told) if name in _URIS and told else told for name, told in row.items()}


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
    console = Console()
    wide = console.measure(table, options=console.options.update(width=_WIDEST)).maximum
    console.width = max(console.width, wide)  # the terminal breaks a line so that a URI in it can be copied
    console.print(table)
