"""What can befall an authenticator: another in its place, wrong PINs, no touch, other programs, nonsense."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from functools import partial

import pytest

pytest.importorskip("fido2", reason="python-fido2 is not installed")
pytest.importorskip("smartcard", reason="pyscard is not installed")

from meshhw_fido2.card import Card, readers
from meshhw_fido2.connection import GRACE

from hwtests import fido2_lab
from hwtests.fido2_lab import (
    PIN,
    PURPOSE,
    OpenToken,
    pin_commands,
    set_pin,
)
from hwtests.piv_cards import start_another, within
from meshhw.errors import (
    Cancelled,
    MeshError,
    NotSupported,
    OperationTimeout,
    PinFinalTry,
    PinIncorrect,
    PinLocked,
    TokenBusy,
    TokenFault,
    TokenMismatch,
    TokenRemoved,
    TouchTimeout,
    UsageError,
)
from meshhw.keystore.interaction import PinKind, PinRequest, Scripted
from meshhw.lab.ctap import status
from meshhw.lab.ctap.attestation import Maker
from meshhw.lab.ctap.card import MESSAGE, SELECT, CtapCard
from meshhw.lab.ctap.token import VirtualCtapToken
from meshhw.lab.fixtures_ctap import InsertCtapCard
from meshhw.lab.holding import CardHolder
from meshhw.lab.piv.faults import Kind

# pytest finds fixtures by the names in the module.
home, open_token, with_pin = fido2_lab.home, fido2_lab.open_token, fido2_lab.with_pin


def test_another_authenticator_is_known_before_a_pin_is_asked(
    insert_ctap_card: InsertCtapCard, open_token: OpenToken
) -> None:
    maker = Maker(bytes(16))
    virtual = insert_ctap_card(CtapCard(maker, bytes(16)))
    set_pin(virtual, open_token)
    blob = open_token(virtual).seal(b"secret", PURPOSE)
    virtual.swap(CtapCard(maker, bytes(16)))
    nobody = Scripted()
    with pytest.raises(TokenMismatch):
        open_token(virtual, nobody).unseal(blob, PURPOSE)
    assert nobody.asked == []
    assert pin_commands(virtual) == 0


def test_a_card_swapped_under_an_open_token_never_sees_the_pin(
    insert_ctap_card: InsertCtapCard, open_token: OpenToken
) -> None:
    maker = Maker(bytes(16))
    virtual = insert_ctap_card(CtapCard(maker, bytes(16)))
    set_pin(virtual, open_token)
    script = Scripted({PinKind.USER: PIN})
    token = open_token(virtual, script)
    blob = token.seal(b"secret", PURPOSE)
    virtual.swap(CtapCard(maker, bytes(16)))
    with pytest.raises(TokenMismatch):
        token.unseal(blob, PURPOSE)
    assert pin_commands(virtual) == 0
    assert len(script.asked) == 1


def test_removed_and_returned(with_pin: VirtualCtapToken, open_token: OpenToken) -> None:
    script = Scripted({PinKind.USER: PIN})
    token = open_token(with_pin, script)
    blob = token.seal(b"secret", PURPOSE)
    with_pin.pull()
    with pytest.raises(TokenRemoved):
        token.unseal(blob, PURPOSE)
    with_pin.put_back()
    assert token.unseal(blob, PURPOSE) == b"secret"
    assert len(script.asked) == 2  # the PIN was forgotten with the removal


@pytest.mark.parametrize("kind", [Kind.PULL_BEFORE, Kind.PULL_DURING])
def test_removed_in_the_middle(ctap_card: VirtualCtapToken, open_token: OpenToken, kind: Kind) -> None:
    token = open_token(ctap_card)
    blob = token.seal(b"secret", PURPOSE)
    ctap_card.card.faults.plan(kind, ins=MESSAGE)
    with pytest.raises(TokenRemoved):
        token.unseal(blob, PURPOSE)
    ctap_card.put_back()
    assert token.unseal(blob, PURPOSE) == b"secret"


def test_wrong_pins_and_the_last_try(with_pin: VirtualCtapToken, open_token: OpenToken) -> None:
    wrong = Scripted({PinKind.USER: "wrong"})
    token = open_token(with_pin, wrong)
    for left in (7, 6):
        with pytest.raises(PinIncorrect) as caught:
            token.enrol("x")
        assert caught.value.retries_left == left
    with pytest.raises(PinLocked) as blocked:
        token.enrol("x")
    assert "put it back" in blocked.value.hint
    asked = len(wrong.asked)
    with pytest.raises(PinLocked):
        token.enrol("x")
    assert len(wrong.asked) == asked  # not asked while no PIN is taken
    with_pin.card.authenticator.restart()
    with_pin.card.authenticator.context.lasting.pin_retries = 1
    with pytest.raises(PinFinalTry):
        open_token(with_pin).enrol("x")
    assert token.retries_left(PinKind.USER) == 1
    open_token(with_pin, Scripted({PinKind.USER: PIN}, allow_final_try=True)).enrol("x")
    assert token.retries_left(PinKind.USER) == 8


def test_a_locked_pin_says_what_helps(with_pin: VirtualCtapToken, open_token: OpenToken) -> None:
    with_pin.lock_pin()
    with pytest.raises(PinLocked) as caught:
        open_token(with_pin).enrol("x")
    assert "reset" in caught.value.unlock_hint
    with pytest.raises(NotSupported):
        open_token(with_pin).unlock()


def test_the_pin_changes(ctap_card: VirtualCtapToken, open_token: OpenToken) -> None:
    def answer(request: PinRequest) -> str:
        return "second" if request.new else "first-pin"

    assert open_token(ctap_card).retries_left(PinKind.USER) is None
    open_token(ctap_card, Scripted({PinKind.USER: "first-pin"})).change_pin(PinKind.USER)
    open_token(ctap_card, Scripted(answer)).change_pin(PinKind.USER)
    with pytest.raises(PinIncorrect) as caught:
        open_token(ctap_card, Scripted(answer)).change_pin(PinKind.USER)
    assert caught.value.retries_left == 7
    for refused in ("123", "x" * 64):
        script = Scripted(partial(lambda new, request: new if request.new else "second", refused))
        with pytest.raises(UsageError):
            open_token(ctap_card, script).change_pin(PinKind.USER)
    with pytest.raises(NotSupported):
        open_token(ctap_card).change_pin(PinKind.PUK)


def test_a_touch_that_never_comes(ctap_card: VirtualCtapToken, open_token: OpenToken) -> None:
    ctap_card.card.finger.willing, ctap_card.card.finger.patience = False, 0.3
    script = Scripted()
    with pytest.raises(TouchTimeout):
        open_token(ctap_card, script).seal(b"secret", PURPOSE)
    assert len(script.touches) == 1


def test_waiting_for_a_touch_can_be_cancelled(ctap_card: VirtualCtapToken, open_token: OpenToken) -> None:
    ctap_card.card.finger.willing = False
    script = Scripted()
    timer = threading.Timer(0.3, lambda: setattr(script, "stop", True))
    timer.start()
    with pytest.raises(Cancelled):
        open_token(ctap_card, script).seal(b"secret", PURPOSE)
    timer.join()


def test_a_hung_card_is_left_behind(ctap_card: VirtualCtapToken, open_token: OpenToken) -> None:
    token = open_token(ctap_card, deadline=2.0)
    assert token.capabilities().seals
    ctap_card.card.faults.plan(Kind.HANG, ins=MESSAGE)
    start = time.monotonic()
    with pytest.raises(OperationTimeout):
        token.retries_left(PinKind.USER)
    assert time.monotonic() - start < 10
    with pytest.raises(OperationTimeout):
        token.keys()


@pytest.mark.parametrize("opened_before", [True, False])
def test_the_late_answer_of_a_hung_card_lets_it_go(
    ctap_card: VirtualCtapToken, open_token: OpenToken, opened_before: bool
) -> None:
    token = open_token(ctap_card, deadline=2.0)
    if opened_before:
        assert token.capabilities().seals
    ctap_card.card.faults.plan(Kind.HANG, ins=MESSAGE)
    with pytest.raises(OperationTimeout):
        token.seal(b"secret", b"purpose")
    token.close()
    ctap_card.heal()
    with CardHolder(ctap_card.reader.name, ctap_card.env) as holder:
        assert holder.holds  # alone, which nobody else's connection allows


def test_a_card_that_opens_just_as_its_time_ends_is_kept_or_let_go(
    ctap_card: VirtualCtapToken, open_token: OpenToken
) -> None:
    deadline = 0.2
    for step in range(-1, 2):
        token = open_token(ctap_card, deadline=deadline)
        ctap_card.card.faults.plan(Kind.DELAY, deadline + GRACE - 0.01 + step / 200, ins=SELECT)
        with suppress(OperationTimeout):
            assert token.capabilities().seals
        token.close()
        ctap_card.heal()
    with CardHolder(ctap_card.reader.name, ctap_card.env) as holder:
        assert holder.holds


def test_answers_that_are_not_ctap(ctap_card: VirtualCtapToken, open_token: OpenToken) -> None:
    token = open_token(ctap_card)
    assert token.keys() == []
    for length in (0, 1, 2, 7):
        ctap_card.card.faults.plan(Kind.TRUNCATE, length, ins=MESSAGE)
        with pytest.raises(MeshError):
            token.retries_left(PinKind.USER)
    ctap_card.card.faults.plan(Kind.STATUS, 0x6F00, ins=MESSAGE)
    with pytest.raises(TokenFault):
        token.retries_left(PinKind.USER)
    assert token.retries_left(PinKind.USER) is None


def test_other_programs_have_their_turn(with_pin: VirtualCtapToken, open_token: OpenToken) -> None:
    """While the PIN is asked somebody else takes the card and selects another application."""

    def meddle(_: PinRequest) -> str:
        other = Card(with_pin.reader.name)
        other.connect()
        assert other.transmit([0, 0xA4, 4, 0, 5, 0xA0, 0, 0, 3, 8])[1] == 0x6A
        other.disconnect()
        return PIN

    token = open_token(with_pin, Scripted(meddle))
    blob = token.seal(b"secret", PURPOSE)
    meddle(PinRequest(PinKind.USER, with_pin.uri, ""))
    assert token.unseal(blob, PURPOSE) == b"secret"


def test_a_card_that_another_program_holds_is_busy(
    ctap_card: VirtualCtapToken, open_token: OpenToken
) -> None:
    token = open_token(ctap_card)
    other = Card(ctap_card.reader.name)
    other.connect()
    with pytest.raises(TokenBusy):
        token.keys()
    with pytest.raises(TokenBusy):
        open_token(ctap_card)
    other.disconnect()
    assert token.keys() == []


def test_a_token_is_closed_while_another_program_has_the_card(
    with_pin: VirtualCtapToken, open_token: OpenToken
) -> None:
    token = open_token(with_pin)
    blob = token.seal(b"secret", PURPOSE)
    other = start_another(with_pin, "transaction")
    try:
        with within(20):
            with pytest.raises(TokenBusy):
                token.unseal(blob, PURPOSE)
            token.close()
            assert with_pin.reader.name in readers()  # PC/SC answers this process still
    finally:
        other.kill()
        other.communicate()
    assert token.unseal(blob, PURPOSE) == b"secret"


def test_one_that_says_nothing_in_silence_is_asked_all_the_same(
    with_pin: VirtualCtapToken, open_token: OpenToken
) -> None:
    token = open_token(with_pin)
    blob = token.seal(b"secret", PURPOSE)
    with_pin.card.refusals = [status.PUAT_REQUIRED]
    assert token.unseal(blob, PURPOSE) == b"secret"


def test_every_status_is_a_public_error_that_keeps_it(
    ctap_card: VirtualCtapToken, open_token: OpenToken
) -> None:
    token = open_token(ctap_card)
    assert token.keys() == []
    for number in range(1, 256):
        ctap_card.card.refusals = [number]
        with pytest.raises(MeshError) as caught:
            token.retries_left(PinKind.USER)
        assert caught.value.code is not None
        assert (caught.value.code.layer, caught.value.code.value) == ("CTAP", number)
        assert caught.value.message
    assert token.retries_left(PinKind.USER) is None
