"""Drivers of one process take turns at a reader, nobody waits for ever, and processes stand in a queue."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from meshhw.keystore import turns
from meshhw.keystore.turns import Queue


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the programs' queue is."""
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path))
    tmp_path.chmod(0o700)


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


WITHOUT_A_PAUSE = """
import sys
from meshhw.keystore.turns import Queue
queue = Queue("reader")
queue.join()
print("ready", flush=True)
while True:
    queue.leave()
    queue.join()
"""


@pytest.mark.usefixtures("home")
def test_a_program_that_never_pauses_lets_the_others_have_their_turns() -> None:
    greedy = [
        subprocess.Popen([sys.executable, "-c", WITHOUT_A_PAUSE], stdout=subprocess.PIPE) for _ in range(3)
    ]
    try:
        for program in greedy:
            assert program.stdout is not None
            assert program.stdout.readline() == b"ready\n"
        queue, began = Queue("reader"), time.monotonic()
        for _ in range(50):
            queue.join()
            queue.leave()
        assert time.monotonic() - began < 10
    finally:
        for program in greedy:
            program.kill()
            program.communicate()


@pytest.mark.usefixtures("home")
def test_a_turn_is_kept_from_others_and_ends_with_its_process() -> None:
    first, second = Queue("reader"), Queue("reader")
    first.join()
    waiting = threading.Thread(target=second.join, daemon=True)
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    try:
        first.leave()
        waiting.join(20)
        assert not waiting.is_alive()  # the child has kept neither the turn
        second.leave()
        first.join()  # nor the door
        first.leave()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_without_a_home_there_is_no_queue_and_none_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    one, other = Queue("reader"), Queue("reader")
    one.join()
    other.join()
    assert not (tmp_path / "home").exists()
