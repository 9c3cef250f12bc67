"""What every token promises when something goes wrong: one body of faults over every emulated token.

The table in docs/reliability.md is made from this run (`--reports DIR`): a row a promise, a column a family.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from hwtests.families import FAMILIES
from hwtests.family import Family, Subject
from meshhw.errors import (
    Cancelled,
    OperationTimeout,
    PinFinalTry,
    PinIncorrect,
    PinLocked,
    TokenBusy,
    TokenFault,
    TokenFull,
    TokenMismatch,
    TokenRemoved,
    TouchTimeout,
)
from meshhw.keystore.api import Token

MESSAGE, WORKER = b"what is signed", "hwtests.worker"
HOW_LONG = pytest.mark.parametrize("seconds", [5.0, pytest.param(30.0, marks=pytest.mark.fuzz)])
PROMPT = 2.0
"""Seconds within which a pulled token is noticed."""


@pytest.fixture(params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> Iterator[Family]:
    made = FAMILIES[request.param](request)
    yield made
    made.heal()


@contextmanager
def opened(family: Family, **options: object) -> Iterator[tuple[Token, Subject]]:
    token = family.open(**options)
    try:
        yield token, family.subject(token)
    finally:
        token.close()


@contextmanager
def at_once(seconds: float = PROMPT) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


def test_pulled_before(family: Family) -> None:
    """Pulled before an operation: TokenRemoved within 2 s, and it works again after its return."""
    with opened(family) as (_, subject):
        subject.use()
        family.pull()
        with at_once(), pytest.raises(TokenRemoved):
            subject.use()
        family.put_back()
        subject.use()


def test_pulled_during(family: Family) -> None:
    """Pulled during an operation: TokenRemoved within 2 s, and it works again after its return."""
    with opened(family) as (_, subject):
        subject.use()
        timer = family.pull_during()
        with at_once(), pytest.raises(TokenRemoved):
            subject.use()
        timer.join()
        family.heal()
        family.put_back()
        subject.use()


def test_pulled_after(family: Family) -> None:
    """Pulled after an operation and returned: the next operation works without a restart."""
    with opened(family) as (_, subject):
        subject.use()
        family.pull()
        family.put_back()
        subject.use()


def test_no_partial_file(family: Family, tmp_path: Path) -> None:
    """A command whose token is pulled leaves no file behind, and exits with 3."""
    place = tmp_path / "place"
    place.mkdir()
    message, out = place / "message", place / "signature"
    message.write_bytes(MESSAGE)
    with opened(family) as (_, subject):
        uri = family.key_name(subject)
        family.pull()
        running = start_command(family, ["key", "sign", uri, str(message), "--out", str(out)], tmp_path)
        _, err = running.communicate(family.pin, timeout=60)
        family.put_back()
    assert running.returncode == 3, err
    assert "Traceback" not in err
    assert [path.name for path in place.iterdir()] == ["message"]


def start_command(family: Family, arguments: list[str], home: Path) -> subprocess.Popen[str]:
    place = os.environ.get("MESHHW_HOME", str(home / "home"))
    return start(family, "meshhw", *arguments, "--pin-source", "fd:0", MESHHW_HOME=place)


def start(family: Family, module: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=Path(__file__).parents[1],
        env=os.environ | family.env | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_swapped(family: Family) -> None:
    """Another token in its place: TokenMismatch, and no PIN is sent to it."""
    with opened(family) as (_, subject):
        subject.use()
        family.swap()
        family.forget_pins()
        with pytest.raises(TokenMismatch):
            subject.use()
        assert family.pins_received() == 0
        family.put_back()
        subject.use()


def test_wrong_pin(family: Family) -> None:
    """A wrong PIN: exactly one try is spent, those left are told, and the wrong PIN is not kept."""
    with opened(family) as (_, subject):
        subject.use()  # a TPM asks for the first use after power-on to be repeated
    person = family.person(family.wrong_pin)
    token = family.open(person)
    try:
        family.forget_pins()
        before = family.tries_left()
        with pytest.raises(PinIncorrect) as told:
            family.subject(token, subject).use()
        assert family.pins_received() == 1
        assert told.value.retries_left == family.tries_left() == (None if before is None else before - 1)
        assert family.wrong_pin not in str(told.value)
        assert told.value.exit_status == 4
        person.pins = family.person().pins
        family.subject(token, subject).use()
    finally:
        token.close()


def test_pin_changed_meanwhile(family: Family) -> None:
    """A PIN that was given and is no longer right: one try is spent, it is dropped, and asked for anew."""
    person, new = family.person(), "654321"
    with opened(family, person=person) as (_, subject):
        subject.use()
        family.change_pin(new)
        family.forget_pins()
        asked = len(person.asked)
        with pytest.raises(PinIncorrect):
            subject.use()
        assert family.pins_received() == 1
        assert len(person.asked) == asked  # it was the kept one
        person.pins = family.person(new).pins
        subject.use()
        assert len(person.asked) == asked + 1


def test_final_try(family: Family) -> None:
    """The last try is refused unless somebody allowed it; then it is spent."""
    with opened(family) as (_, subject):
        pass
    person = family.person()
    family.nearly_lock()
    token = family.open(person)
    try:
        family.forget_pins()
        with pytest.raises(PinFinalTry) as told:
            family.subject(token, subject).use()
        assert told.value.retries_left == 1
        assert "--allow-final-try" in told.value.hint
        assert family.pins_received() == 0
        person.allow_final_try = True
        family.subject(token, subject).use()
    finally:
        token.close()


def test_locked(family: Family) -> None:
    """A locked PIN: told with the exact command that ends it, exit status 4, and no PIN is sent."""
    with opened(family) as (_, subject):
        pass
    family.lock()
    family.forget_pins()
    token = family.open()
    try:
        with pytest.raises(PinLocked) as told:
            family.subject(token, subject).use()
        assert told.value.exit_status == 4
        assert family.names_cure(told.value.hint)
        assert family.pins_received() == 0
    finally:
        token.close()
    family.heal()


def test_hung(family: Family) -> None:
    """A token that does not answer: the deadline ends every call, and it works again once it answers."""
    with opened(family, deadline=2) as (_, subject):
        subject.use()
        family.hang()
        for _ in range(2):
            with at_once(8), pytest.raises(OperationTimeout) as told:
                subject.use()
            assert told.value.exit_status == 7
        family.heal()
    use_anew(family, subject)


def test_held(family: Family) -> None:
    """Held by another program: TokenBusy after a bounded wait, the holder named if it can be, not killed."""
    with opened(family) as (_, subject):
        subject.use()
    with family.held_by_another() as holder, at_once(15):
        with pytest.raises(TokenBusy) as told:
            use_anew(family, subject)
        assert told.value.exit_status == 7
        assert holder in (told.value.holder or "")
    with opened(family) as (_, again):
        again.use()


def use_anew(
    family: Family, subject: Subject, find: Callable[[Token, Subject], Subject] | None = None
) -> None:
    with closing(family.open()) as token:
        (find or family.subject)(token, subject).use()


def test_touch_not_given(family: Family) -> None:
    """A touch that does not come: announced within 1 s, TouchTimeout or the deadline, usable afterwards."""
    person = family.person()
    with opened(family, person=person, deadline=3) as (token, _):
        subject = family.touch_key(token)
        subject.use()
        person.touches.clear()
        family.unwilling_finger()
        watch = threading.Timer(1.0, lambda: announced.append(bool(person.touches)))
        announced: list[bool] = []
        watch.start()
        with at_once(10), pytest.raises((TouchTimeout, OperationTimeout)):
            subject.use()
        watch.join()
        assert announced == [True]
    family.heal()
    with opened(family) as (_, again):
        again.use()


def test_cancelled_touch(family: Family) -> None:
    """Ctrl-C while a touch is awaited ends the wait, and leaves the token usable."""
    person = family.person()
    with opened(family, person=person) as (token, _):
        subject = family.touch_key(token)
        family.unwilling_finger()
        timer = threading.Timer(0.5, lambda: setattr(person, "stop", True))
        timer.start()
        with at_once(8), pytest.raises(Cancelled):
            subject.use()
        timer.join()
        family.heal()
        person.stop = False
        subject.use()


@pytest.mark.usefixtures("ctrl_c")
def test_interrupted_command(family: Family, tmp_path: Path) -> None:
    """Ctrl-C ends a command that waits for a touch: status 130, no file, and the token is usable."""
    message, out = tmp_path / "message", tmp_path / "signature"
    message.write_bytes(MESSAGE)
    with opened(family) as (token, _):
        uri = family.key_name(family.touch_key(token))
    family.unwilling_finger()
    waiting = start_command(family, ["key", "sign", uri, str(message), "--out", str(out)], tmp_path)
    assert waiting.stdin is not None
    assert waiting.stderr is not None
    waiting.stdin.write(family.pin)
    waiting.stdin.close()
    waiting.stdin = None
    said = next(line for line in waiting.stderr if line.startswith("meshhw: touch "))
    assert said.endswith(" now\n")
    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate(timeout=20)
    assert waiting.returncode == 130, err
    assert "Traceback" not in err
    assert not out.exists()
    family.heal()
    with opened(family) as (_, again):
        again.use()


def test_full(family: Family) -> None:
    """A full token: TokenFull, nothing is left half-made, and the keys in it work."""
    with opened(family) as (token, subject):
        before = names(token)
        family.fill()
        with pytest.raises(TokenFull):
            family.one_more(token)
        subject.use()
        family.heal()
        assert names(token) == before


def names(token: Token) -> list[str]:
    held = token.keys()
    return sorted(str(key.uri) for key in held)


def test_handles_run_out(family: Family) -> None:
    """No session, slot or connection is left: a clean error, nothing leaked, and it works again after."""
    with opened(family) as (_, subject):
        subject.use()
    before = settled(family)
    with family.exhaust():
        for _ in range(2):
            with at_once(15), pytest.raises((TokenFull, TokenBusy)):
                use_anew(family, subject)
    use_anew(family, subject)
    assert settled(family) == before


def settled(family: Family) -> int:
    """The handles in use once nothing changes any more: a service notices a moment later that one is free."""
    counts = [family.handles()]
    while len(counts) < 3 or len(set(counts[-3:])) > 1:
        time.sleep(0.1)
        counts.append(family.handles())
    return counts[-1]


def test_unknown_code(family: Family) -> None:
    """A code that no standard has: kept on the error, and the next operation works."""
    with opened(family) as (_, subject):
        subject.use()
        code = family.strange_answer()
        with pytest.raises(TokenFault) as told:
            subject.use()
        assert told.value.code is not None
        assert told.value.code.value == code
        subject.use()


def test_fork(family: Family) -> None:
    """A forked child does not disturb its parent, and can sign itself."""
    with opened(family, deadline=20) as (_, subject):
        subject.use()
        child = os.fork()
        if child == 0:  # the child of a test must not run the tests' own ends
            signal.alarm(20)
            try:
                subject.use()
                os._exit(0)
            except BaseException:
                traceback.print_exc()  # the parent knows no more than that it failed
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        subject.use()


@HOW_LONG
def test_many_threads(family: Family, seconds: float) -> None:
    """8 threads on one token: every signature is right, and nothing blocks for ever."""
    wrong: list[BaseException] = []
    until = time.monotonic() + seconds

    def work(subject: Subject) -> None:
        try:
            while time.monotonic() < until:
                subject.use()
        except BaseException as error:  # whatever a thread dies of is the test's failure
            wrong.append(error)

    with opened(family) as (_, subject):
        threads = [threading.Thread(target=work, args=(subject,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(seconds + 30)
        assert not any(thread.is_alive() for thread in threads)
    assert wrong == []


@HOW_LONG
def test_many_processes(family: Family, seconds: float) -> None:
    """4 processes on one token: every signature is right, and each process gets on."""
    with opened(family) as (_, subject):
        processes = [start(family, WORKER, "many", family.key_name(subject), str(seconds)) for _ in range(4)]
        for process in processes:  # to all of them before one is waited for: they work at the same time
            assert process.stdin is not None
            process.stdin.write(f"{family.pin}\n")
            process.stdin.flush()
        ended = [process.communicate(timeout=60 + seconds) for process in processes]
    for process, (out, err) in zip(processes, ended, strict=True):
        assert process.returncode == 0, err
        assert int(out) > 0


def test_descriptors_run_out(family: Family) -> None:
    """A process with too few file descriptors: a clean error, none is lost, and it works again after."""
    with opened(family) as (_, subject):
        worker = start(family, WORKER, "few", family.key_name(subject))
        out, err = worker.communicate(f"{family.pin}\n", timeout=120)
    assert worker.returncode == 0, err
    told = json.loads(out)
    assert told["lost"] == 0
    assert bool(told["errors"]) is family.opens_files
    assert all("descriptor" in error or "Too many open files" in error for error in told["errors"])


def test_damaged_or_newer(family: Family) -> None:
    """A damaged or newer file of its keys: told, left as it is, and works once it is whole again."""
    with closing(family.open()) as token:
        subject = family.filed(token)
        subject.use()
    path = family.file()
    whole = path.read_bytes()
    for octets, refused in family.changed(whole).items():
        path.write_bytes(octets)
        with pytest.raises(refused) as told:
            use_anew(family, subject, family.filed)
        assert told.value.hint
        assert path.read_bytes() == octets
    path.write_bytes(whole)
    use_anew(family, subject, family.filed)
