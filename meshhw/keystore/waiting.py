"""Calls that wait for others (a touch, another program's transaction): waited for, or left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

POLL_SECONDS = 0.05

Result = TypeVar("Result")


class _Call(Generic[Result]):
    """A call on a thread of its own, which either its caller fetches or the thread itself undoes."""

    def __init__(self, work: Callable[[], Result], undo: Callable[[], None]) -> None:
        self._work = work
        self._undo = undo
        self._lock = threading.Lock()
        self._left = False
        self.done = threading.Event()
        self._result: Result
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:
            self._error = error
        with self._lock:
            self.done.set()
            left = self._left
        if left:
            self._undo()

    def leave(self) -> None:
        """Whoever comes second undoes: the call when it ends, or this if it has ended."""
        with self._lock:
            self._left = True
            ended = self.done.is_set()
        if ended:
            self._undo()

    def get(self) -> Result:
        if self._error is not None:
            raise self._error
        return self._result


def wait_for(work: Callable[[], Result], patience: Callable[[], None], undo: Callable[[], None]) -> Result:
    """The result of `work()`, which runs on another thread while `patience()` is called again and again.

    When `patience` raises (or Ctrl-C does), the call is left behind and `undo()` runs once it has ended.
    """
    call = _Call(work, undo)
    threading.Thread(target=call.run, name="card", daemon=True).start()
    try:
        while not call.done.wait(POLL_SECONDS):
            patience()
    except BaseException:
        call.leave()
        raise
    return call.get()
