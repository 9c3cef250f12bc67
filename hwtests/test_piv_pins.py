"""PIN, PUK and management key of PIV cards: tries are counted, and none is spent unasked."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwtests.piv_cards import (
    AUTHENTICATE,
    VERIFY,
    another_program,
    make_key,
    opened,
    shown,
)
from meshhw.errors import (
    NotSupported,
    PinFinalTry,
    PinIncorrect,
    PinLocked,
)
from meshhw.keystore.interaction import PinKind, PinRequest, Scripted
from meshhw.lab.fixtures_piv import InsertCard
from meshhw.lab.piv.faults import Kind
from meshhw.lab.piv.token import FACTORY, PUK, VirtualPivToken


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


def test_a_lock_that_shows_only_in_use_is_told_with_the_command_too(piv_card: VirtualPivToken) -> None:
    token = opened(piv_card)
    key = make_key(token)
    piv_card.card.faults.plan(Kind.STATUS, 0x6983, ins=AUTHENTICATE)
    with pytest.raises(PinLocked) as locked:
        key.sign(b"x")
    assert locked.value.hint == f"meshhw token unlock '{token.info().uri}'"
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


def test_what_is_still_the_factorys_is_shown_without_a_try(piv_card: VirtualPivToken, tmp_path: Path) -> None:
    piv_card.card.lasting.puk.left = 2
    before = shown(piv_card, tmp_path)
    assert (before["pin_tries_left"], before["puk_tries_left"]) == ("3", "2")
    assert before["management_key"] == "AES192"
    assert before["factory_values"] == "PIN, PUK, management key"
    token = opened(piv_card, Scripted(lambda request: "654321" if request.new else FACTORY[request.kind]))
    token.change_pin(PinKind.USER)
    token.protect_management_key()
    token.close()
    assert shown(piv_card, tmp_path)["factory_values"] == "PUK"


@pytest.mark.parametrize("personality", ["4.3", "plain", "hollow"])
def test_a_card_without_metadata_shows_what_it_can(
    insert_card: InsertCard, personality: str, tmp_path: Path
) -> None:
    virtual = insert_card(personality)
    facts = shown(virtual, tmp_path)
    assert facts["pin_tries_left"] == "3"
    assert "factory_values" not in facts
    assert (virtual.card.lasting.pin.left, virtual.card.lasting.puk.left) == (3, 3)


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
