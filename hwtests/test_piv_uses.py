"""What a PIV card did with its private keys, as it counts itself, and what the use log has of it."""

from __future__ import annotations

from collections import Counter
from contextlib import closing, suppress

import pytest
from meshhw_piv.facts import GENERATOR_P256
from meshhw_piv.token import PivToken

from hwtests.piv_cards import LONG, held, opened
from hwtests.test_piv_imitations import FORMS, foreign_key
from meshhw.algorithms import Algorithm, Operation
from meshhw.errors import NotSupported
from meshhw.keystore.api import Agrees, Attests, KeySpec, OpenOptions, Signs
from meshhw.keystore.interaction import Scripted
from meshhw.keystore.uri import KeyURI
from meshhw.lab.fixtures_piv import InsertCard
from meshhw.lab.piv.card import PivCard
from meshhw.lab.piv.personality import PERSONALITIES
from meshhw.lab.piv.token import FACTORY, VirtualPivToken
from meshhw.pubkeys import from_cryptography

AUTHENTICATE, ATTEST, MANAGEMENT, CHAINED = 0x87, 0xF9, 0x9B, 0x10
USES = ("sign", "sign-digest", "agree", "unwrap", "decrypt", "attest")


class Witness(PivCard):
    """A card that counts what each slot's key did, and for which slots the attestation key signed."""

    def __init__(self, personality: str) -> None:
        super().__init__(personality)
        self.uses: Counter[str] = Counter()

    def respond(self, octets: bytes) -> bytes:
        answer = super().respond(octets)
        if not octets[0] & CHAINED and answer[-2] in (0x90, 0x61):
            if octets[1] == ATTEST:
                self.uses[f"{octets[2]:02x}"] += 1
            if octets[1] == AUTHENTICATE and octets[3] != MANAGEMENT and not self._everybodys(octets[3]):
                self.uses[f"{octets[3]:02x}"] += 1
        return answer

    def _everybodys(self, slot: int) -> bool:
        """Whether the slot holds the private key 1, which stands for none."""
        public = from_cryptography(self.lasting.keys[slot].private.public_key())
        return public.octets == GENERATOR_P256


class Log:
    """Counts the uses that a driver tells of, by slot."""

    def __init__(self) -> None:
        self.uses: Counter[str] = Counter()

    def record(self, key: KeyURI, operation: Operation, result: str) -> None:
        if operation.value in USES and result == "ok":
            self.uses[key.get("slot") or ""] += 1


def opened_with(virtual: VirtualPivToken, log: Log) -> PivToken:
    token = virtual.open(OpenOptions(Scripted(FACTORY), recorder=log))
    assert isinstance(token, PivToken)
    return token


@pytest.mark.parametrize("personality", PERSONALITIES)
def test_the_log_has_every_use_and_no_other(insert_card: InsertCard, personality: str) -> None:
    card, log = Witness(personality), Log()
    virtual = insert_card(card)
    foreign_key(virtual, 0x9A, FORMS["bare"])
    with closing(opened_with(virtual, log)) as token:
        token.capabilities()
        deleted = token.generate(KeySpec(Algorithm.P256))
        token.delete(deleted.uri)
        signer = token.generate(KeySpec(Algorithm.P256, uses=frozenset({Operation.SIGN})))
        agreeing = token.generate(KeySpec(Algorithm.P256, uses=frozenset({Operation.AGREE})))
        assert isinstance(signer, Signs)
        assert isinstance(agreeing, Agrees)
        signer.sign(LONG)
        agreeing.agree(agreeing.public)
        assert token.unseal(token.seal(b"secret", b"purpose"), b"purpose") == b"secret"
        for one in held(token):
            token.protection(one.uri)
            if isinstance(token, Attests):
                with suppress(NotSupported):
                    token.attest(one.uri)
        token.capabilities()
    assert card.uses
    assert log.uses == card.uses


def test_looking_what_a_card_can_do_uses_no_key(insert_card: InsertCard) -> None:
    card = Witness("5.7")
    virtual = insert_card(card)
    first = opened(virtual)
    first.generate(KeySpec(Algorithm.P256, place="9a"))  # which the card would attest
    with closing(first) as token:
        assert token.capabilities().can(Algorithm.P256, Operation.ATTEST)
    assert not card.uses


def test_the_policies_of_an_older_cards_key_are_asked_for_once(insert_card: InsertCard) -> None:
    """Its key tells them by an attestation alone."""
    card, log = Witness("4.3"), Log()
    virtual = insert_card(card)
    foreign_key(virtual, 0x9A, FORMS["bare"])
    with closing(opened_with(virtual, log)) as token:
        for _ in range(3):
            assert [key.uri.get("slot") for key in held(token)] == ["9a"]
    assert card.uses == log.uses == {"9a": 1}


def test_a_use_that_shows_whether_a_slot_is_free_is_in_the_log(insert_card: InsertCard) -> None:
    """The card asks for the PIN before it looks, and no certificate tells of the key in the slot."""
    card, log = Witness("hollow"), Log()
    virtual = insert_card(card)
    foreign_key(virtual, 0x82, lambda der: b"")
    with closing(opened_with(virtual, log)) as token:
        assert token.generate(KeySpec(Algorithm.P256)).uri.get("slot") == "83"
    assert card.uses == log.uses
    assert log.uses["82"] == 2
