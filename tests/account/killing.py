"""Killing a command at every moment at which it changes a file, and putting the files back for the next."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

_CHANGES = ("os.rename", "os.remove", "os.link", "os.mkdir")
_UNSEEN = (".new", ".part", ".lock", "/lock")
_MOST = 200


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
        status = _run(command, homes, moment)
        yield os.WIFSIGNALED(status)
        if not os.WIFSIGNALED(status):
            assert (os.WEXITSTATUS(status), moment > 1) == (0, True)
            return
        assert moment < _MOST
        for home, copy in zip(homes, kept, strict=True):
            shutil.rmtree(home)
            shutil.copytree(copy, home)


def _run(command: Callable[[], object], homes: Sequence[Path], moment: int) -> int:
    sys.stdout.flush()
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        sys.addaudithook(_killer(homes, moment))
        command()
        os._exit(0)
    except BaseException:  # nothing of the test may run on in the child
        os._exit(1)


def _killer(homes: Sequence[Path], moment: int) -> Callable[[str, tuple[object, ...]], None]:
    below = tuple(f"{home}{os.sep}" for home in homes)
    left = [moment]

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if not (event in _CHANGES or (event == "open" and _writes(arguments))):
            return
        if str(arguments[0]).startswith(below):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return hook


def _writes(arguments: tuple[object, ...]) -> bool:
    flags = arguments[2]
    seen = not str(arguments[0]).endswith(_UNSEEN)
    return seen and isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))
