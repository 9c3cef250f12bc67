"""Large inputs and outputs of a command: files, and pipes on stdin and stdout, in constant memory."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, cast

import typer

from meshhw.cli.common import context
from meshhw.errors import FormatError, UsageError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from meshhw.keystore.interaction import Interaction

PIPE = "-"
ExportFile = Annotated[str, typer.Argument(metavar="FILE", help="Where to write; - is a pipe on stdout.")]
_TOLD_EVERY = 1 << 22


@contextmanager
def reading(name: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """The stream of a file, or of stdin for `-`, and its length where it has one. What is malformed in it is
    told with the file's name."""
    if name == PIPE:
        with naming("stdin"):
            yield sys.stdin.buffer, None
        return
    path = Path(name)
    with path.open("rb", buffering=0) as file, naming(name):
        size = path.stat().st_size if path.is_file() else None
        raw = cast(BinaryIO, file)
        if not sys.stderr.isatty() or size is None:
            yield raw, size
        else:
            yield cast(BinaryIO, _Watched(raw, path.name, size, context().interaction)), size


@contextmanager
def writing(name: str, *, private: bool = False, sync: bool = False) -> Iterator[BinaryIO]:
    """Where a result goes, complete or not at all: a file takes its name at the end, a pipe gets its octets
    then. Raises UsageError for a terminal, at once."""
    from meshhw.dare.output import replacing

    if name != PIPE and (not Path(name).exists() or Path(name).is_file()):
        with replacing(Path(name), private=private, sync=sync) as file:
            yield file
        return
    if name == PIPE and sys.stdout.isatty():
        raise UsageError("binary data is not written to a terminal", hint="name a file, or use a pipe")
    with tempfile.TemporaryFile() as kept:
        yield cast(BinaryIO, kept)
        kept.seek(0)
        with _opened(name) as target:
            shutil.copyfileobj(kept, target, 1 << 20)
            target.flush()
        context().output.printed = name == PIPE


def hand_out(file: str, octets: bytes, value: dict[str, Any], text: str) -> None:
    """Something public, into a file, of which `value` and `text` tell, or into a pipe for `-`."""
    with writing(file) as target:
        target.write(octets)
    if file != PIPE:
        context().output.show(value | {"file": file}, text)


@contextmanager
def naming(name: str) -> Iterator[None]:
    """What is malformed in a file that is read here is told with the file's name."""
    try:
        yield
    except FormatError as error:
        if error.position is not None:
            error.message = f"{name} is damaged, or no DARE file: {error.message}"
        raise


def _opened(name: str) -> AbstractContextManager[BinaryIO]:
    """Stdout, or a device or named pipe."""
    return nullcontext(sys.stdout.buffer) if name == PIPE else Path(name).open("wb")


class _Watched:
    """A file that tells the person how far its reading has come."""

    def __init__(self, file: BinaryIO, name: str, size: int, interaction: Interaction) -> None:
        self._file, self._name, self._size = file, name, size
        self._interaction = interaction
        self._done = self._told = 0

    def read(self, count: int = -1) -> bytes:
        """The next octets."""
        data = self._file.read(count)
        self._done += len(data)
        if self._done - self._told >= _TOLD_EVERY or self._done == self._size:
            self._told = self._done
            self._interaction.progress(self._name, self._done, self._size)
        return data
