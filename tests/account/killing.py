"""Killing a command at every moment at which it changes a file, and putting the files back for the next."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatch
from itertools import count
from pathlib import Path

import pytest

_CHANGES = ("os.rename", "os.remove", "os.link", "os.mkdir")
_UNSEEN = (".new", ".part", ".lock", "/lock")
_MOST = 1000


def some_or_all(every: int) -> pytest.MarkDecorator:
    """A test with `every`: of so many changes one in the check, and in the long run each."""
    values = [every, pytest.param(1, marks=pytest.mark.fuzz)]
    return pytest.mark.parametrize("every", values, ids=["some", "all"])


def killed_everywhere(
    homes: Sequence[Path], command: Callable[[], object], *, every: int = 1
) -> Iterator[bool]:
    """Run `command` in a process of its own and kill it (SIGKILL) just before its first change of a file
    below `homes`, then the second, and so on; last it ends by itself. Yields after each, with whether it was
    killed; before the next one the homes are as they were at the beginning. Files that are renamed into place
    when they are whole count when they are renamed. `every`: of so many changes one, for a long command.
    """
    kept = [home.with_name(f"{home.name}.kept") for home in homes]
    for home, copy in zip(homes, kept, strict=True):
        shutil.copytree(home, copy)
    for moment in count(1, every):
        status = _run(command, _killer(_below(homes), moment))
        yield os.WIFSIGNALED(status)
        if not os.WIFSIGNALED(status):
            assert (os.WEXITSTATUS(status), moment > 1) == (0, True)
            return
        assert moment < _MOST
        for home, copy in zip(homes, kept, strict=True):
            shutil.rmtree(home)
            shutil.copytree(copy, home)


def killed_before(place: str, command: Callable[[], object], moment: int = 1) -> None:
    """Run `command` in a process of its own and kill it just before its first (second…) change of a file
    whose path fits the pattern. Fails when it ends before. A file that is renamed there changes then, and one
    that is opened for writing counts as changed.
    """

    def fits(arguments: tuple[object, ...]) -> bool:
        return any(isinstance(path, (str, Path)) and fnmatch(str(path), place) for path in arguments[:2])

    assert os.WIFSIGNALED(_run(command, _killer(fits, moment)))


_Hook = Callable[[str, tuple[object, ...]], None]


def _run(command: Callable[[], object], hook: _Hook) -> int:
    sys.stdout.flush()
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        sys.addaudithook(hook)
        command()
        os._exit(0)
    except BaseException:  # nothing of the test may run on in the child
        os._exit(1)


def _below(homes: Sequence[Path]) -> Callable[[tuple[object, ...]], bool]:
    below = tuple(f"{home}{os.sep}" for home in homes)
    return lambda arguments: str(arguments[0]).startswith(below)


def _killer(fits: Callable[[tuple[object, ...]], bool], moment: int) -> _Hook:
    left = [moment]

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if not (event in _CHANGES or (event == "open" and _writes(arguments))):
            return
        if fits(arguments):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return hook


def _writes(arguments: tuple[object, ...]) -> bool:
    flags = arguments[2]
    seen = not str(arguments[0]).endswith(_UNSEEN)
    return seen and isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))
