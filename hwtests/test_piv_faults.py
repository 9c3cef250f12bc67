"""What can befall a PIV card, and what the driver promises then. Faults are made in card and reader."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from meshhw_piv.driver import PivDriver
from meshhw_piv.keys import NistKey
from meshhw_piv.token import PivToken

from meshhw.algorithms import Algorithm
from meshhw.errors import (
    Cancelled,
    DriverUnavailable,
    KeyNotFound,
    MeshError,
    NotSupported,
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
from meshhw.keystore.api import KeySpec, OpenOptions, TouchPolicy
from meshhw.keystore.interaction import PinKind, PinRequest, Scripted
from meshhw.keystore.registry import driver
from meshhw.lab.fixtures_piv import InsertCard
from meshhw.lab.piv.card import PivCard
from meshhw.lab.piv.context import Finger
from meshhw.lab.piv.faults import Kind
from meshhw.lab.piv.keys import GENERATED, PIN_ONCE, TOUCH_NEVER, SlotKey, generate
from meshhw.lab.piv.personality import P256, PERSONALITIES
from meshhw.lab.piv.token import FACTORY, PUK, VirtualPivToken

AUTHENTICATE, VERIFY = 0x87, 0x20
SOON = 2.0


def opened(
    virtual: VirtualPivToken, script: Scripted | None = None, deadline: float | None = None
) -> PivToken:
    token = virtual.open(OpenOptions(script or Scripted(FACTORY), deadline=deadline))
    assert isinstance(token, PivToken)
    return token


def make_key(token: PivToken, touch: TouchPolicy = TouchPolicy.DEFAULT) -> NistKey:
    key = token.generate(KeySpec(Algorithm.P256, touch_policy=touch))
    assert isinstance(key, NistKey)
    return key


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds


# --- the card leaves, returns, or is another ---


def test_pulled_before_an_operation(piv_card: VirtualPivToken) -> None:
    token = opened(piv_card)
    key = make_key(token)
    key.sign(b"before")
    piv_card.pull()
    with within(SOON), pytest.raises(TokenRemoved):
        key.sign(b"gone")
    piv_card.put_back()
    assert key.sign(b"again")
    token.close()


@pytest.mark.parametrize("kind", [Kind.PULL_BEFORE, Kind.PULL_DURING])
def test_pulled_during_an_operation(piv_card: VirtualPivToken, kind: Kind) -> None:
    token = opened(piv_card)
    key = make_key(token)
    key.sign(b"before")
    piv_card.card.faults.plan(kind, ins=AUTHENTICATE)
    with within(SOON), pytest.raises(TokenRemoved):
        key.sign(b"gone")
    piv_card.put_back()
    assert key.sign(b"again")
    token.close()


def test_pulled_after_an_operation(piv_card: VirtualPivToken) -> None:
    token = opened(piv_card)
    key = make_key(token)
    key.sign(b"before")
    piv_card.card.faults.plan(Kind.PULL_AFTER, ins=AUTHENTICATE)
    assert key.sign(b"answered")
    with within(SOON), pytest.raises(TokenRemoved):
        key.sign(b"gone")
    token.close()


def test_pulled_inside_a_batch(piv_card: VirtualPivToken) -> None:
    token = opened(piv_card)
    key = make_key(token)
    with token.hold():
        key.sign(b"before")
        piv_card.pull()
        with within(SOON), pytest.raises(TokenRemoved):
            key.sign(b"gone")
    piv_card.put_back()
    assert key.sign(b"again")
    token.close()


def test_the_pin_does_not_outlive_the_removal(piv_card: VirtualPivToken) -> None:
    script = Scripted(FACTORY)
    token = opened(piv_card, script)
    key = make_key(token)
    key.sign(b"before")
    piv_card.pull()
    with pytest.raises(TokenRemoved):
        key.sign(b"gone")
    piv_card.put_back()
    key.sign(b"again")
    assert [request.kind for request in script.asked] == [PinKind.USER, PinKind.USER]
    token.close()


def test_the_person_is_asked_for_the_absent_card(piv_card: VirtualPivToken) -> None:
    def insert(_: object) -> bool:
        piv_card.put_back()
        return True

    token = opened(piv_card, Scripted(FACTORY, inserts=insert))
    key = make_key(token)
    piv_card.pull()
    time.sleep(0.8)  # the PC/SC service looks for cards every 0.4 s
    assert key.sign(b"after the card was put back")
    token.close()


def test_returned_into_another_reader(insert_card: InsertCard) -> None:
    here = insert_card("5.7", slot=0)
    token = opened(here)
    key = make_key(token)
    here.pull()
    there = insert_card(here.card, slot=3)
    assert key.sign(b"found by its serial number")
    assert token.info().reader == there.reader.name
    token.close()


def test_swapped_cards_get_no_pin(piv_card: VirtualPivToken) -> None:
    token = opened(piv_card)
    key = make_key(token)
    key.sign(b"before")
    first = piv_card.card
    piv_card.swap(PivCard("5.7"))
    with within(SOON), pytest.raises(TokenMismatch):
        key.sign(b"wrong card")
    assert piv_card.card.count(VERIFY) == 0
    piv_card.swap(first)
    assert key.sign(b"right card")
    token.close()


def test_the_service_ends_and_returns(piv_card: VirtualPivToken) -> None:
    token = opened(piv_card)
    key = make_key(token)
    piv_card.daemon.kill()
    piv_card.pull()
    with within(SOON), pytest.raises((DriverUnavailable, TokenRemoved)):
        key.sign(b"no service")
    with pytest.raises(DriverUnavailable):
        driver("yubikey").tokens()
    piv_card.daemon.restart()
    piv_card.put_back()
    assert key.sign(b"again")
    token.close()


# --- PINs ---


def test_a_wrong_pin_costs_one_try_and_is_not_kept(piv_card: VirtualPivToken) -> None:
    pins = iter(["000000", "123456"])
    script = Scripted(lambda _: next(pins))
    token = opened(piv_card, script)
    key = make_key(token)
    with pytest.raises(PinIncorrect) as wrong:
        key.sign(b"x")
    assert wrong.value.retries_left == piv_card.card.lasting.pin.left == 2
    assert key.sign(b"asked anew")
    assert [request.retries_left for request in script.asked] == [3, 2]
    token.close()


def test_the_last_try_is_not_spent_unasked(piv_card: VirtualPivToken) -> None:
    piv_card.card.lasting.pin.left = 1
    script = Scripted(FACTORY)
    token = opened(piv_card, script)
    key = make_key(token)
    before = piv_card.card.count(VERIFY)
    with pytest.raises(PinFinalTry):
        key.sign(b"x")
    assert (piv_card.card.count(VERIFY), script.asked) == (before, [])
    script.allow_final_try = True
    assert key.sign(b"allowed")
    token.close()


def test_a_kept_pin_is_not_the_last_try_either(piv_card: VirtualPivToken) -> None:
    token = opened(piv_card)
    key = make_key(token)
    key.sign(b"x")
    another_program(piv_card, "reset")
    piv_card.card.lasting.pin.left = 1
    with pytest.raises(PinFinalTry):
        key.sign(b"x")
    assert piv_card.card.lasting.pin.left == 1
    token.close()


def test_an_impossible_pin_is_not_sent(piv_card: VirtualPivToken) -> None:
    token = opened(piv_card, Scripted({PinKind.USER: "123"}))
    key = make_key(token)
    with pytest.raises(PinIncorrect, match="nothing was sent"):
        key.sign(b"x")
    assert (piv_card.card.count(VERIFY), piv_card.card.lasting.pin.left) == (0, 3)
    token.close()


@pytest.mark.parametrize("personality", ["4.3", "5.7", "plain"])
def test_locked_by_someone_else_then_unlocked(insert_card: InsertCard, personality: str) -> None:
    virtual = insert_card(personality)

    def answer(request: PinRequest) -> str:
        return PUK if request.kind is PinKind.PUK else "654321" if request.new else "123456"

    token = opened(virtual, Scripted(answer))
    key = make_key(token)
    virtual.lock_pin()
    with pytest.raises(PinLocked) as locked:
        key.sign(b"x")
    assert locked.value.unlock_hint == f"meshhw token unlock '{virtual.uri}'"
    token.unlock()
    assert key.sign(b"with the new PIN")
    assert virtual.card.lasting.pin.value == b"654321\xff\xff"
    token.close()


def test_a_locked_puk_says_what_is_left_to_do(piv_card: VirtualPivToken) -> None:
    piv_card.lock_pin()
    piv_card.card.lasting.puk.left = 0
    token = opened(piv_card)
    with pytest.raises(PinLocked, match="PUK is locked"):
        token.unlock()
    token.reset()
    assert piv_card.card.lasting.pin.left == 3
    token.close()


def test_a_card_without_reset_keeps_its_tries(insert_card: InsertCard) -> None:
    virtual = insert_card("plain")
    token = opened(virtual)
    with pytest.raises(NotSupported):
        token.reset()
    assert (virtual.card.lasting.pin.left, virtual.card.lasting.puk.left) == (3, 3)
    token.close()


def test_pins_and_the_management_key_change(piv_card: VirtualPivToken) -> None:
    new = {PinKind.USER: "654321", PinKind.PUK: "87654321", PinKind.MANAGEMENT: "ab" * 32}
    now: dict[PinKind, str] = dict(FACTORY)

    def answer(request: PinRequest) -> str:
        return new[request.kind] if request.new else now[request.kind]

    token = opened(piv_card, Scripted(answer))
    for kind in (PinKind.USER, PinKind.PUK, PinKind.MANAGEMENT):
        token.change_pin(kind)
        now[kind] = new[kind]
    lasting = piv_card.card.lasting
    assert (lasting.pin.value, lasting.puk.value) == (b"654321\xff\xff", b"87654321")
    assert (lasting.management_key, lasting.management_algorithm) == (b"\xab" * 32, 0x0C)
    token.close()
    again = opened(piv_card, Scripted(answer))
    assert make_key(again).sign(b"with all of the new ones")
    again.close()


@pytest.mark.parametrize("personality", ["4.3", "5.7"])
def test_a_management_key_behind_the_pin_is_found_there(insert_card: InsertCard, personality: str) -> None:
    virtual = insert_card(personality)
    token = opened(virtual)
    token.protect_management_key()
    token.close()
    script = Scripted(FACTORY)
    again = opened(virtual, script)
    make_key(again)
    assert [request.kind for request in script.asked] == [PinKind.USER]
    again.close()


def test_a_wrong_management_key_is_told(piv_card: VirtualPivToken) -> None:
    piv_card.card.lasting.management_key = b"\x11" * 24
    token = opened(piv_card, Scripted(FACTORY | {PinKind.MANAGEMENT: "22" * 24}))
    with pytest.raises(PinIncorrect, match="management key"):
        make_key(token)
    token.close()


# --- others use the card ---

ANOTHER = """
import sys, time
from smartcard.scard import *
_, context = SCardEstablishContext(SCARD_SCOPE_USER)
what, reader = sys.argv[1:]
mode = SCARD_SHARE_EXCLUSIVE if what == "exclusive" else SCARD_SHARE_SHARED
result, card, protocol = SCardConnect(context, reader, mode, SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1)
assert result == 0, result
if what == "select":
    SCardTransmit(card, SCARD_PCI_T1, list(bytes.fromhex("00a4040008a000000527471117")))
if what == "reselect":
    SCardTransmit(card, SCARD_PCI_T1, list(bytes.fromhex("00a4040005a000000308")))
if what == "transaction":
    SCardBeginTransaction(card)
print("ready", flush=True)
if what in ("exclusive", "transaction"):
    time.sleep(60)
SCardDisconnect(card, SCARD_RESET_CARD if what == "reset" else SCARD_LEAVE_CARD)
"""


def start_another(virtual: VirtualPivToken, what: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", ANOTHER, what, virtual.reader.name],
        env=os.environ | virtual.env,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def another_program(virtual: VirtualPivToken, what: str) -> None:
    process = start_another(virtual, what)
    process.communicate(timeout=20)
    assert process.returncode == 0


@pytest.fixture
def holding() -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("what", ["exclusive", "transaction"])
def test_a_held_card_is_busy_and_its_holder_named(
    piv_card: VirtualPivToken, what: str, holding: list[subprocess.Popen[str]]
) -> None:
    holding.append(start_another(piv_card, what))
    with within(5), pytest.raises(TokenBusy) as busy:
        opened(piv_card)
    assert f"(pid {holding[0].pid})" in str(busy.value.holder)
    assert holding[0].poll() is None
    holding[0].kill()
    holding[0].wait()
    opened(piv_card).close()


def test_a_card_that_is_taken_between_operations_is_waited_for(
    piv_card: VirtualPivToken, holding: list[subprocess.Popen[str]]
) -> None:
    token = opened(piv_card)
    key = make_key(token)
    key.sign(b"before")
    holding.append(start_another(piv_card, "transaction"))
    with within(5), pytest.raises(TokenBusy):
        key.sign(b"held")
    threading.Timer(0.5, holding[0].kill).start()
    assert key.sign(b"as soon as it is free")
    token.close()


@pytest.mark.parametrize("what", ["reset", "select", "reselect"])
def test_what_others_do_to_the_card_is_made_good(piv_card: VirtualPivToken, what: str) -> None:
    script = Scripted(FACTORY)
    token = opened(piv_card, script)
    key = make_key(token)
    key.sign(b"before")
    another_program(piv_card, what)
    assert key.sign(b"after")
    assert len(script.asked) == 1
    token.close()


def test_a_key_deleted_by_someone_else(piv_card: VirtualPivToken) -> None:
    token = opened(piv_card)
    key = make_key(token)
    piv_card.lose_key(0x82)
    for work in (lambda: key.sign(b"x"), lambda: key.agree(key.public)):
        with pytest.raises(KeyNotFound):
            work()
    token.close()


def test_a_key_replaced_by_someone_else(piv_card: VirtualPivToken) -> None:
    token = opened(piv_card)
    key = make_key(token)
    piv_card.card.lasting.keys[0x82] = SlotKey(P256, generate(P256), GENERATED, PIN_ONCE, TOUCH_NEVER)
    with pytest.raises(KeyNotFound):
        key.sign(b"signed by another key, and not passed on")
    token.close()


# --- touch ---


@pytest.fixture
def untouched(insert_card: InsertCard) -> Iterator[VirtualPivToken]:
    """A card that nobody touches; it gives up after 3 s."""
    virtual = insert_card(PivCard("5.7", finger=Finger(patience=3.0)))
    virtual.card.finger.willing = False
    yield virtual
    virtual.card.finger.give_up()


def test_a_touch_that_does_not_come_within_the_deadline(untouched: VirtualPivToken) -> None:
    script = Scripted(FACTORY)
    token = opened(untouched, script, deadline=0.5)
    key = make_key(token, TouchPolicy.ALWAYS)
    with within(1.0), pytest.raises(TouchTimeout):
        key.sign(b"x")
    assert len(script.touches) == 1
    untouched.card.finger.give_up()
    untouched.card.finger.willing = True
    assert key.sign(b"touched at last")
    token.close()


def test_a_card_that_gives_up_waiting(untouched: VirtualPivToken) -> None:
    untouched.card.finger.patience = 0.2
    token = opened(untouched)
    key = make_key(token, TouchPolicy.ALWAYS)
    with pytest.raises(TouchTimeout):
        key.sign(b"x")
    token.close()


def test_cancelling_leaves_the_token_usable(untouched: VirtualPivToken) -> None:
    script = Scripted(FACTORY)
    token = opened(untouched, script)
    key = make_key(token, TouchPolicy.ALWAYS)
    threading.Timer(0.3, lambda: setattr(script, "stop", True)).start()
    with within(1.0), pytest.raises(Cancelled):
        key.sign(b"x")
    script.stop = False
    untouched.card.finger.give_up()
    untouched.card.finger.willing = True
    assert key.sign(b"x")
    token.close()


def test_ctrl_c_leaves_the_token_usable(untouched: VirtualPivToken) -> None:
    token = opened(untouched)
    key = make_key(token, TouchPolicy.ALWAYS)
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with within(1.0), pytest.raises(KeyboardInterrupt):
        key.sign(b"x")
    untouched.card.finger.give_up()
    untouched.card.finger.willing = True
    assert key.sign(b"x")
    token.close()


# --- odd answers ---


def test_a_hung_card_is_left_alone(piv_card: VirtualPivToken) -> None:
    token = opened(piv_card, deadline=1.0)
    key = make_key(token)
    key.sign(b"before")
    piv_card.card.faults.plan(Kind.HANG, ins=AUTHENTICATE)
    with within(SOON), pytest.raises(OperationTimeout):
        key.sign(b"hung")
    with within(0.1), pytest.raises(OperationTimeout):
        key.sign(b"not even tried")
    piv_card.card.faults.clear()
    token.close()
    again = opened(piv_card)
    assert make_key(again).sign(b"a new handle works")
    again.close()


def test_a_hung_neighbour_delays_nobody(insert_card: InsertCard) -> None:
    hung, well = insert_card("5.7"), insert_card("5.7")
    hung.card.faults.plan(Kind.HANG)
    with within(SOON):
        opened(well, deadline=30.0).close()
    hung.card.faults.clear()


def test_a_slow_card_is_waited_for(piv_card: VirtualPivToken) -> None:
    token = opened(piv_card, deadline=3.0)
    key = make_key(token)
    piv_card.card.faults.plan(Kind.DELAY, 0.7, ins=AUTHENTICATE)
    assert key.sign(b"slow")
    token.close()


@pytest.mark.parametrize("status", [0x6F00, 0x6581, 0x9ABC])
def test_unknown_status_words_are_kept(piv_card: VirtualPivToken, status: int) -> None:
    token = opened(piv_card)
    key = make_key(token)
    key.sign(b"before")
    piv_card.card.faults.plan(Kind.STATUS, status, ins=AUTHENTICATE)
    with pytest.raises(TokenFault) as fault:
        key.sign(b"x")
    assert fault.value.code is not None
    assert fault.value.code.value == status
    assert key.sign(b"after")
    token.close()


@pytest.mark.parametrize("length", [0, 1, 5, 20])
def test_torn_answers_are_refused(piv_card: VirtualPivToken, length: int) -> None:
    token = opened(piv_card)
    key = make_key(token)
    key.sign(b"before")
    piv_card.card.faults.plan(Kind.TRUNCATE, length, ins=AUTHENTICATE)
    with pytest.raises(TokenFault, match="cannot be read"):
        key.sign(b"x")
    token.close()


def test_a_full_card_keeps_what_it_has(piv_card: VirtualPivToken) -> None:
    token = opened(piv_card)
    token.store_data("old", b"data")
    piv_card.fill()
    with pytest.raises(TokenFull):
        token.store_data("new", b"x" * 500)
    assert token.load_data("old") == b"data"
    token.close()


def test_a_card_that_gives_private_data_away_is_found_out(insert_card: InsertCard) -> None:
    careless = replace(PERSONALITIES["5.7"], pin_protected=frozenset())
    virtual = insert_card(PivCard(careless))
    token = opened(virtual)
    with pytest.raises(NotSupported, match="without its PIN"):
        token.store_data("share", b"secret")
    assert all(b"secret" not in value for value in virtual.card.lasting.objects.values())
    token.close()


# --- many at once ---


def test_eight_threads_get_equal_results(piv_card: VirtualPivToken) -> None:
    token = opened(piv_card)
    key = make_key(token)
    expected = key.agree(key.public)
    with within(30), ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: key.agree(key.public), range(200)))
    assert set(results) == {expected}
    token.close()


WORKER = """
import sys
from meshhw.algorithms import Algorithm, PublicKey
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.registry import open_token
from meshhw.keystore.uri import KeyURI
uri = KeyURI.parse(sys.argv[1])
token = open_token(uri.token, OpenOptions(Scripted({PinKind.USER: "123456"})))
key = token.key(uri)
print({key.agree(key.public).hex() for _ in range(50)}.pop())
token.close()
"""


def test_four_processes_get_equal_results(piv_card: VirtualPivToken) -> None:
    token = opened(piv_card)
    key = make_key(token)
    expected = key.agree(key.public).hex()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(key.uri)],
            env=os.environ | piv_card.env,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    results = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert results == {expected}
    assert key.agree(key.public).hex() == expected
    token.close()


def test_a_forked_child_finds_the_card_by_itself(piv_card: VirtualPivToken) -> None:
    token = opened(piv_card)
    key = make_key(token)
    key.sign(b"before")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, b"ok" if key.sign(b"in the child") else b"no")
        except MeshError as error:
            os.write(write, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.close(write)
    assert os.read(read, 100) == b"ok"
    os.waitpid(child, 0)
    assert key.sign(b"in the parent")
    token.close()


def test_comings_and_goings_are_told(pcsc_lab: object, insert_card: InsertCard) -> None:
    watcher = driver("yubikey")
    assert isinstance(watcher, PivDriver)
    seen: list[tuple[str, bool]] = []

    def watch() -> None:
        seen.extend((str(event.uri), event.present) for event in watcher.events(4.0))

    thread = threading.Thread(target=watch)
    thread.start()
    time.sleep(0.5)
    virtual = insert_card("5.7")
    time.sleep(1.0)
    virtual.pull()
    thread.join()
    assert seen == [(str(virtual.uri), True), (str(virtual.uri), False)]
