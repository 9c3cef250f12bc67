"""A key that is made, and whose certificate or whose answer does not come through: it is taken back, or found
again, and never lost."""

from __future__ import annotations

from contextlib import closing

import pytest
from meshhw_piv.token import PivToken

from hwtests.piv_cards import LONG, check_signs, held, opened, signing, wait_until_empty
from meshhw.algorithms import Algorithm, Operation, PrivateKey
from meshhw.errors import KeyNotFound, TokenFault, TokenFull, TokenRemoved
from meshhw.keystore.api import Key, KeySpec
from meshhw.lab.fixtures_piv import InsertCard
from meshhw.lab.piv.card import PivCard
from meshhw.lab.piv.faults import Kind
from meshhw.lab.piv.token import VirtualPivToken
from meshhw.managers.intentions import Intentions
from meshhw.privkeys import public_key_of
from meshhw.pubkeys import from_cryptography

GENERATE, IMPORT, PUT_DATA = 0x47, 0xFE, 0xDB
FOR_EVER = 1 << 30
PRIVATE = PrivateKey(Algorithm.P256, bytes(31) + b"\x07")
SIGNING = KeySpec(Algorithm.P256, uses=frozenset({Operation.SIGN}))
CERTIFYING = ["4.3", "plain", "hollow", "bound"]
"""On which a certificate alone tells a key that was generated: one of each kind."""
MAKINGS = [(name, "generate") for name in CERTIFYING] + [
    (name, "import") for name in ("4.3", "imitator", "applet")
]
"""And one that was imported, where they import."""
FIRMWARES = ["4.3", "5.4", "5.7", "plain", "applet"]


class Unlucky(PivCard):
    """A card that something befalls at the first data to be written after a key was made in it."""

    plan: tuple[Kind, int, int] | None = None
    """What, its value, and how often."""

    def respond(self, octets: bytes) -> bytes:
        answer = super().respond(octets)
        if octets[1] in (GENERATE, IMPORT) and answer[-2] in (0x90, 0x61) and self.plan is not None:
            kind, value, times = self.plan
            self.plan = None
            self.faults.plan(kind, value, ins=PUT_DATA, times=times)
        return answer


def unlucky(
    insert_card: InsertCard, personality: str, kind: Kind, value: int = 0, times: int = 1
) -> VirtualPivToken:
    card = Unlucky(personality)
    card.plan = (kind, value, times)
    return insert_card(card)


def make(token: PivToken, way: str) -> Key:
    return token.generate(SIGNING) if way == "generate" else token.import_key(PRIVATE, SIGNING)


def holds_the_imported_key(virtual: VirtualPivToken) -> bool:
    keys = virtual.card.lasting.keys.values()
    return public_key_of(PRIVATE) in [from_cryptography(key.private.public_key()) for key in keys]


def check_serves_again(token: PivToken, way: str) -> None:
    """The slot is free, and a key made in it works."""
    key = make(token, way)
    assert key.uri.get("slot") == "9a"
    check_signs(signing(key), LONG)
    assert [one.uri for one in held(token)] == [key.uri]
    assert token.unfinished() == []


@pytest.mark.parametrize(("personality", "way"), MAKINGS)
def test_a_key_whose_certificate_is_refused_is_taken_back(
    insert_card: InsertCard, personality: str, way: str
) -> None:
    virtual = unlucky(insert_card, personality, Kind.STATUS, 0x6A84)
    with closing(opened(virtual)) as token:
        with pytest.raises(TokenFull) as fault:
            make(token, way)
        assert "unfinished" not in (fault.value.hint or "")
        assert held(token) == []
        assert token.unfinished() == []
        assert not holds_the_imported_key(virtual)
        check_serves_again(token, way)


@pytest.mark.parametrize(("personality", "way"), [*MAKINGS[:2], *MAKINGS[-3:]])
def test_where_the_card_writes_nothing_any_more_the_error_names_the_slot(
    insert_card: InsertCard, personality: str, way: str
) -> None:
    virtual = unlucky(insert_card, personality, Kind.STATUS, 0x6F00, FOR_EVER)
    with closing(opened(virtual)) as token:
        with pytest.raises(TokenFault) as fault:
            make(token, way)
        assert fault.value.hint is not None
        assert f"slot 9a may hold an unfinished key: `meshhw key tidy '{virtual.uri}'`" in fault.value.hint
        assert not holds_the_imported_key(virtual)
        virtual.heal()
        assert [uri.get("slot") for uri in token.unfinished()] == ["9a"]
        check_serves_again(token, way)


@pytest.mark.parametrize(
    ("personality", "way", "mend"),
    [
        ("4.3", "generate", "tidy"),
        ("plain", "generate", "tidy"),
        ("applet", "import", "tidy"),
        ("hollow", "generate", "make again"),
    ],
)
def test_what_a_pulled_card_keeps_is_found_and_destroyed(
    insert_card: InsertCard,
    tmp_path_factory: pytest.TempPathFactory,
    caplog: pytest.LogCaptureFixture,
    personality: str,
    way: str,
    mend: str,
) -> None:
    virtual = unlucky(insert_card, personality, Kind.PULL_BEFORE)
    with closing(opened(virtual)) as token:
        with pytest.raises(TokenRemoved) as fault:
            make(token, way)
        assert fault.value.hint is not None
        assert f"slot 9a may hold an unfinished key: `meshhw key tidy '{virtual.uri}'`" in fault.value.hint
        wait_until_empty(virtual.reader.name)
    virtual.put_back()
    with closing(opened(virtual)) as token:
        assert held(token) == []
        assert "slot 9a" in caplog.text
        assert f"holds an unfinished key: `meshhw key tidy '{virtual.uri}'` destroys it" in caplog.text
        if mend == "tidy":
            tidied = Intentions(tmp_path_factory.mktemp("home")).tidy(token, lambda uri: "slot=9a" in uri)
            assert (tidied.destroyed, tidied.suspects) == (1, ())
            assert token.unfinished() == []
            with pytest.raises(KeyNotFound):
                token.delete(token.info().uri.key(slot="9a"))
            assert not holds_the_imported_key(virtual)
        check_serves_again(token, way)


def test_a_key_whose_certificate_came_through_is_there(insert_card: InsertCard) -> None:
    """Of a card that takes the whole of it in one command."""
    virtual = unlucky(insert_card, "4.3", Kind.PULL_DURING)
    with closing(opened(virtual)) as token:
        with pytest.raises(TokenRemoved):
            make(token, "generate")
        wait_until_empty(virtual.reader.name)
    virtual.put_back()
    with closing(opened(virtual)) as token:
        (key,) = held(token)
        check_signs(signing(key), LONG)
        assert token.unfinished() == []


@pytest.mark.parametrize("personality", FIRMWARES)
def test_a_key_that_is_told_in_a_torn_answer_is_taken_back(insert_card: InsertCard, personality: str) -> None:
    virtual = insert_card(personality)
    virtual.card.faults.plan(Kind.TRUNCATE, 3, ins=GENERATE, times=FOR_EVER)
    with closing(opened(virtual)) as token:
        with pytest.raises(TokenFault, match="cannot be read"):
            token.generate(SIGNING)
        virtual.heal()
        check_serves_again(token, "generate")


@pytest.mark.parametrize("personality", ["4.3", "5.7"])
def test_a_key_of_which_nothing_was_told_is_found(insert_card: InsertCard, personality: str) -> None:
    """Where the card tells its keys itself, in the list; else by the mark in its place."""
    virtual = insert_card(personality)
    virtual.card.faults.plan(Kind.PULL_DURING, ins=GENERATE)
    with closing(opened(virtual)) as token:
        with pytest.raises(TokenRemoved) as fault:
            token.generate(SIGNING)
        assert "slot 9a may hold an unfinished key" in (fault.value.hint or "")
        wait_until_empty(virtual.reader.name)
    virtual.put_back()
    with closing(opened(virtual)) as token:
        found = [key.uri for key in held(token)] or token.unfinished()
        assert [uri.get("slot") for uri in found] == ["9a"]
        token.delete(found[0])
        check_serves_again(token, "generate")


@pytest.mark.parametrize("personality", CERTIFYING)
def test_a_full_card_is_told_before_a_key_is_made(insert_card: InsertCard, personality: str) -> None:
    virtual = insert_card(personality)
    virtual.fill()
    with closing(opened(virtual)) as token, pytest.raises(TokenFull):
        token.generate(SIGNING)
    assert virtual.card.count(GENERATE) == 0


@pytest.mark.parametrize("personality", CERTIFYING)
def test_a_refusal_leaves_the_key_that_was_to_be_overwritten(
    insert_card: InsertCard, personality: str
) -> None:
    virtual = insert_card(personality)
    with closing(opened(virtual)) as token:
        former = token.generate(SIGNING)
        virtual.card.faults.plan(Kind.STATUS, 0x6F00, ins=GENERATE, times=FOR_EVER)
        with pytest.raises(TokenFault):
            token.generate(KeySpec(Algorithm.P256, place="9a"))
        (key,) = held(token)
        assert key.public == former.public
        check_signs(signing(key), LONG)
