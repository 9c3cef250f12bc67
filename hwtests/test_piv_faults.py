"""What can befall a PIV card, and what the driver promises then. Faults are made in card and reader."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace

import pytest
from meshhw_piv.discovery import survey
from meshhw_piv.instructions import READ_CONFIG
from meshhw_piv.keys import NistKey

from hwtests.piv_cards import (
    AUTHENTICATE,
    SOON,
    VERIFY,
    another_program,
    make_key,
    opened,
    wait_until_empty,
    within,
)
from meshhw.errors import (
    Cancelled,
    DriverUnavailable,
    NotSupported,
    OperationTimeout,
    TokenFault,
    TokenFull,
    TokenMismatch,
    TokenRemoved,
    TouchTimeout,
)
from meshhw.keystore.api import TouchPolicy
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.registry import driver
from meshhw.keystore.uri import TokenURI
from meshhw.lab.fixtures_piv import InsertCard
from meshhw.lab.holding import CardHolder
from meshhw.lab.piv.card import SELECT, PivCard
from meshhw.lab.piv.context import Finger
from meshhw.lab.piv.faults import Kind
from meshhw.lab.piv.personality import PERSONALITIES
from meshhw.lab.piv.token import FACTORY, VirtualPivToken
from tests.patience import until


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


def test_no_connection_with_a_card_that_was_away_is_left(piv_card: VirtualPivToken) -> None:
    token = opened(piv_card)
    key = make_key(token)
    piv_card.pull()
    piv_card.put_back()
    key.sign(b"back")
    token.close()
    with CardHolder(piv_card.reader.name, piv_card.env) as holder:
        assert holder.holds  # alone, which nobody else's connection allows


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
    wait_until_empty(piv_card.reader.name)
    assert key.sign(b"after the card was put back")
    token.close()


def test_returned_into_another_reader(insert_card: InsertCard) -> None:
    here = insert_card("5.7", slot=0)
    token = opened(here)
    key = make_key(token)
    here.pull()
    wait_until_empty(here.reader.name)  # else the operation may be on its way when the card is missed
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


def test_the_reader_is_taken_away_and_brought_back(piv_card: VirtualPivToken) -> None:
    token = opened(piv_card)
    key = make_key(token)
    key.sign(b"before")
    piv_card.pull()
    piv_card.daemon.restart(without=piv_card.reader.name.removesuffix(" 00 00").removesuffix(" 00 01"))
    with within(SOON), pytest.raises(TokenRemoved):
        key.sign(b"no reader")
    assert str(token.info().uri) not in {str(info.uri) for info in driver("yubikey").tokens()}
    piv_card.daemon.restart()
    piv_card.put_back()
    assert key.sign(b"again")
    token.close()


@pytest.fixture
def untouched(insert_card: InsertCard) -> Iterator[VirtualPivToken]:
    """A card that nobody touches; it would give up after 30 s."""
    virtual = insert_card(PivCard("5.7", finger=Finger(patience=30.0)))
    virtual.card.finger.willing = False
    yield virtual
    virtual.card.finger.give_up()


def test_a_touch_that_does_not_come_within_the_deadline(untouched: VirtualPivToken) -> None:
    script = Scripted(FACTORY)
    token = opened(untouched, script, deadline=2.0)
    key = make_key(token, TouchPolicy.ALWAYS)
    with within(8), pytest.raises(TouchTimeout):
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
    with within(5), pytest.raises(Cancelled):
        key.sign(b"x")
    script.stop = False
    untouched.card.finger.give_up()
    untouched.card.finger.willing = True
    assert key.sign(b"x")
    token.close()


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_leaves_the_token_usable(untouched: VirtualPivToken) -> None:
    token = opened(untouched)
    key = make_key(token, TouchPolicy.ALWAYS)
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with within(5), pytest.raises(KeyboardInterrupt):
        key.sign(b"x")
    untouched.card.finger.give_up()
    untouched.card.finger.willing = True
    assert key.sign(b"x")
    token.close()


def test_a_hung_card_is_left_alone(piv_card: VirtualPivToken) -> None:
    token = opened(piv_card, deadline=2.0)
    key = make_key(token)
    key.sign(b"before")
    piv_card.card.faults.plan(Kind.HANG, ins=AUTHENTICATE)
    with within(8), pytest.raises(OperationTimeout):
        key.sign(b"hung")
    with within(1.5), pytest.raises(OperationTimeout):
        key.sign(b"not even tried")
    token.close()
    piv_card.card.faults.clear()
    with CardHolder(piv_card.reader.name, piv_card.env) as holder:
        assert holder.holds  # the late answer has ended the connection
    again = opened(piv_card)
    assert make_key(again).sign(b"a new handle works")
    again.close()


def test_a_card_that_answers_just_as_its_time_ends_is_kept_or_let_go(piv_card: VirtualPivToken) -> None:
    seconds = 0.3
    for step in range(-6, 7):
        piv_card.card.faults.plan(Kind.DELAY, seconds - 0.01 + step / 500, ins=READ_CONFIG)
        with suppress(OperationTimeout):  # of the service, on a busy machine
            found = survey(seconds, piv_card.uri)
            assert len(found.fitting) + len(found.silent) == 1
            found.close()
        piv_card.card.faults.clear()
    with CardHolder(piv_card.reader.name, piv_card.env) as holder:
        assert holder.holds  # alone, which nobody else's connection allows


def test_an_operation_that_ends_just_as_its_time_does_keeps_no_connection(piv_card: VirtualPivToken) -> None:
    limit = 0.5
    first = opened(piv_card)
    uri = make_key(first).uri
    first.close()
    for step in range(-4, 5):
        with suppress(OperationTimeout), closing(opened(piv_card, deadline=limit)) as token:
            key = token.key(uri)
            assert isinstance(key, NistKey)
            piv_card.card.faults.plan(Kind.DELAY, limit - 0.005 + step / 500, ins=AUTHENTICATE)
            key.sign(b"just in time, or not")
        piv_card.card.faults.clear()
    with CardHolder(piv_card.reader.name, piv_card.env) as holder:
        assert holder.holds


# Among all tests a card was still held 20 s later once, by whom is not known; alone never, in 170 runs.
@pytest.mark.fuzz
@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("_", range(20))
def test_ctrl_c_while_cards_are_looked_for_keeps_none_of_them(_: int, insert_card: InsertCard) -> None:
    """Neither the one that has answered, nor the one that does later."""
    well, hung = insert_card("5.7"), insert_card("5.7")
    hung.card.faults.plan(Kind.HANG, ins=READ_CONFIG)

    def interrupt() -> None:
        until(lambda: well.card.count(SELECT) > 1 and hung.card.count(READ_CONFIG))
        time.sleep(0.3)  # until the answer was taken, most likely; it must not matter
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        survey(60.0, TokenURI.make("yubikey"))
    hung.card.faults.clear()
    for virtual in (well, hung):
        with CardHolder(virtual.reader.name, virtual.env) as holder:
            assert holder.holds


def test_a_batch_that_began_too_late_lets_the_card_go(piv_card: VirtualPivToken) -> None:
    """Nobody is in it who would end its transaction."""
    token = opened(piv_card, deadline=2.0)
    make_key(token)
    another_program(piv_card, "reset")
    piv_card.card.faults.plan(Kind.HANG, ins=SELECT)
    with pytest.raises(OperationTimeout), token.hold():
        pass
    token.close()
    piv_card.card.faults.clear()
    with CardHolder(piv_card.reader.name, piv_card.env) as holder:
        assert holder.holds


def test_a_hung_neighbour_delays_nobody(insert_card: InsertCard) -> None:
    hung, well = insert_card("5.7"), insert_card("5.7")
    hung.card.faults.plan(Kind.HANG)
    with within(SOON):
        opened(well, deadline=30.0).close()
    hung.card.faults.clear()


def test_a_slow_card_is_waited_for(piv_card: VirtualPivToken) -> None:
    token = opened(piv_card, deadline=10.0)
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
