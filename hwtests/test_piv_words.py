"""Whatever a card answers to whatever it is asked, only the public errors come of it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import pytest
from meshhw_piv.codes import STATUS_WORDS

from hwtests.piv_cards import AUTHENTICATE, make_key, opened
from meshhw.algorithms import Algorithm
from meshhw.errors import MeshError, TokenError
from meshhw.keystore.api import Key, KeySpec, Signs, Token
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.lab.fixtures_piv import InsertCard
from meshhw.lab.piv.faults import Kind
from meshhw.lab.piv.token import FACTORY, VirtualPivToken

INSTRUCTIONS = [0xA4, 0x1D, 0x20, 0x24, 0x47, 0x87, 0xCB, 0xDB, 0xF6, 0xF7, 0xF8, 0xF9, 0xFE]
ANSWERS = [0x6300, 0x6700, 0x6982, 0x6985, 0x6A80, 0x6A82, 0x6A88, 0x6C00, 0x6D00, 0x6E00, 0x6F00, 0x9000]
FOR_EVER = 1 << 30


@pytest.mark.parametrize("status", STATUS_WORDS)
def test_each_status_word_is_folded_and_kept(piv_card: VirtualPivToken, status: int) -> None:
    token = opened(piv_card)
    key = make_key(token)
    key.sign(b"before")
    piv_card.card.faults.plan(Kind.STATUS, status, ins=AUTHENTICATE, times=FOR_EVER)
    with pytest.raises(TokenError) as fault:
        key.sign(b"x")
    assert type(fault.value) is STATUS_WORDS[status][1]
    assert fault.value.code is not None
    assert fault.value.code.value == status
    piv_card.heal()
    assert key.sign(b"after")
    token.close()


@pytest.mark.parametrize("personality", ["5.7", "plain"])
def test_nothing_else_comes_of_any_answer(insert_card: InsertCard, personality: str) -> None:
    virtual = insert_card(personality)
    first = opened(virtual)
    first.generate(KeySpec(Algorithm.P256, place="9d"))
    first.close()
    for ins in INSTRUCTIONS:
        for kind, value in [(Kind.STATUS, word) for word in ANSWERS] + [(Kind.TRUNCATE, 3)]:
            virtual.card.faults.plan(kind, value, ins=ins, times=FOR_EVER)
            with contextlib.suppress(MeshError):
                everything(virtual)
            virtual.heal()
            virtual.card.lasting.pin.value = b"123456\xff\xff"
    again = opened(virtual)
    key = again.generate(KeySpec(Algorithm.P256, place="9d"))
    assert isinstance(key, Signs)
    assert key.sign(b"after all that")
    again.close()


def held(token: Token) -> Sequence[Key]:
    """Its keys, as any token tells them."""
    return token.keys()


def everything(virtual: VirtualPivToken) -> None:
    """Each of the driver's ways to a card, those after a refusal too."""
    token = opened(virtual, Scripted(FACTORY))
    works = (
        token.capabilities,
        token.keys,
        lambda: token.retries_left(PinKind.USER),
        token.details,
        lambda: token.generate(KeySpec(Algorithm.P256, place="82")),
        lambda: [key.sign(b"x") for key in held(token) if isinstance(key, Signs)],
        lambda: token.unseal(token.seal(b"secret", b"test"), b"test"),
        lambda: token.store_data("name", b"data"),
        lambda: token.change_pin(PinKind.USER),
        lambda: [token.delete(key.uri) for key in held(token) if key.uri.get("slot") == "82"],
    )
    try:
        for work in works:
            with contextlib.suppress(MeshError):
                work()
    finally:
        token.close()
