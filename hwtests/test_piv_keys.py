"""The PIV driver over virtual cards of every personality: keys, data, seals, attestation, APDUs counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, x25519
from meshhw_piv.instructions import VERIFY
from meshhw_piv.token import PivToken

from meshhw.algorithms import Algorithm, Operation, PrivateKey
from meshhw.errors import (
    Ambiguous,
    Cancelled,
    DecryptionFailed,
    KeyNotFound,
    NotSupported,
    SignatureInvalid,
    TokenFull,
    TokenMismatch,
    TokenNotFound,
)
from meshhw.keystore import attestation
from meshhw.keystore.api import (
    Agrees,
    Attests,
    Decrypts,
    KeySpec,
    OpenOptions,
    PinPolicy,
    Signs,
    Token,
    TouchPolicy,
)
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.registry import driver, open_token
from meshhw.keystore.uri import TokenURI
from meshhw.lab.fixtures_piv import InsertCard
from meshhw.lab.piv.attestation import Authority
from meshhw.lab.piv.card import PivCard
from meshhw.lab.piv.personality import PERSONALITIES
from meshhw.lab.piv.token import PIN, VirtualPivToken
from meshhw.pubkeys import from_cryptography

ALL = ["4.3", "5.4", "5.7", "plain", "imitator"]
GET_RESPONSE = 0xC0


def opened(token: VirtualPivToken, script: Scripted | None = None) -> PivToken:
    token_ = token.open(OpenOptions(script) if script else None)
    assert isinstance(token_, PivToken)
    return token_


def agreeing(token: PivToken) -> Agrees:
    key = token.generate(KeySpec(Algorithm.P256, uses=frozenset({Operation.AGREE})))
    assert isinstance(key, Agrees)
    return key


def test_a_card_is_listed_by_what_it_answers(insert_card: InsertCard) -> None:
    yubikey, plain = insert_card("5.7"), insert_card("plain")
    listed = {info.reader: info for info in driver("yubikey").tokens()}
    told = listed[yubikey.reader.name]
    assert (told.serial, told.firmware, told.vendor) == (str(yubikey.card.serial), "5.7.1", "Yubico")
    assert listed[plain.reader.name].uri == plain.uri
    assert listed[plain.reader.name].firmware == ""


def test_cards_are_told_apart_by_serial(insert_card: InsertCard) -> None:
    one, two = insert_card("5.7"), insert_card("5.4")
    with pytest.raises(Ambiguous) as several:
        open_token(TokenURI.parse("yubikey:"))
    assert {str(one.uri), str(two.uri)} == set(several.value.candidates)
    token = open_token(two.uri)
    assert token.info().serial == str(two.card.serial)
    token.close()
    with pytest.raises(TokenNotFound):
        open_token(TokenURI.make("yubikey", serial="1"))


class BehindShortReader(PivCard):
    """A card whose answer to an extended command does not arrive whole, as with readers of short ones."""

    lost = 0

    def respond(self, octets: bytes) -> bytes:
        if len(octets) > 5 and not octets[4]:
            self.lost += 1
            return b"\x6f"
        return super().respond(octets)


def apdus(virtual: VirtualPivToken, work: Callable[[], object]) -> int:
    """How many `work` takes."""
    before = virtual.card.count()
    work()
    return virtual.card.count() - before


def test_warm_operations_take_one_apdu(piv_card: VirtualPivToken) -> None:
    token = opened(piv_card)
    key = agreeing(token)
    assert isinstance(key, Signs)
    key.agree(key.public)
    for work in (lambda: key.agree(key.public), lambda: key.sign(b"warm")):
        before = piv_card.card.count()
        work()
        assert piv_card.card.count() - before == 1
    token.close()


@pytest.mark.parametrize("algorithm", [Algorithm.P256, Algorithm.P384, Algorithm.ED25519, Algorithm.RSA2048])
def test_warm_operations_over_the_air_take_one_apdu(insert_card: InsertCard, algorithm: Algorithm) -> None:
    virtual = insert_card(PivCard("5.7", contactless=True))
    token = opened(virtual)
    key = token.generate(KeySpec(algorithm))
    assert isinstance(key, Signs)
    key.sign(b"warm up")
    assert apdus(virtual, lambda: key.sign(b"warm")) == 1
    if isinstance(key, Agrees):
        assert apdus(virtual, lambda: key.agree(key.public)) == 1
    token.close()


@pytest.mark.parametrize("personality", ["plain", "odd", "applet", "bound"])
def test_rsa_takes_one_apdu_on_a_card_that_is_found_to_take_long_ones(
    insert_card: InsertCard, personality: str
) -> None:
    """What the answer to reset does not tell is asked once, before the PIN is sent."""
    virtual = insert_card(personality)
    token = opened(virtual)
    key = token.generate(KeySpec(Algorithm.RSA2048))
    assert isinstance(key, Signs)
    key.sign(b"warm up")
    assert apdus(virtual, lambda: key.sign(b"warm")) == 1
    token.close()


def test_an_answer_that_chains_takes_a_second_apdu(insert_card: InsertCard) -> None:
    plain = PERSONALITIES["plain"]
    virtual = insert_card(PivCard(replace(plain, ways=replace(plain.ways, answers_in_parts=True))))
    token = opened(virtual)
    key = token.generate(KeySpec(Algorithm.RSA2048))
    assert isinstance(key, Signs)
    key.sign(b"warm up")
    assert apdus(virtual, lambda: key.sign(b"warm")) == 2
    token.close()


@pytest.mark.parametrize("personality", ["5.7", "plain"])
def test_a_card_that_refuses_long_commands_is_given_none_again(
    insert_card: InsertCard, personality: str
) -> None:
    """One promises them in its answer to reset, one says nothing; a block and its answer need three then,
    for neither fits into one."""
    usual = PERSONALITIES[personality]
    card = PivCard(replace(usual, ways=replace(usual.ways, short_alone=True)), contactless=True)
    virtual = insert_card(card)
    token = opened(virtual)
    key = token.generate(KeySpec(Algorithm.RSA2048))
    assert isinstance(key, Signs)
    key.sign(b"warm up")
    assert card.refused_long == 1
    assert apdus(virtual, lambda: key.sign(b"warm")) == 3
    assert card.refused_long == 1
    token.close()


def test_a_reader_that_passes_no_long_command_on_is_given_none_again(insert_card: InsertCard) -> None:
    card = BehindShortReader("plain")
    virtual = insert_card(card)
    token = opened(virtual)
    key = token.generate(KeySpec(Algorithm.RSA2048))
    assert isinstance(key, Signs)
    key.sign(b"first")
    assert apdus(virtual, lambda: key.sign(b"second")) == 3
    assert card.lost == 1
    token.close()


@pytest.mark.parametrize("personality", PERSONALITIES)
def test_a_cold_signature_takes_few_apdus(insert_card: InsertCard, personality: str) -> None:
    """At most 6 beside the two of VERIFY, that asks how many tries the PIN has left, and that sends it.

    Parts of an answer that come later, and answers asked for again with their length, are not counted.
    """
    virtual = insert_card(personality)
    first = opened(virtual)
    uri = first.generate(KeySpec(Algorithm.P256, uses=frozenset({Operation.SIGN}))).uri
    first.close()
    virtual.card.log.clear()
    virtual.card.asked_again = 0
    token = opened(virtual)
    key = token.key(uri)
    assert isinstance(key, Signs)
    key.sign(b"cold")
    others = virtual.card.count() - virtual.card.count(VERIFY) - virtual.card.count(GET_RESPONSE)
    assert others - virtual.card.asked_again <= 6
    assert virtual.card.count(VERIFY) <= 2
    token.close()


def test_one_pin_serves_a_batch_and_always_means_always(piv_card: VirtualPivToken) -> None:
    script = Scripted({PinKind.USER: PIN, PinKind.CONTEXT: PIN})
    token = opened(piv_card, script)
    key = token.generate(KeySpec(Algorithm.P256, pin_policy=PinPolicy.ALWAYS))
    assert isinstance(key, Signs)
    key.sign(b"1")
    key.sign(b"2")
    assert [request.kind for request in script.asked] == [PinKind.CONTEXT, PinKind.CONTEXT]
    with token.hold():
        key.sign(b"3")
        key.sign(b"4")
    assert len(script.asked) == 2
    token.close()


def test_a_touch_is_announced_before_the_card_waits(piv_card: VirtualPivToken) -> None:
    script = Scripted({PinKind.USER: PIN})
    token = opened(piv_card, script)
    key = token.generate(KeySpec(Algorithm.P256, touch_policy=TouchPolicy.ALWAYS))
    assert isinstance(key, Signs)
    assert key.needs().touch
    key.sign(b"touched")
    assert (len(script.touches), piv_card.card.finger.waits) == (1, 1)
    token.close()


def test_an_attestation_names_the_card_and_the_policies(piv_card: VirtualPivToken) -> None:
    token = piv_card.open()
    assert isinstance(token, PivToken)
    assert isinstance(token, Attests)
    made = token.generate(KeySpec(Algorithm.X25519, touch_policy=TouchPolicy.CACHED))
    statement = token.attest(made.uri)
    facts = attestation.verify(statement, [piv_card.card.authority.root])
    assert facts.public == made.public
    assert (facts.serial, facts.firmware) == (str(piv_card.card.serial), "5.7.1")
    assert (facts.generated_inside, facts.touch_policy, facts.pin_policy) == (True, "cached", "once")
    with pytest.raises(SignatureInvalid, match="trusted root"):
        attestation.verify(statement, [Authority().root])
    imported = token.import_key(PrivateKey(Algorithm.P256, b"\x07" * 32), KeySpec(Algorithm.P256))
    with pytest.raises(NotSupported, match="does not attest"):
        token.attest(imported.uri)
    token.close()


def test_a_plain_card_has_no_method_to_attest(insert_card: InsertCard) -> None:
    token = opened(insert_card("plain"))
    assert not isinstance(token, Attests)
    with pytest.raises(NotSupported, match="import"):
        token.import_key(PrivateKey(Algorithm.P256, b"\x07" * 32), KeySpec(Algorithm.P256))
    token.close()


@pytest.mark.parametrize("personality", ["5.7", "plain"])
def test_rsa_keys_sign_and_decrypt(insert_card: InsertCard, personality: str) -> None:
    token = opened(insert_card(personality))
    key = token.generate(KeySpec(Algorithm.RSA2048))
    assert isinstance(key, Signs)
    assert isinstance(key, Decrypts)
    public = serialization.load_der_public_key(key.public.octets)
    assert isinstance(public, rsa.RSAPublicKey)
    scheme = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    public.verify(key.sign(b"message"), b"message", scheme, hashes.SHA256())
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    assert key.decrypt(public.encrypt(b"secret", oaep), "oaep-sha256") == b"secret"
    with pytest.raises(DecryptionFailed):
        key.decrypt(b"\x01" * 256, "oaep-sha256")
    token.close()


def test_a_given_slot_is_overwritten_only_with_consent(piv_card: VirtualPivToken) -> None:
    token = opened(piv_card, Scripted({PinKind.USER: PIN}, confirms=False))
    first = token.generate(KeySpec(Algorithm.P256, place="9a"))
    with pytest.raises(Cancelled):
        token.generate(KeySpec(Algorithm.P256, place="9a"))
    assert token.key(first.uri).public == first.public
    token.close()


def test_every_slot_in_use_is_told(piv_card: VirtualPivToken) -> None:
    token = opened(piv_card)
    with token.hold():
        for _ in range(23):  # 9e, whose key anyone may use, is never chosen unasked
            token.generate(KeySpec(Algorithm.X25519))
        with pytest.raises(TokenFull):
            token.generate(KeySpec(Algorithm.X25519))
    assert len(token.keys()) == 23
    token.close()


@pytest.mark.parametrize("personality", ALL)
def test_a_deleted_key_is_gone_and_its_slot_serves_again(insert_card: InsertCard, personality: str) -> None:
    token = opened(insert_card(personality))
    key = agreeing(token)
    token.delete(key.uri)
    with pytest.raises(KeyNotFound):
        token.key(key.uri)
    with pytest.raises(KeyNotFound):
        key.agree(key.public)
    assert token.keys() == []
    assert agreeing(token).uri == key.uri
    token.close()


def test_a_key_of_another_card_is_refused(insert_card: InsertCard) -> None:
    one, two = opened(insert_card("5.7")), opened(insert_card("5.7"))
    with pytest.raises(TokenMismatch):
        two.key(agreeing(one).uri)
    one.close()
    two.close()


@pytest.mark.parametrize("personality", ALL)
def test_private_data_is_out_of_reach_without_the_pin(insert_card: InsertCard, personality: str) -> None:
    virtual = insert_card(personality)
    token = opened(virtual)
    token.store_data("share", b"secret" * 100)
    token.close()
    script = Scripted({PinKind.USER: PIN})
    again = opened(virtual, script)
    assert again.load_data("share") == b"secret" * 100
    assert [request.kind for request in script.asked] == [PinKind.USER]
    again.delete_data("share")
    assert again.load_data("share") is None
    again.close()


def test_foreign_biometric_data_is_left_alone(piv_card: VirtualPivToken) -> None:
    piv_card.card.lasting.objects[0x5FC103] = b"fingerprints of a person"
    token = opened(piv_card)
    token.store_data("share", b"secret")
    assert piv_card.card.lasting.objects[0x5FC103] == b"fingerprints of a person"
    assert token.data_names() == ["share"]
    token.close()


def test_seals_open_only_on_their_card_and_for_their_purpose(insert_card: InsertCard) -> None:
    one, two = opened(insert_card("5.7")), opened(insert_card("5.7"))
    agreeing(one)
    agreeing(two)
    blob = one.seal(b"vault key", b"vault")
    assert one.unseal(blob, b"vault") == b"vault key"
    for token, purpose in ((one, b"other"), (two, b"vault")):
        with pytest.raises(DecryptionFailed):
            token.unseal(blob, purpose)
    one.close()
    two.close()


def test_an_imported_x25519_scalar_agrees(piv_card: VirtualPivToken) -> None:
    token = opened(piv_card)
    ours, theirs = x25519.X25519PrivateKey.generate(), x25519.X25519PrivateKey.generate()
    key = token.import_key(PrivateKey(Algorithm.X25519, ours.private_bytes_raw()), KeySpec(Algorithm.X25519))
    assert isinstance(key, Agrees)
    assert key.agree(from_cryptography(theirs.public_key())) == theirs.exchange(ours.public_key())
    token.close()


def test_contactless_cards_are_spoken_to_in_short_apdus(insert_card: InsertCard) -> None:
    token: Token = insert_card(PivCard("5.7", contactless=True)).open()
    assert isinstance(token, PivToken)
    ours = ec.generate_private_key(ec.SECP384R1())
    key = token.generate(KeySpec(Algorithm.P384))
    assert isinstance(key, Agrees)
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), key.public.octets)
    assert key.agree(from_cryptography(ours.public_key())) == ours.exchange(ec.ECDH(), public)
    token.close()
