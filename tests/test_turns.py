"""Drivers of one process take turns at a reader, and nobody waits for ever."""

from __future__ import annotations

import threading
import time

from meshhw.keystore import turns


def test_two_are_never_at_one_reader() -> None:
    inside, most = 0, 0
    lock = threading.Lock()

    def look() -> None:
        nonlocal inside, most
        with turns.turn("reader"):
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.01)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=look) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_other_readers_are_not_waited_for() -> None:
    with turns.turn("one"):
        before = time.monotonic()
        with turns.turn("other"):
            assert time.monotonic() - before < turns.PATIENCE / 2


def test_whoever_hangs_is_not_waited_for_longer_than_patience() -> None:
    end = threading.Event()
    begun = threading.Event()

    def hang() -> None:
        with turns.turn("hung"):
            begun.set()
            end.wait()

    threading.Thread(target=hang, daemon=True).start()
    begun.wait()
    before = time.monotonic()
    with turns.turn("hung"):
        waited = time.monotonic() - before
    end.set()
    assert turns.PATIENCE - 0.5 < waited < turns.PATIENCE + 5
