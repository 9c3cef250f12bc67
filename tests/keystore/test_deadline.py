"""Calls that may never return are left behind in time, and everything else passes through unchanged."""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue

import pytest

from meshhw.errors import KeyNotFound, OperationTimeout
from meshhw.keystore.deadline import Limit, gather


def test_without_a_limit_the_call_runs_in_the_callers_thread() -> None:
    assert Limit("token").run(threading.get_ident) == threading.get_ident()


def test_with_a_limit_it_runs_on_one_worker() -> None:
    limit = Limit("token", 5)
    first, second = limit.run(threading.get_ident), limit.run(threading.get_ident)
    assert first == second != threading.get_ident()
    limit.close()
    assert limit.run(lambda: 7) == 7


def test_what_the_call_raises_is_raised() -> None:
    def lost() -> None:
        raise KeyNotFound("gone")

    for seconds in (None, 5.0):
        with pytest.raises(KeyNotFound, match="gone"):
            Limit("token", seconds).run(lost)


def test_a_hung_call_is_left_and_its_token_is_not_asked_again() -> None:
    limit, release, asked = Limit("token", 0.05), threading.Event(), []
    began = time.monotonic()
    with pytest.raises(OperationTimeout, match="token did not answer"):
        limit.run(lambda: release.wait(10))
    with pytest.raises(OperationTimeout):
        limit.run(lambda: asked.append(1))
    assert time.monotonic() - began < 8
    assert limit.poisoned
    release.set()
    limit.close()
    assert asked == []


def test_what_was_left_is_put_away_when_its_late_answer_comes() -> None:
    limit, release, put_away = Limit("token", 0.05), threading.Event(), threading.Event()
    with pytest.raises(OperationTimeout):
        limit.run(lambda: release.wait(10))
    limit.leave(put_away.set)
    assert not put_away.wait(0.05)
    release.set()
    assert put_away.wait(30)


def test_what_ends_just_at_its_limit_is_handed_over_or_undone_and_never_both() -> None:
    opened: SimpleQueue[object] = SimpleQueue()
    closed: SimpleQueue[object] = SimpleQueue()
    kept, late = [], 0
    for turn in range(150):
        limit = Limit("token", 0.004)
        pause = 0.0035 + 0.00001 * turn

        def work(pause: float = pause) -> object:
            time.sleep(pause)
            opened.put(thing := object())
            return thing

        try:
            kept.append(limit.run(work, closed.put))
        except OperationTimeout:
            late += 1
        limit.close()
    began = {opened.get(timeout=30) for _ in range(150)}
    undone = [closed.get(timeout=30) for _ in range(late)]
    assert began == {*kept, *undone}
    assert len(kept) + len(undone) == 150
    assert closed.empty()


def test_a_late_call_that_failed_is_told_of_too() -> None:
    limit, release, told = Limit("token", 0.05), threading.Event(), SimpleQueue[object]()

    def fail() -> None:
        release.wait(30)
        raise KeyNotFound("gone")

    with pytest.raises(OperationTimeout):
        limit.run(fail, told.put)
    assert told.empty()
    release.set()
    assert told.get(timeout=30) is None


def test_gather_keeps_order_errors_and_time() -> None:
    release = threading.Event()

    def work(number: int) -> int:
        if number == 1:
            raise KeyNotFound("one")
        if number == 2:
            release.wait(10)
        return number * 10

    began = time.monotonic()
    results = gather(range(4), work, 1.0)
    assert time.monotonic() - began < 8
    release.set()
    assert [number for number, _ in results] == [0, 1, 2, 3]
    assert results[0][1] == 0
    assert results[3][1] == 30
    assert isinstance(results[1][1], KeyNotFound)
    assert isinstance(results[2][1], OperationTimeout)
