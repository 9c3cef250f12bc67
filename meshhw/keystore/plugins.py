"""The installed plug-ins of an entry-point group (packaging.python.org, "Entry points specification").

`importlib.metadata` takes longer to import than all of the rest of opening a token, the reader of e-mail that
it parses metadata with above all. Where every distribution is a directory on the path, as pip leaves it, the
one small file that matters is read without it, to the same result; anything else is left to it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import reduce
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, NamedTuple

_KINDS = (".dist-info", ".egg-info")


class Plugin(NamedTuple):
    """One entry point."""

    name: str
    value: str

    def load(self) -> Any:
        """The object that it names. Raises whatever its import raises."""
        module, _, attributes = self.value.partition("[")[0].partition(":")
        return reduce(getattr, filter(None, attributes.strip().split(".")), import_module(module.strip()))


def plugins(group: str) -> dict[str, Plugin]:
    """The plug-ins of a group by name; of two of one name the one later on the path."""
    if not _is_plain():
        return _by_library(group)
    return {plugin.name: plugin for text in _files() for plugin in _in_section(text, group)}


def _by_library(group: str) -> dict[str, Plugin]:
    from importlib.metadata import entry_points

    return {point.name: Plugin(point.name, point.value) for point in entry_points(group=group)}


def _is_plain() -> bool:
    """Whether all distributions are directories on the path: no archives, no finders of another kind."""
    finders = [finder for finder in sys.meta_path if hasattr(finder, "find_distributions")]
    return finders == [PathFinder] and not any(map(os.path.isfile, sys.path))


def _files() -> Iterator[str]:
    """Every distribution's `entry_points.txt`; a distribution that is on the path twice counts once."""
    seen: set[str] = set()
    for directory in sys.path:
        for name in _distributions(directory or "."):
            project = name.partition("-")[0].lower()
            if project not in seen:
                seen.add(project)
                with suppress(OSError):
                    yield Path(directory, name, "entry_points.txt").read_text(encoding="utf-8")


def _distributions(directory: str) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries if entry.name.endswith(_KINDS)]
    except OSError:
        return []


def _in_section(text: str, group: str) -> Iterator[Plugin]:
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip()
        elif section == group and "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            yield Plugin(name.strip(), value.strip())
