"""Calls into a token that may never return: each runs on a worker that is left behind when its time is over.

Without a deadline a call runs in the caller's thread, since a hand-over costs as much as a fast token's
signature. With one, a token that did not answer is poisoned: nothing is sent to it again, and its worker is
neither joined nor ended, as a thread inside a driver cannot be.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import Generic, TypeVar
from weakref import WeakSet

from meshhw.errors import OperationTimeout

Result = TypeVar("Result")
Item = TypeVar("Item")


Late = Callable[[Result | None], None]
"""Undoes what a call did that ended after its caller had gone; given its result, None if it raised."""


class _Outcome(Generic[Result]):
    """What a worker hands back: a result, or what the call raised. It is fetched, or it is undone."""

    def __init__(self, late: Late[Result] | None = None) -> None:
        self._late = late
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._left = False
        self._result: Result
        self._error: BaseException | None = None

    def run(self, work: Callable[[], Result]) -> None:
        try:
            self._result = work()
        except BaseException as error:
            self._error = error
        with self._lock:
            self._done.set()
            left = self._left
        if left:
            self._undo()

    def leave(self) -> bool:
        """Whether the call is left to itself from now on; not if it has just ended."""
        with self._lock:
            self._left = not self._done.is_set()
            return self._left

    def abandon(self) -> None:
        """Nobody fetches it, whether it has ended or will."""
        if not self.leave():
            self._undo()

    def _undo(self) -> None:
        if self._late is not None:
            self._late(None if self._error is not None else self._result)

    def wait(self, seconds: float) -> bool:
        return self._done.wait(seconds)

    def get(self) -> Result:
        if self._error is not None:
            raise self._error
        return self._result

    def value(self) -> Result | Exception:
        return self._error if isinstance(self._error, Exception) else self.get()


_limits: WeakSet[Limit] = WeakSet()


class Limit:
    """The time limit of one token's operations. Usable from any thread; calls with a limit run in turn."""

    def __init__(self, name: str, seconds: float | None = None) -> None:
        """`name` says whose limit it is in error messages; None for `seconds` sets no limit."""
        self.name = name
        self.seconds = seconds
        self.poisoned = False
        self.renew()
        _limits.add(self)

    def renew(self) -> None:
        """Start without a worker: a child of fork has none, and may have copied a lock that was held."""
        self._turn = threading.Lock()
        self._jobs: SimpleQueue[Callable[[], None] | None] | None = None

    def run(self, work: Callable[[], Result], late: Late[Result] | None = None) -> Result:
        """The result of `work()`. Raises what it raises, or OperationTimeout.

        A call that ends after that is undone by `late`, on the worker: its result belongs to the caller or to
        `late`, whenever it comes.
        """
        if self.poisoned:
            raise self._too_late()
        if self.seconds is None:
            return work()
        if not self._turn.acquire(timeout=self.seconds):
            raise self._too_late()
        try:
            outcome: _Outcome[Result] = _Outcome(late)
            self._queue().put(lambda: outcome.run(work))
            if not self._ended(outcome, self.seconds):
                self.poisoned = True
                raise self._too_late()
        finally:
            self._turn.release()
        return outcome.get()

    @property
    def busy(self) -> bool:
        """Whether a call with a limit is under way."""
        return self._turn.locked()

    def close(self) -> None:
        """Let the worker end when it is idle. The limit can be used again."""
        if self._jobs is not None and not self.poisoned:
            self._jobs.put(None)
        self._jobs = None

    def leave(self, last: Callable[[], None]) -> None:
        """Have a poisoned token's worker do one thing more, should its call return after all, and end."""
        if self._jobs is not None:
            self._jobs.put(last)
            self._jobs.put(None)
        self._jobs = None

    def _ended(self, outcome: _Outcome[Result], seconds: float) -> bool:
        try:
            return outcome.wait(seconds) or not outcome.leave()
        except BaseException:  # Ctrl-C
            outcome.abandon()
            raise

    def _queue(self) -> SimpleQueue[Callable[[], None] | None]:
        if self._jobs is None:
            self._jobs = SimpleQueue()
            threading.Thread(target=_serve, args=(self._jobs,), name=self.name, daemon=True).start()
        return self._jobs

    def _too_late(self) -> OperationTimeout:
        if self.seconds is None or not self.poisoned:
            return OperationTimeout(f"{self.name} is still busy with another operation")
        return OperationTimeout(f"{self.name} did not answer within {self.seconds:g} s")


def bounded(work: Callable[[], Result], seconds: float, name: str, hint: str | None = None) -> Result:
    """The result of one call that may never return, made on a thread of its own, which is left behind then.

    Raises what the call raises, or OperationTimeout, which says that `name` did not answer.
    """
    outcome = _start(None, lambda _: work())
    if not outcome.wait(seconds):
        raise OperationTimeout(f"{name} did not answer within {seconds:g} s", hint=hint)
    return outcome.get()


def gather(
    items: Iterable[Item], work: Callable[[Item], Result], seconds: float
) -> list[tuple[Item, Result | Exception]]:
    """`work(item)` for all items at the same time, each on a thread of its own, waiting `seconds` in all.

    What `work` raises stands in place of its result; OperationTimeout stands for those that did not end.
    """
    started = [(item, _start(item, work)) for item in items]
    end = time.monotonic() + seconds
    results: list[tuple[Item, Result | Exception]] = []
    for item, outcome in started:
        answered = outcome.wait(max(0.0, end - time.monotonic()))
        results.append(
            (item, outcome.value() if answered else OperationTimeout(f"no answer within {seconds:g} s"))
        )
    return results


def _start(item: Item, work: Callable[[Item], Result]) -> _Outcome[Result]:
    outcome: _Outcome[Result] = _Outcome()
    threading.Thread(target=outcome.run, args=(lambda: work(item),), daemon=True).start()
    return outcome


def _serve(jobs: SimpleQueue[Callable[[], None] | None]) -> None:
    while (job := jobs.get()) is not None:
        job()


def _after_fork() -> None:
    for limit in list(_limits):
        limit.renew()


os.register_at_fork(after_in_child=_after_fork)
