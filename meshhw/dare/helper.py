"""A second process for work that is the interpreter's own, where threads would take turns: many small files.

The helper is a copy of this process, made by fork while it has no other thread, and does some of the parts of
a list that both know. It has what this process had in memory, and touches nothing but what `work` touches.
What goes wrong in it is done again here, and told here. It ends when this process closes its pipe, or dies.
"""

from __future__ import annotations

import os
import select
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NoReturn, TypeVar

from meshhw.dare.output import write_all

AHEAD = 2
"""Parts that the helper is given before it is done with the first."""
_KEPT = 16
"""Parts that may be done and wait for their turn."""
_THREADS = Path("/proc/self/task")
_FAILED = (1 << 64) - 1
_PIPE = 1 << 20
_HELD_BACK = (signal.SIGINT, signal.SIGTERM)
Part = TypeVar("Part")


@contextmanager
def in_two(parts: Sequence[Part], work: Callable[[Part], bytes]) -> Iterator[Iterator[bytes]]:
    """What `work` gives for each part, in their order, done here and by a helper. Where there is no second
    processor, or a thread beside this one, all is done here. What `work` raises is raised at its part."""
    helper = _Helper.start(parts, work) if len(parts) > 1 and _may_fork() else None
    if helper is None:
        yield map(work, parts)
        return
    try:
        with closing(_in_order(parts, work, helper)) as results:
            yield results
    finally:
        helper.end()


def _in_order(
    parts: Sequence[Part], work: Callable[[Part], bytes], helper: _Helper
) -> Generator[bytes, None, None]:
    done: dict[int, bytes] = {}
    given: deque[int] = deque()
    free = turn = 0
    while turn < len(parts):
        while len(given) < AHEAD and free < min(len(parts), turn + _KEPT) and helper.give(free):
            given.append(free)
            free += 1
        if turn in done:
            yield done.pop(turn)
            turn += 1
        elif given and (helper.is_ready() or free == min(len(parts), turn + _KEPT)):
            number = given.popleft()
            answer = helper.take()
            done[number] = work(parts[number]) if answer is None else answer
        else:
            done[free] = work(parts[free])
            free += 1


class _Helper:
    """The other process, and the pipes to and from it."""

    def __init__(self, process: int, to_it: int, from_it: int) -> None:
        self._process, self._to, self._from = process, to_it, from_it
        self._lost = False

    @classmethod
    def start(cls, parts: Sequence[Part], work: Callable[[Part], bytes]) -> _Helper | None:
        """Make the copy; None when the system refuses."""
        try:
            numbers, to_it = os.pipe()
            from_it, answers = os.pipe()
        except OSError:
            return None
        with suppress(OSError):
            _widen(answers)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)  # or the copy could return from here
        try:
            process = os.fork()
            if not process:
                _serve(parts, work, numbers, answers, (to_it, from_it))
        except OSError:
            for descriptor in (numbers, to_it, from_it, answers):
                os.close(descriptor)
            return None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(numbers)
        os.close(answers)
        return cls(process, to_it, from_it)

    def give(self, number: int) -> bool:
        """Ask for a part; whether it will be answered."""
        if not self._lost:
            try:
                os.write(self._to, number.to_bytes(8, "big"))
            except OSError:
                self._lost = True
        return not self._lost

    def is_ready(self) -> bool:
        """Whether an answer, or the end, can be read."""
        return bool(select.select([self._from], [], [], 0)[0])

    def take(self) -> bytes | None:
        """The next answer; None when the helper could not do it."""
        head = _read(self._from, 8)
        length = int.from_bytes(head, "big") if len(head) == 8 else _FAILED
        octets = _read(self._from, length) if length != _FAILED else b""
        self._lost = self._lost or len(head) < 8 or len(octets) < (length if length != _FAILED else 0)
        return None if self._lost or length == _FAILED else octets

    def end(self) -> None:
        """Close the pipes, upon which it ends, and wait until it has."""
        os.close(self._to)
        os.close(self._from)
        with suppress(ChildProcessError):
            os.waitpid(self._process, 0)


def _serve(
    parts: Sequence[Part],
    work: Callable[[Part], bytes],
    numbers: int,
    answers: int,
    others: tuple[int, ...],
) -> NoReturn:
    """What the helper does until its pipe is closed. It never returns into what it is a copy of."""
    try:
        for descriptor in others:
            os.close(descriptor)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interruption is for the one that was asked
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_BACK)
        while len(number := _read(numbers, 8)) == 8:
            try:
                octets = work(parts[int.from_bytes(number, "big")])
            except Exception:  # it is met again by the other process, and told there
                write_all(answers, _FAILED.to_bytes(8, "big"))
            else:
                write_all(answers, len(octets).to_bytes(8, "big") + octets)
    finally:
        os._exit(0)


def _may_fork() -> bool:
    """Whether there is a processor for it, and no thread here that the copy would lack."""
    try:
        return len(os.sched_getaffinity(0)) > 1 and _THREADS.stat().st_nlink == 3
    except (AttributeError, OSError):  # not on Linux
        return False


def _widen(pipe: int) -> None:
    import fcntl

    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)


def _read(descriptor: int, count: int) -> bytes:
    """`count` octets, fewer only at the end."""
    parts = []
    while count and (part := os.read(descriptor, min(count, 1 << 20))):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
