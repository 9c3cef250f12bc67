"""The PIV driver over cards whose slots have memories and rules of their own, as Java Card applets have."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from hwtests.piv_cards import LONG, check_keeps_foreign_key, check_signs, held, opened, signing
from meshhw.algorithms import Algorithm, Operation, PrivateKey
from meshhw.conformance.run import check_token
from meshhw.errors import NotSupported
from meshhw.keystore.api import Agrees, Decrypts, KeySpec
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.lab.fixtures_piv import InsertCard
from meshhw.lab.piv import keys as lab_keys
from meshhw.lab.piv.card import PivCard
from meshhw.lab.piv.keys import SlotKey
from meshhw.lab.piv.personality import P256, PERSONALITIES
from meshhw.lab.piv.token import FACTORY
from meshhw.pubkeys import to_cryptography


def test_a_key_that_the_card_fails_to_describe_is_found_used_and_removed(insert_card: InsertCard) -> None:
    """Nobody gave the applet the public half of an imported key, and its metadata end in 6F00."""
    virtual = insert_card("applet")
    first = opened(virtual)
    imported = first.import_key(PrivateKey(Algorithm.P256, b"\x07" * 32), KeySpec(Algorithm.P256))
    first.close()
    token = opened(virtual)
    (found,) = held(token)
    assert (found.uri, found.public) == (imported.uri, imported.public)
    check_signs(signing(found), LONG)
    token.delete(found.uri)
    assert token.keys() == []
    token.close()


def test_a_foreign_key_that_the_card_fails_to_describe_is_not_overwritten(insert_card: InsertCard) -> None:
    check_keeps_foreign_key(
        insert_card("applet"), SlotKey(P256, lab_keys.generate(P256), lab_keys.IMPORTED, 2, 1)
    )


def test_a_new_key_does_not_take_over_what_the_one_before_asked(insert_card: InsertCard) -> None:
    """The applet leaves a slot its policy, and what a destroyed key is overwritten with asks for no PIN."""
    virtual = insert_card("applet")
    token = opened(virtual)
    token.delete(token.generate(KeySpec(Algorithm.P256, place="82")).uri)
    assert virtual.card.lasting.keys[0x82].pin_policy == lab_keys.PIN_NEVER
    again = token.generate(KeySpec(Algorithm.P256, place="82"))
    assert virtual.card.lasting.keys[0x82].pin_policy == lab_keys.PIN_ONCE
    assert [key.uri for key in held(token)] == [again.uri]
    token.delete(again.uri)
    imported = token.import_key(PrivateKey(Algorithm.P256, b"\x07" * 32), KeySpec(Algorithm.P256, place="82"))
    assert virtual.card.lasting.keys[0x82].pin_policy == lab_keys.PIN_ONCE
    token.close()
    asking = Scripted(FACTORY)
    later = opened(virtual, asking)
    check_signs(signing(later.key(imported.uri)), LONG)
    assert PinKind.USER in [request.kind for request in asking.asked]
    later.close()


@pytest.mark.parametrize(("algorithm", "taken"), [(Algorithm.P256, "9a"), (Algorithm.P384, "9c")])
def test_a_slot_is_found_that_takes_a_signing_key(
    insert_card: InsertCard, algorithm: Algorithm, taken: str
) -> None:
    """The card's issuer has kept most slots for other algorithms."""
    token = opened(insert_card("bound"))
    token.delete(token.generate(KeySpec(algorithm, place="9d")).uri)  # which shows to be free since then
    key = token.generate(KeySpec(algorithm, uses=frozenset({Operation.SIGN})))
    assert key.uri.get("slot") == taken
    check_signs(signing(key), LONG)
    token.close()


def test_a_slot_that_is_kept_for_another_use_says_so(insert_card: InsertCard) -> None:
    token = opened(insert_card("bound"))
    signer = token.generate(KeySpec(Algorithm.P256, uses=frozenset({Operation.SIGN})))
    agreeing = token.generate(KeySpec(Algorithm.P256, uses=frozenset({Operation.AGREE})))
    assert agreeing.uri.get("slot") == "9d"
    assert isinstance(signer, Agrees)
    with pytest.raises(NotSupported, match="keeps slot 9a for other uses"):
        signer.agree(agreeing.public)
    with pytest.raises(NotSupported):
        signing(agreeing).sign(LONG)
    assert token.unseal(token.seal(b"share", b"test"), b"test") == b"share"
    assert token.retries_left(PinKind.USER) in (None, 6)
    token.close()


def test_a_key_in_a_slot_that_takes_no_other_algorithm_is_destroyed(insert_card: InsertCard) -> None:
    virtual = insert_card("bound")
    token = opened(virtual)
    key = token.generate(KeySpec(Algorithm.RSA2048))
    before = virtual.card.lasting.keys[0x82]
    token.delete(key.uri)
    assert virtual.card.lasting.keys[0x82] is not before
    assert token.keys() == []
    assert token.generate(KeySpec(Algorithm.RSA2048)).uri == key.uri
    token.close()


def test_a_slot_is_used_again_where_objects_keep_their_first_room(insert_card: InsertCard) -> None:
    """The certificate that tells the second key is longer than that of the first."""
    token = opened(insert_card("bound"))
    agrees = frozenset({Operation.AGREE})
    first = token.generate(KeySpec(Algorithm.P256, "a", agrees, place="9d"))
    token.delete(first.uri)
    for algorithm in (Algorithm.P384, Algorithm.RSA2048):
        key = token.generate(
            KeySpec(algorithm, "a longer label, of as many letters as a name may have", place="9d")
        )
        assert [one.public for one in held(token)] == [key.public]
        token.delete(key.uri)
    token.close()


def test_a_management_key_is_changed_where_a_proof_begun_ends_the_one_before(insert_card: InsertCard) -> None:
    """Asking such a card for the key's kind again would undo what was proven."""
    imitator = PERSONALITIES["imitator"]
    virtual = insert_card(PivCard(replace(imitator, ways=replace(imitator.ways, begins_afresh=True))))
    token = opened(virtual, Scripted(FACTORY | {PinKind.MANAGEMENT: "11" * 24}))
    token.change_pin(PinKind.MANAGEMENT)
    assert virtual.card.lasting.management_key == b"\x11" * 24
    token.close()


def test_a_check_ends_with_a_report_where_no_slot_is_left_for_a_use(insert_card: InsertCard) -> None:
    """The one slot that agrees is taken, so a further key for agreement goes where it cannot be used."""
    token = opened(insert_card("bound"))
    token.generate(KeySpec(Algorithm.P256, "seal", frozenset({Operation.AGREE})))
    report = check_token(token, wipe=True)
    assert {verdict.subject for verdict in report.broken} <= {"P-256", "P-384"}
    assert {"RSA-2048", "P-256"} <= {one.algorithm for one in report.measurements}
    assert any("for other uses" in verdict.detail for verdict in report.broken)
    token.close()


def test_what_rsa_makes_is_read_without_its_zeros(insert_card: InsertCard) -> None:
    """Of OAEP the first octet is always zero."""
    token = opened(insert_card("odd"))
    key = token.generate(KeySpec(Algorithm.RSA2048))
    assert isinstance(key, Decrypts)
    public = to_cryptography(key.public)
    assert isinstance(public, rsa.RSAPublicKey)
    sha256 = hashes.SHA256()
    sealed = public.encrypt(b"secret", padding.OAEP(padding.MGF1(sha256), sha256, None))
    assert key.decrypt(sealed, "oaep-sha256") == b"secret"
    token.close()
