"""The PIV driver over cards of other makers: each is used for what it answers, not for what it claims."""

from __future__ import annotations

import datetime
import gzip
import zlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from meshhw_piv.slots import CERTIFICATES

from hwtests.piv_cards import LONG, check_keeps_foreign_key, check_signs, held, opened, signing
from meshhw.algorithms import Algorithm, Operation, PrivateKey, PublicKey
from meshhw.conformance.run import check_token
from meshhw.errors import KeyNotFound, NotSupported, PinIncorrect, SignatureInvalid, TokenFull
from meshhw.keystore import attestation
from meshhw.keystore.api import Agrees, Attests, KeySpec, PinPolicy, Signs
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.registry import driver
from meshhw.lab.fixtures_piv import InsertCard
from meshhw.lab.piv import keys as lab_keys
from meshhw.lab.piv.attestation import Authority
from meshhw.lab.piv.card import PivCard
from meshhw.lab.piv.faults import Kind
from meshhw.lab.piv.keys import SlotKey
from meshhw.lab.piv.personality import (
    AES128,
    AES256,
    ED25519,
    MANAGEMENT_KEY_LENGTHS,
    P256,
    PERSONALITIES,
    RSA1024,
    TDES,
)
from meshhw.lab.piv.tlv import tlv
from meshhw.lab.piv.token import FACTORY, PUK, VirtualPivToken
from meshhw.pubkeys import from_cryptography

OTHERS = ["applet", "hollow", "small", "odd", "nameless", "imitator"]
NO_KEY = 0xFF
"""No algorithm of a management key."""


@pytest.mark.parametrize("personality", OTHERS)
def test_every_card_signs_agrees_keeps_and_forgets(insert_card: InsertCard, personality: str) -> None:
    virtual = insert_card(personality)
    token = opened(virtual)
    assert token.info().uri == virtual.uri
    assert not token.info().vendor
    for algorithm, curve in ((Algorithm.P256, ec.SECP256R1()), (Algorithm.P384, ec.SECP384R1())):
        key = token.generate(KeySpec(algorithm))
        assert isinstance(key, Signs)
        assert isinstance(key, Agrees)
        check_signs(key, LONG)
        ours = ec.generate_private_key(curve)
        theirs = ec.EllipticCurvePublicKey.from_encoded_point(curve, key.public.octets)
        assert key.agree(from_cryptography(ours.public_key())) == ours.exchange(ec.ECDH(), theirs)
    assert {key.algorithm for key in held(token)} == {Algorithm.P256, Algorithm.P384}
    assert token.unseal(token.seal(b"share", b"test"), b"test") == b"share"
    for name, private in (("public", False), ("private", True)):
        token.store_data(name, b"octets" * 20, private=private)
        assert token.load_data(name) == b"octets" * 20
    gone = token.keys()[0]
    token.delete(gone.uri)
    with pytest.raises(KeyNotFound):
        token.key(gone.uri)
    assert len(token.keys()) == 1
    token.close()


@pytest.mark.parametrize("personality", OTHERS)
def test_what_a_card_made_another_session_finds(insert_card: InsertCard, personality: str) -> None:
    virtual = insert_card(personality)
    first = opened(virtual)
    made = first.generate(KeySpec(Algorithm.P256))
    first.close()
    again = opened(virtual)
    found = again.key(made.uri)
    assert found.public == made.public
    assert isinstance(found, Signs)
    check_signs(found, LONG)
    again.close()


@pytest.mark.parametrize("personality", OTHERS)
def test_pins_are_counted_changed_and_unlocked(insert_card: InsertCard, personality: str) -> None:
    virtual = insert_card(personality)
    tries = virtual.card.personality.ways.pin_tries
    now = {PinKind.USER: "000000", PinKind.PUK: PUK}
    script = Scripted(lambda request: "654321" if request.new else now[request.kind])
    token = opened(virtual, script)
    assert token.retries_left(PinKind.USER) == tries
    with pytest.raises(PinIncorrect) as wrong:
        token.change_pin(PinKind.USER)
    assert wrong.value.retries_left == virtual.card.lasting.pin.left == tries - 1
    now[PinKind.USER] = "123456"
    token.change_pin(PinKind.USER)
    assert virtual.card.lasting.pin.value == b"654321\xff\xff"
    virtual.lock_pin()
    token.unlock()
    assert virtual.card.lasting.pin.left == tries
    token.close()


@pytest.mark.parametrize("personality", ["applet", "small", "hollow"])
def test_a_management_key_that_is_another_is_told(insert_card: InsertCard, personality: str) -> None:
    virtual = insert_card(personality)
    virtual.card.lasting.management_key = b"\x11" * 24
    token = opened(virtual, Scripted(FACTORY | {PinKind.MANAGEMENT: "22" * 24}))
    with pytest.raises(PinIncorrect, match="management key"):
        token.generate(KeySpec(Algorithm.P256))
    token.close()
    knowing = opened(virtual, Scripted(FACTORY | {PinKind.MANAGEMENT: "11" * 24}))
    check_signs(signing(knowing.generate(KeySpec(Algorithm.P256))), LONG)
    knowing.close()


@pytest.mark.parametrize("algorithm", [TDES, AES128, AES256])
def test_a_management_key_is_proven_to_a_card_that_proves_nothing(
    insert_card: InsertCard, algorithm: int
) -> None:
    """Applets are known that can be set to give a challenge and no witness."""
    plain = PERSONALITIES["plain"]
    virtual = insert_card(PivCard(replace(plain, ways=replace(plain.ways, proves_itself=False))))
    key = b"\x11" * MANAGEMENT_KEY_LENGTHS[algorithm]
    virtual.card.lasting.management_algorithm, virtual.card.lasting.management_key = algorithm, key
    wrong = opened(virtual, Scripted(FACTORY | {PinKind.MANAGEMENT: "22" * len(key)}))
    with pytest.raises(PinIncorrect, match="management key"):
        wrong.generate(KeySpec(Algorithm.P256))
    wrong.close()
    token = opened(virtual, Scripted(FACTORY | {PinKind.MANAGEMENT: key.hex()}))
    check_signs(signing(token.generate(KeySpec(Algorithm.P256))), LONG)
    token.close()


def test_a_card_without_a_management_key_says_so_and_is_used(insert_card: InsertCard) -> None:
    """As an applet is that its maker's program has yet to set up, or that is managed in another way."""
    virtual = insert_card("plain")
    virtual.card.lasting.management_algorithm = NO_KEY
    foreign_key(virtual, 0x9A, FORMS["bare"])
    person = Scripted(FACTORY)
    token = opened(virtual, person)
    with pytest.raises(NotSupported, match="has no management key") as refused:
        token.generate(KeySpec(Algorithm.P256, place="9d"))
    assert refused.value.hint
    assert [request.kind for request in person.asked] == []
    (key,) = held(token)
    check_signs(signing(key), LONG)
    token.close()


@pytest.mark.parametrize("personality", ["applet", "small", "imitator", "hollow"])
def test_a_card_that_knows_a_reset_is_reset(insert_card: InsertCard, personality: str) -> None:
    virtual = insert_card(personality)
    token = opened(virtual)
    token.generate(KeySpec(Algorithm.P256))
    token.reset()
    assert not virtual.card.lasting.keys
    assert virtual.card.lasting.pin.left == virtual.card.personality.ways.pin_tries
    token.close()


def test_every_algorithm_of_a_list_in_parts_is_found(insert_card: InsertCard) -> None:
    token = opened(insert_card("applet"))
    assert set(token.capabilities().algorithms()) == {Algorithm.RSA2048, Algorithm.P256, Algorithm.P384}
    token.close()


def test_a_list_of_cipher_suites_is_none_of_algorithms(insert_card: InsertCard) -> None:
    """What the standard lists there is how secure messaging is enciphered (part 2, table 3)."""
    suites = frozenset({0x27, 0x2E})
    card = replace(PERSONALITIES["plain"], algorithms=suites, lists_algorithms=True)
    token = opened(insert_card(PivCard(card)))
    assert set(token.capabilities().algorithms()) == {Algorithm.RSA2048, Algorithm.P256, Algorithm.P384}
    token.close()


def test_an_origin_in_other_words_is_not_believed(insert_card: InsertCard) -> None:
    """By the code of an imported key on this card a YubiKey says that the key was made inside."""
    virtual = insert_card("applet")
    token = opened(virtual)
    imported = token.import_key(PrivateKey(Algorithm.P256, b"\x07" * 32), KeySpec(Algorithm.P256))
    assert token.protection(imported.uri).generated_inside is None
    token.close()


def test_slots_that_a_card_has_not_got_are_passed_over(insert_card: InsertCard) -> None:
    virtual = insert_card("small")
    token = opened(virtual)
    with token.hold():
        made = [token.generate(KeySpec(Algorithm.P256)) for _ in range(5)]  # 82, 83, 9a, 9d, 9c
        with pytest.raises(TokenFull):
            token.generate(KeySpec(Algorithm.P256))
    assert {str(key.uri.get("slot")) for key in made} == {"82", "83", "9a", "9d", "9c"}
    token.close()


def test_a_key_of_an_unknown_algorithm_is_not_overwritten(insert_card: InsertCard) -> None:
    check_keeps_foreign_key(
        insert_card("applet"), SlotKey(RSA1024, lab_keys.generate(RSA1024), lab_keys.GENERATED, 2, 1)
    )


def test_a_card_that_asks_for_the_pin_first_keeps_foreign_keys(insert_card: InsertCard) -> None:
    """Whether a slot is empty shows only with the PIN there, and a key without a certificate is one."""
    virtual = insert_card("hollow")
    theirs = SlotKey(P256, lab_keys.generate(P256), lab_keys.GENERATED, 2, 1)
    virtual.card.lasting.keys[0x82] = theirs
    token = opened(virtual)
    assert token.generate(KeySpec(Algorithm.P256)).uri.get("slot") == "83"
    assert virtual.card.lasting.keys[0x82] is theirs
    token.close()


@pytest.mark.parametrize("personality", ["small", "imitator"])
def test_eddsa_of_short_messages_alone_is_told(insert_card: InsertCard, personality: str) -> None:
    token = opened(insert_card(personality))
    assert not token.capabilities().can(Algorithm.ED25519, Operation.SIGN)
    key = signing(token.generate(KeySpec(Algorithm.ED25519)))
    check_signs(key, b"\x05" * 32)
    with pytest.raises(NotSupported, match="at most 32 octets"):
        key.sign(LONG)
    assert not token.capabilities().can(Algorithm.ED25519, Operation.SIGN)
    token.close()


def test_a_card_that_signs_any_message_is_told_after_one(insert_card: InsertCard) -> None:
    virtual = insert_card(long_signer())
    token = opened(virtual)
    assert not token.capabilities().can(Algorithm.ED25519, Operation.SIGN)
    key = signing(token.generate(KeySpec(Algorithm.ED25519)))
    check_signs(key, LONG)
    assert token.capabilities().can(Algorithm.ED25519, Operation.SIGN)
    token.close()


@pytest.mark.parametrize(("personality", "can"), [("long", True), ("small", False), ("imitator", False)])
def test_a_key_that_asks_for_nothing_answers_for_the_card(
    insert_card: InsertCard, personality: str, can: bool
) -> None:
    virtual = insert_card(long_signer() if personality == "long" else personality)
    first = opened(virtual)
    first.generate(KeySpec(Algorithm.ED25519, pin_policy=PinPolicy.NEVER))
    first.close()
    nobody = Scripted({})
    token = opened(virtual, nobody)
    assert token.capabilities().can(Algorithm.ED25519, Operation.SIGN) is can
    assert (nobody.asked, nobody.touches) == ([], [])
    token.close()


def test_an_algorithm_that_is_claimed_and_refused_is_not_claimed_again(insert_card: InsertCard) -> None:
    claims = PERSONALITIES["5.7"]
    virtual = insert_card(PivCard(replace(claims, algorithms=claims.algorithms - {ED25519})))
    token = opened(virtual)
    assert token.capabilities().can(Algorithm.ED25519, Operation.GENERATE)
    with pytest.raises(NotSupported):
        token.generate(KeySpec(Algorithm.ED25519))
    assert not token.capabilities().can(Algorithm.ED25519, Operation.GENERATE)
    check_signs(signing(token.generate(KeySpec(Algorithm.P256))), LONG)
    token.close()


def test_what_says_to_be_a_yubikey_is_asked_too(insert_card: InsertCard) -> None:
    """Serial number and management application make no attestation, and no import."""
    claims = PERSONALITIES["5.7"]
    card = PivCard(replace(claims, attestation=False, ways=replace(claims.ways, imports=False)))
    token = opened(insert_card(card))
    matrix = token.capabilities()
    assert not matrix.can(Algorithm.P256, Operation.ATTEST)
    assert not matrix.can(Algorithm.P256, Operation.IMPORT)
    assert matrix.can(Algorithm.P256, Operation.GENERATE, Operation.SIGN, Operation.AGREE)
    key = token.generate(KeySpec(Algorithm.P256))
    assert isinstance(token, Attests)
    with pytest.raises(NotSupported, match="does not attest"):
        token.attest(key.uri)
    token.close()


@pytest.mark.parametrize("word", [0x6700, 0x6985, 0x6B00, 0x6F00])
def test_metadata_are_refused_in_any_words(insert_card: InsertCard, word: int) -> None:
    virtual = insert_card("plain")
    foreign_key(virtual, 0x9A, FORMS["bare"])
    virtual.card.faults.plan(Kind.STATUS, word, ins=0xF7, times=1 << 30)
    token = opened(virtual)
    (key,) = held(token)
    check_signs(signing(key), LONG)
    made = token.generate(KeySpec(Algorithm.P256))
    assert {one.uri for one in held(token)} == {key.uri, made.uri}
    token.close()


@pytest.mark.parametrize("shape", ["bare", "gzip", "zlib", "unflagged", "padded"])
def test_certificates_are_read_in_every_form(insert_card: InsertCard, shape: str) -> None:
    virtual = insert_card("plain")
    public = foreign_key(virtual, 0x9A, FORMS[shape])
    token = opened(virtual)
    (key,) = token.keys()
    assert key.public == public
    check_signs(signing(key), LONG)
    token.close()


def test_a_torn_certificate_hides_no_other_key(insert_card: InsertCard) -> None:
    virtual = insert_card("plain")
    public = foreign_key(virtual, 0x9A, FORMS["bare"])
    virtual.card.lasting.objects[0x5FC10B] = b"\x70\x82\x04\x00torn"
    token = opened(virtual, Scripted(FACTORY, confirms=False))
    assert [key.public for key in held(token)] == [public]
    assert token.generate(KeySpec(Algorithm.P256, uses=frozenset({Operation.AGREE}))).uri.get("slot") != "9d"
    token.close()


def test_a_pin_of_all_applications_is_sent_as_one(insert_card: InsertCard) -> None:
    virtual = insert_card("odd")
    virtual.card.lasting.pin.value = b"4711\xff\xff\xff\xff"
    token = opened(virtual, Scripted(lambda _: "4711"))
    check_signs(signing(token.generate(KeySpec(Algorithm.P256))), LONG)
    token.close()


def test_an_object_with_too_little_room_keeps_what_it_held(insert_card: InsertCard) -> None:
    virtual = insert_card("small")
    token = opened(virtual)
    token.store_data("small", b"x" * 300)
    with pytest.raises(TokenFull):
        token.store_data("large", b"y" * 1000)
    assert token.load_data("small") == b"x" * 300
    assert token.data_names() == ["small"]
    token.close()


def test_cards_without_any_name_are_named_by_their_reader(insert_card: InsertCard) -> None:
    virtual = insert_card("nameless")
    listed = {info.reader: info for info in driver("yubikey").tokens()}
    assert listed[virtual.reader.name].uri == virtual.uri
    assert virtual.uri.get("reader") == virtual.reader.name


@pytest.mark.parametrize("imported", [False, True])
def test_a_card_that_turns_x25519_round_keeps_no_such_key(insert_card: InsertCard, *, imported: bool) -> None:
    claims = PERSONALITIES["imitator"]
    virtual = insert_card(PivCard(replace(claims, ways=replace(claims.ways, turns_x25519=True))))
    token = opened(virtual)
    spec, private = KeySpec(Algorithm.X25519), PrivateKey(Algorithm.X25519, bytes(range(32)))
    with pytest.raises(NotSupported, match="RFC 7748"):
        token.import_key(private, spec) if imported else token.generate(spec)
    assert not token.keys()
    assert not token.capabilities().can(Algorithm.X25519, Operation.GENERATE)
    token.close()


def test_a_card_that_does_not_is_trusted_with_one(insert_card: InsertCard) -> None:
    token = opened(insert_card("imitator"))
    made = token.generate(KeySpec(Algorithm.X25519))
    assert [key.uri for key in held(token)] == [made.uri]
    token.close()


def long_signer() -> PivCard:
    """An imitator without the limit on EdDSA."""
    return PivCard(replace(PERSONALITIES["imitator"], longest_eddsa=None))


def foreign_key(virtual: VirtualPivToken, slot: int, wrapped: Callable[[bytes], bytes]) -> PublicKey:
    """A key with a certificate of somebody else's."""
    private = ec.generate_private_key(ec.SECP256R1())
    virtual.card.lasting.keys[slot] = SlotKey(P256, private, lab_keys.GENERATED, 2, 1)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a person")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, private.public_key(), 7, now, now + datetime.timedelta(1))
    der = builder.sign(private, hashes.SHA256()).public_bytes(Encoding.DER)
    virtual.card.lasting.objects[CERTIFICATES[slot]] = wrapped(der)
    return from_cryptography(private.public_key())


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "bare": lambda der: der,
    "gzip": lambda der: tlv(0x70, gzip.compress(der)) + tlv(0x71, b"\1") + tlv(0xFE),
    "zlib": lambda der: tlv(0x70, zlib.compress(der)) + tlv(0x71, b"\1") + tlv(0xFE),
    "unflagged": lambda der: tlv(0x70, gzip.compress(der)) + tlv(0x71, b"\0") + tlv(0xFE),
    "padded": lambda der: tlv(0x70, der) + tlv(0x71, b"\0") + tlv(0xFE) + b"\0\0\xff\xff",
}


@pytest.mark.parametrize("personality", ["applet", "hollow", "small", "odd", "nameless"])
def test_no_promise_is_broken_on_it(insert_card: InsertCard, personality: str) -> None:
    virtual = insert_card(personality)
    token = opened(virtual)
    token.generate(KeySpec(Algorithm.P256, "seal", frozenset({Operation.AGREE})))  # it seals to a key in it
    report = check_token(token, wipe=True)
    assert [(one.promise.name, one.subject, one.detail) for one in report.broken] == []
    token.close()


def foreign_attester() -> PivCard:
    """An imitator that attests under its own maker's root, with none of the YubiKey's extensions."""
    imitator = PERSONALITIES["imitator"]
    return PivCard(replace(imitator, attestation=True, ways=replace(imitator.ways, attests_bare=True)))


def test_another_makers_attestation_proves_what_its_chain_does(insert_card: InsertCard) -> None:
    card = foreign_attester()
    token = opened(insert_card(card))
    assert token.capabilities().can(Algorithm.P256, Operation.ATTEST)
    made = token.generate(KeySpec(Algorithm.P256))
    assert isinstance(token, Attests)
    statement = token.attest(made.uri)
    assert statement.format == "piv"
    told = attestation.verify(statement, [card.authority.root])
    assert (told.public, told.issuer) == (made.public, "Lab PIV Root CA")
    assert told.generated_inside is True
    assert (told.pin_policy, told.touch_policy, told.serial, told.firmware) == (None, None, None, None)
    for claimed, roots in (
        (statement, [Authority().root]),
        (statement, []),
        (replace(statement, format="yubikey-piv"), [card.authority.root]),
        (replace(statement, statement=statement.chain[0]), [card.authority.root]),
    ):
        with pytest.raises(SignatureInvalid):
            attestation.verify(claimed, roots)
    imported = token.import_key(PrivateKey(Algorithm.P256, b"\x07" * 32), KeySpec(Algorithm.P256))
    with pytest.raises(NotSupported, match="does not attest"):
        token.attest(imported.uri)
    token.close()


def test_what_another_makers_card_attests_nobody_has_checked_yet(insert_card: InsertCard) -> None:
    """It is told as the card's answer, and how the key came to be stays unknown."""
    token = opened(insert_card(foreign_attester()))
    made = token.generate(KeySpec(Algorithm.P256))
    imported = token.import_key(PrivateKey(Algorithm.P256, b"\x07" * 32), KeySpec(Algorithm.P256))
    for key, attested in ((made, "true"), (imported, "false")):
        told = token.protection(key.uri)
        assert (told.generated_inside, told.answers["attested"]) == (None, attested)
    token.close()


def test_an_imitator_that_attests_nothing_says_so(insert_card: InsertCard) -> None:
    token = opened(insert_card("imitator"))
    made = token.generate(KeySpec(Algorithm.P256))
    assert not token.capabilities().can(Algorithm.P256, Operation.ATTEST)
    assert isinstance(token, Attests)
    with pytest.raises(NotSupported, match="does not attest"):
        token.attest(made.uri)
    assert token.protection(made.uri).answers["attested"] == "false"
    token.close()
