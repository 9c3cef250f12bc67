"""What goes wrong under a PKCS#11 module is told as what it is, sends nothing astray, and passes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from meshhw.algorithms import Algorithm
from meshhw.errors import (
    Ambiguous,
    DriverUnavailable,
    KeyNotFound,
    MeshError,
    OperationTimeout,
    PinFinalTry,
    PinIncorrect,
    PinLocked,
    PinRequired,
    TokenBusy,
    TokenFault,
    TokenFull,
    TokenMismatch,
    TokenNotFound,
    TokenReadOnly,
    TokenRemoved,
)
from meshhw.keystore.api import Generates, KeySpec, OpenOptions
from meshhw.keystore.interaction import PinKind, PinRequest, Scripted
from meshhw.keystore.registry import open_token
from meshhw.keystore.uri import TokenURI
from meshhw.lab import shim
from meshhw.lab.fixtures_pkcs11 import NewToken
from meshhw.lab.pkcs11_token import Pkcs11Token
from meshhw.lab.shim import Control, State, Trouble
from tests.patience import until

Troubled = tuple[Pkcs11Token, Trouble]


def opened(pair: Troubled, **options: Any) -> tuple[Any, Any]:
    """The token, logged in, and a key on it."""
    token: Any = pair[0].open(**options)
    return token, token.generate(KeySpec(Algorithm.P256, label="key"))


def test_pulled_before_between_and_returned(troubled_token: Troubled) -> None:
    token, key = opened(troubled_token)
    trouble = troubled_token[1]
    trouble.pull()
    began = time.monotonic()
    for _ in range(2):
        with pytest.raises(TokenRemoved):
            key.sign(b"message")
    with pytest.raises(TokenNotFound):
        troubled_token[0].open()
    assert time.monotonic() - began < 2
    trouble.put_back()
    assert len(key.sign(b"message")) == 64
    token.close()


def test_a_pin_is_asked_again_after_the_token_was_away(troubled_softhsm: Troubled) -> None:
    lab_token, trouble = troubled_softhsm
    person = Scripted({PinKind.USER: lab_token.pin})
    token, key = opened(troubled_softhsm, interaction=person)
    key.sign(b"message")
    assert len(person.asked) == 1
    trouble.pull()
    with pytest.raises(TokenRemoved):
        key.sign(b"message")
    trouble.put_back()
    key.sign(b"message")
    assert len(person.asked) == 2
    token.close()


def test_pulled_and_returned_while_the_pin_is_typed_costs_one_more_question(
    troubled_softhsm: Troubled,
) -> None:
    lab_token, trouble = troubled_softhsm

    class Fumbling(Scripted):
        def pin(self, request: PinRequest) -> str:
            if not self.asked:
                trouble.pull()
                trouble.put_back()
            return super().pin(request)

    person = Fumbling({PinKind.USER: lab_token.pin})
    token, key = opened(troubled_softhsm, interaction=person)
    assert len(key.sign(b"message")) == 64
    assert len(person.asked) == 2
    token.close()


def test_pulled_and_returned_between_two_operations_is_not_even_noticed(troubled_token: Troubled) -> None:
    token, key = opened(troubled_token)
    trouble = troubled_token[1]
    trouble.pull()
    trouble.put_back()
    assert len(key.sign(b"message")) == 64
    token.close()


def test_swapped_tokens_are_noticed_and_get_no_pin(troubled_softhsm: Troubled) -> None:
    lab_token, trouble = troubled_softhsm
    token, key = opened(troubled_softhsm)
    control = Control(shim.control_of(_path(lab_token)))
    trouble.swap()
    with control.counted() as calls, pytest.raises(TokenMismatch, match="another token"):
        key.sign(b"message")
    assert "C_Login" not in calls
    trouble.put_back()
    assert len(key.sign(b"message")) == 64
    token.close()


def test_swapped_before_the_pin_is_sent(troubled_softhsm: Troubled) -> None:
    lab_token, trouble = troubled_softhsm
    token: Any = lab_token.open()
    trouble.swap()
    control = Control(shim.control_of(_path(lab_token)))
    with control.counted() as calls, pytest.raises(TokenMismatch):
        token.keys()
    assert "C_Login" not in calls
    token.close()


def _path(token: Pkcs11Token) -> Any:
    from pathlib import Path

    return Path(token.module_path)


def test_a_hung_token_is_left_within_its_deadline_and_its_session_closed_once_it_answers(
    troubled_softhsm: Troubled,
) -> None:
    lab_token, trouble = troubled_softhsm
    control = Control(shim.control_of(_path(lab_token)))
    made, key = opened(troubled_softhsm)
    made.close()
    token: Any = lab_token.open(deadline=2.0)
    key = token.key(key.uri)
    trouble.hang("C_Sign")
    began = time.monotonic()
    for _ in range(2):
        with pytest.raises(OperationTimeout):
            key.sign(b"message")
    token.close()
    assert time.monotonic() - began < 10
    with control.counted() as calls:
        trouble.clear()
        until(lambda: "C_CloseSession" in control.calls())
    assert calls["C_Logout"] == 1  # nobody else in this process uses the token


SIGN_ONCE = """
import sys
from meshhw.errors import OperationTimeout
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, PinRequest, Scripted
from meshhw.keystore.registry import open_token
from meshhw.keystore.uri import KeyURI

uri = KeyURI.parse(sys.argv[1])
person = Scripted({PinKind.USER: sys.stdin.readline()})
token = open_token(uri.token, OpenOptions(person, deadline=2))
try:
    token.key(uri).sign(b"")
except OperationTimeout:
    print("timed out")
"""


def test_a_process_with_a_hung_token_ends(troubled_softhsm: Troubled) -> None:
    lab_token, trouble = troubled_softhsm
    token, key = opened(troubled_softhsm)
    token.close()
    trouble.hang("C_Sign")
    done = subprocess.run(
        [sys.executable, "-c", SIGN_ONCE, str(key.uri)],
        input=lab_token.pin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    trouble.clear()
    assert (done.stdout, done.stderr, done.returncode) == ("timed out\n", "", 0)


def test_a_slow_token_is_waited_for(troubled_softhsm: Troubled) -> None:
    trouble = troubled_softhsm[1]
    token, key = opened(troubled_softhsm, deadline=10.0)
    trouble.delay(0.1, "C_Sign")
    began = time.monotonic()
    key.sign(b"message")
    assert 0.1 <= time.monotonic() - began < 8
    token.close()


def test_a_locked_pin_is_told_with_the_command_that_unlocks_it(troubled_softhsm: Troubled) -> None:
    lab_token, trouble = troubled_softhsm
    trouble.be(State.LOCKED)
    token: Any = lab_token.open()
    with Control(shim.control_of(_path(lab_token))).counted() as calls, pytest.raises(PinLocked) as told:
        token.keys()
    assert told.value.hint.startswith("`meshhw token unlock 'pkcs11:")
    assert told.value.exit_status == 4
    assert "C_Login" not in calls
    token.close()


def test_the_last_try_is_spent_only_when_allowed(troubled_softhsm: Troubled) -> None:
    lab_token, trouble = troubled_softhsm
    trouble.be(State.FINAL_TRY)
    person = Scripted({PinKind.USER: lab_token.pin})
    token: Any = lab_token.open(interaction=person)
    with pytest.raises(PinFinalTry) as told:
        token.keys()
    assert told.value.retries_left == 1
    assert person.asked == []
    person.allow_final_try = True
    assert token.keys() == []
    token.close()


def test_a_kept_pin_is_not_the_last_try_unasked_either(troubled_softhsm: Troubled) -> None:
    """Somebody may have changed it since; a child of fork logs in anew with what its parent was told."""
    lab_token, trouble = troubled_softhsm
    person = Scripted({PinKind.USER: lab_token.pin})
    token, key = opened(troubled_softhsm, interaction=person)
    assert len(key.sign(b"message")) == 64
    trouble.be(State.FINAL_TRY)
    control = Control(shim.control_of(_path(lab_token)))
    with control.counted() as calls:
        assert in_child(lambda: key.sign(b"message")) == "PinFinalTry"
    assert "C_Login" not in calls
    person.allow_final_try = True
    assert in_child(lambda: key.sign(b"message")) == ""
    assert len(person.asked) == 1
    token.close()


def in_child(work: Callable[[], object]) -> str:
    """What a child of fork raises, by its name."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        signal.alarm(20)
        try:
            work()
        except BaseException as error:
            os.write(writer, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.wait()
    with os.fdopen(reader) as pipe:
        return pipe.read()


def test_a_wrong_pin_is_sent_once_told_and_forgotten(troubled_token: Troubled) -> None:
    lab_token = troubled_token[0]
    person = Scripted({PinKind.USER: "0000000"})
    token: Any = lab_token.open(interaction=person)
    with pytest.raises(PinIncorrect) as told:
        token.keys()
    assert told.value.code is not None
    assert told.value.code.name == "CKR_PIN_INCORRECT"
    assert "0000000" not in str(told.value)
    person.pins = {PinKind.USER: lab_token.pin}
    assert token.keys() == []
    assert len(person.asked) == 2
    token.close()


def test_a_wrong_pin_leaves_no_session(troubled_softhsm: Troubled) -> None:
    lab_token, _ = troubled_softhsm
    with Control(shim.control_of(_path(lab_token))).counted() as calls:
        for _ in range(3):
            token: Any = lab_token.open(interaction=Scripted({PinKind.USER: "0000000"}))
            with pytest.raises(PinIncorrect):
                token.keys()
            token.close()
    assert calls["C_OpenSession"] == calls["C_CloseSession"] == 3


def test_nobody_to_ask(pkcs11_token: Pkcs11Token) -> None:
    token = open_token(pkcs11_token.uri, OpenOptions())
    with pytest.raises(PinRequired):
        token.keys()
    token.close()


def test_opencryptoki_locks_after_three_pins_and_the_officer_unlocks(
    opencryptoki_token: Pkcs11Token,
) -> None:
    for _ in range(3):
        token: Any = opencryptoki_token.open(
            interaction=Scripted({PinKind.USER: "0000000"}, allow_final_try=True)
        )
        with pytest.raises((PinIncorrect, PinLocked)):
            token.keys()
        token.close()
    token = opencryptoki_token.open()
    with pytest.raises(PinLocked):
        token.keys()
    assert token.retries_left(PinKind.USER) == 0
    token.unlock()
    token.keys()  # logs in; other tests' keys may be there
    assert token.retries_left(PinKind.USER) is None
    token.close()


def test_a_full_token(troubled_token: Troubled) -> None:
    token, key = opened(troubled_token)
    troubled_token[1].be(State.FULL)
    with pytest.raises(TokenFull):
        token.generate(KeySpec(Algorithm.P256))
    assert len(key.sign(b"message")) == 64
    troubled_token[1].clear()
    listed = token.keys()
    assert [one.uri for one in listed] == [key.uri]
    token.close()


def test_a_read_only_token_has_no_call_that_writes(troubled_softhsm: Troubled) -> None:
    lab_token, trouble = troubled_softhsm
    token, key = opened(troubled_softhsm)
    token.close()
    trouble.be(State.READ_ONLY)
    token = lab_token.open()
    assert not isinstance(token, Generates)
    assert len(token.key(key.uri).sign(b"message")) == 64
    token.close()


def test_a_write_that_the_token_refuses(troubled_softhsm: Troubled) -> None:
    token, _ = opened(troubled_softhsm)
    troubled_softhsm[1].fail(0xE2, "C_GenerateKeyPair")
    with pytest.raises(TokenReadOnly):
        token.generate(KeySpec(Algorithm.P256))
    token.close()


def test_a_busy_token(troubled_softhsm: Troubled) -> None:
    lab_token, trouble = troubled_softhsm
    trouble.be(State.BUSY)
    token: Any = lab_token.open()
    with pytest.raises(TokenBusy) as told:
        token.keys()
    assert told.value.exit_status == 7
    trouble.clear()
    assert token.keys() == []
    token.close()


def test_a_code_of_a_newer_standard_is_kept(troubled_softhsm: Troubled) -> None:
    token, key = opened(troubled_softhsm)
    troubled_softhsm[1].fail(0x80001234, "C_Sign")
    with pytest.raises(TokenFault) as told:
        key.sign(b"message")
    assert told.value.code is not None
    assert told.value.code.value == 0x80001234
    assert len(key.sign(b"message")) == 64
    token.close()


@pytest.mark.parametrize(
    "function", ["C_FindObjectsInit", "C_FindObjects", "C_SignInit", "C_GetAttributeValue"]
)
@pytest.mark.parametrize("code", [0x05, 0x30, 0x32, 0xB3])
@pytest.mark.filterwarnings("error")
def test_any_call_may_fail_and_the_next_try_works(
    troubled_softhsm: Troubled, function: str, code: int
) -> None:
    trouble = troubled_softhsm[1]
    token, key = opened(troubled_softhsm)
    token.session.epoch += 1  # so that the key is looked up anew
    trouble.fail(code, function, times=3)
    told: list[MeshError] = []
    for _ in range(3):
        with suppress_into(told):
            key.sign(b"message")
    assert told
    trouble.clear()
    assert len(token.key(key.uri).sign(b"message")) == 64
    token.close()


@contextmanager
def suppress_into(told: list[MeshError]) -> Iterator[None]:
    try:
        yield
    except MeshError as error:
        told.append(error)


def test_a_key_deleted_by_someone_else_meanwhile(troubled_token: Troubled) -> None:
    token, key = opened(troubled_token)
    other: Any = troubled_token[0].open()
    other.delete(key.uri)
    other.close()
    with pytest.raises(KeyNotFound) as told:
        key.sign(b"message")
    assert told.value.exit_status == 3
    assert token.keys() == []
    token.close()


def test_someone_else_logging_out_costs_no_second_question(troubled_softhsm: Troubled) -> None:
    lab_token, _ = troubled_softhsm
    person = Scripted({PinKind.USER: lab_token.pin})
    token, key = opened(troubled_softhsm, interaction=person)
    for _ in range(2):
        token.session.run(token.session.login.log_out)  # as another library in this process may
        assert len(token.keys()) == 1
        token.session.run(token.session.login.log_out)
        assert len(key.sign(b"message")) == 64
    assert len(key.sign(b"message")) == 64
    assert len(person.asked) == 1
    token.close()


def test_two_tokens_of_one_label(new_softhsm: NewToken, softhsm_directory: Any) -> None:
    first = new_softhsm()
    softhsm_directory.add(first.label)
    with pytest.raises(Ambiguous) as told:
        first.open()
    assert len(told.value.candidates) == 2
    for candidate in told.value.candidates:
        open_token(TokenURI.parse(candidate), first.options()).close()


def test_a_wrong_label(softhsm_token: Pkcs11Token) -> None:
    uri = TokenURI.make("pkcs11", {"module-path": softhsm_token.module_path}, token="nobody")
    with pytest.raises(TokenNotFound, match="nobody") as told:
        open_token(uri)
    assert told.value.exit_status == 3


def test_module_paths_that_are_wrong(tmp_path: Any) -> None:
    text = tmp_path / "text.so"
    text.write_text("not a library")
    for path, said in (("/nowhere/x.so", "no PKCS#11 module"), (str(text), "cannot|not a PKCS#11 module")):
        with pytest.raises(DriverUnavailable, match=said):
            open_token(TokenURI.make("pkcs11", {"module-path": path}))
    libc = "/lib/x86_64-linux-gnu/libm.so.6"
    with pytest.raises(DriverUnavailable):
        open_token(TokenURI.make("pkcs11", {"module-path": libc}))


def test_many_threads_notice_a_removal_and_find_the_token_again(troubled_softhsm: Troubled) -> None:
    lab_token, trouble = troubled_softhsm
    person = Scripted({PinKind.USER: lab_token.pin})
    token, key = opened(troubled_softhsm, interaction=person)
    start = threading.Barrier(8)
    outcomes: list[bool] = []

    def use() -> None:
        start.wait()
        for _ in range(20):
            try:
                outcomes.append(len(key.sign(b"message")) == 64)
            except TokenRemoved:
                time.sleep(0.01)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    trouble.pull()
    time.sleep(0.02)
    trouble.put_back()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert outcomes
    assert all(outcomes)
    assert len(key.sign(b"message")) == 64
    assert len(person.asked) <= 3  # once, and once more for each time that it was away
    token.close()
