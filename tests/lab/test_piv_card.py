"""The virtual PIV card's own behaviour, asked APDU by APDU."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from hypothesis import given, settings
from hypothesis import strategies as st

from meshhw.lab.card_link import CardGone
from meshhw.lab.piv.card import PivCard
from meshhw.lab.piv.context import Finger
from meshhw.lab.piv.faults import Kind
from meshhw.lab.piv.personality import TDES
from meshhw.lab.piv.state import DEFAULT_MANAGEMENT_KEY
from meshhw.lab.piv.tlv import fields, tlv, unwrap

PIN, WRONG = b"123456\xff\xff", b"000000\xff\xff"
P256 = 0x11


def ask(card: PivCard, head: str, data: bytes = b"") -> tuple[bytes, int]:
    """One command with extended length; the data and the status word."""
    octets = bytes.fromhex(head) + (b"\0" + len(data).to_bytes(2, "big") + data if data else b"\0\0\0")
    answer = card.transmit(octets)
    return answer[:-2], int.from_bytes(answer[-2:], "big")


def selected(personality: str = "5.7") -> PivCard:
    card = PivCard(personality, finger=Finger(patience=0.05))
    assert ask(card, "00a40400", bytes.fromhex("a000000308"))[1] == 0x9000
    return card


def manage(card: PivCard, key: bytes = DEFAULT_MANAGEMENT_KEY) -> int:
    algorithm = card.lasting.management_algorithm
    cipher = Cipher(TripleDES(key) if algorithm == TDES else AES(key), modes.ECB())
    block = 8 if algorithm == TDES else 16
    head = f"0087{algorithm:02x}9b"
    witness = unwrap(0x80, unwrap(0x7C, ask(card, head, tlv(0x7C, tlv(0x80)))[0]))
    proof = cipher.decryptor().update(witness)
    challenge = b"c" * block
    answer, status = ask(card, head, tlv(0x7C, tlv(0x80, proof) + tlv(0x81, challenge)))
    if status == 0x9000:
        assert unwrap(0x82, unwrap(0x7C, answer)) == cipher.encryptor().update(challenge)
    return status


def generate(card: PivCard, slot: int, extra: bytes = b"", algorithm: int = P256) -> bytes:
    request = tlv(0xAC, tlv(0x80, bytes([algorithm])) + extra)
    answer, status = ask(card, f"004700{slot:02x}", request)
    assert status == 0x9000
    return unwrap(0x7F49, answer)


def sign(card: PivCard, slot: int, digest: bytes = b"d" * 32) -> tuple[bytes, int]:
    return ask(card, f"008711{slot:02x}", tlv(0x7C, tlv(0x82) + tlv(0x81, digest)))


@pytest.mark.parametrize("personality", ["4.3", "5.4", "5.7", "plain", "imitator"])
def test_a_generated_key_signs_after_the_pin(personality: str) -> None:
    card = selected(personality)
    assert manage(card) == 0x9000
    point = unwrap(0x86, generate(card, 0x9A))
    assert sign(card, 0x9A)[1] == 0x6982
    assert ask(card, "00200080", PIN)[1] == 0x9000
    answer, status = sign(card, 0x9A)
    assert status == 0x9000
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    public.verify(unwrap(0x82, unwrap(0x7C, answer)), b"d" * 32, ec.ECDSA(Prehashed(hashes.SHA256())))


@pytest.mark.parametrize(
    ("personality", "version", "serial", "metadata", "attests"),
    [
        ("4.3", 0x9000, 0x6D00, 0x6D00, 0x9000),
        ("5.4", 0x9000, 0x9000, 0x9000, 0x9000),
        ("5.7", 0x9000, 0x9000, 0x9000, 0x9000),
        ("plain", 0x6D00, 0x6D00, 0x6D00, 0x6D00),
        ("imitator", 0x9000, 0x6D00, 0x6D00, 0x6D00),
    ],
)
def test_each_personality_knows_its_instructions(
    personality: str, version: int, serial: int, metadata: int, attests: int
) -> None:
    card = selected(personality)
    manage(card)
    generate(card, 0x9A)
    asked = [ask(card, head)[1] for head in ("00fd0000", "00f80000", "00f7009a", "00f99a00")]
    assert asked == [version, serial, metadata, attests]


def test_the_pin_locks_and_the_puk_frees_it() -> None:
    card = selected()
    assert [ask(card, "00200080", WRONG)[1] for _ in range(4)] == [0x63C2, 0x63C1, 0x63C0, 0x6983]
    assert ask(card, "00200080", PIN)[1] == 0x6983
    assert ask(card, "002c0080", b"12345678" + b"654321\xff\xff")[1] == 0x9000
    assert ask(card, "00200080", b"654321\xff\xff")[1] == 0x9000


def test_policy_always_wants_the_pin_each_time() -> None:
    card = selected()
    manage(card)
    generate(card, 0x9C)
    ask(card, "00200080", PIN)
    assert sign(card, 0x9C)[1] == 0x9000
    assert sign(card, 0x9C)[1] == 0x6982


def test_a_wrong_management_key_proves_nothing() -> None:
    card = selected("5.4")
    assert manage(card, b"w" * 24) == 0x6982
    assert ask(card, "00db3fff", tlv(0x5C, b"\x5f\xc1\x0d") + tlv(0x53, b"x"))[1] == 0x6982


def test_reset_needs_both_counters_spent() -> None:
    card = selected()
    manage(card)
    generate(card, 0x9A)
    assert ask(card, "00fb0000")[1] == 0x6985
    card.lasting.pin.left = card.lasting.puk.left = 0
    assert ask(card, "00fb0000")[1] == 0x9000
    assert sign(card, 0x9A)[1] == 0x6A80


def test_moving_and_deleting_keys() -> None:
    card = selected()
    manage(card)
    generate(card, 0x9A)
    assert ask(card, "00f6829a")[1] == 0x9000
    assert (0x82 in card.lasting.keys, 0x9A in card.lasting.keys) == (True, False)
    assert ask(card, "00f6ff82")[1] == 0x9000
    assert 0x82 not in card.lasting.keys


def test_a_touch_that_never_comes_is_refused() -> None:
    card = selected()
    manage(card)
    generate(card, 0x9A, tlv(0xAA, b"\x01") + tlv(0xAB, b"\x02"))
    assert sign(card, 0x9A)[1] == 0x9000
    card.finger.willing = False
    assert sign(card, 0x9A)[1] == 0x6982
    assert card.finger.waits == 2


def test_a_cached_touch_serves_the_next_use() -> None:
    card = selected()
    manage(card)
    generate(card, 0x9A, tlv(0xAA, b"\x01") + tlv(0xAB, b"\x03"))
    assert [sign(card, 0x9A)[1], sign(card, 0x9A)[1]] == [0x9000, 0x9000]
    assert card.finger.waits == 1


def test_large_objects_go_both_ways_in_short_apdus() -> None:
    card = selected()
    manage(card)
    value = bytes(range(256)) * 11
    body = tlv(0x5C, b"\x5f\xc1\x0d") + tlv(0x53, value)
    parts = [body[n : n + 255] for n in range(0, len(body), 255)]
    for part in parts[:-1]:
        assert card.transmit(b"\x10\xdb\x3f\xff" + bytes([len(part)]) + part) == b"\x90\x00"
    assert card.transmit(b"\x00\xdb\x3f\xff" + bytes([len(parts[-1])]) + parts[-1]) == b"\x90\x00"
    answer = card.transmit(bytes.fromhex("00cb3fff055c035fc10d00"))
    whole = b""
    while answer[-2] == 0x61:
        whole += answer[:-2]
        answer = card.transmit(bytes.fromhex("00c0000000"))
    assert unwrap(0x53, whole + answer[:-2]) == value
    assert answer[-2:] == b"\x90\x00"


def test_a_full_card_says_so_and_keeps_what_it_has() -> None:
    card = selected()
    manage(card)
    assert ask(card, "00db3fff", tlv(0x5C, b"\x5f\xc1\x0d") + tlv(0x53, b"old"))[1] == 0x9000
    card.lasting.capacity = card.lasting.used
    assert ask(card, "00db3fff", tlv(0x5C, b"\x5f\xc1\x0d") + tlv(0x53, b"larger"))[1] == 0x6A84
    assert unwrap(0x53, ask(card, "00cb3fff", tlv(0x5C, b"\x5f\xc1\x0d"))[0]) == b"old"


def test_the_attestation_chains_to_the_lab_root() -> None:
    card = selected()
    manage(card)
    generate(card, 0x9D, tlv(0xAB, b"\x02"), algorithm=0xE1)
    leaf = x509.load_der_x509_certificate(ask(card, "00f99d00")[0])
    stored = unwrap(0x53, ask(card, "00cb3fff", tlv(0x5C, b"\x5f\xff\x01"))[0])
    signer = x509.load_der_x509_certificate(fields(stored)[0x70])
    leaf.verify_directly_issued_by(signer)
    signer.verify_directly_issued_by(x509.load_der_x509_certificate(card.authority.root))
    policy = leaf.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.4.1.41482.3.8")).value
    assert isinstance(policy, x509.UnrecognizedExtension)
    assert policy.value == b"\x02\x02"


def test_an_imported_key_is_not_attested() -> None:
    card = selected()
    manage(card)
    assert ask(card, "00fe119a", tlv(0x06, b"\x07" * 32))[1] == 0x9000
    assert ask(card, "00f99a00")[1] == 0x6A80


def test_planned_faults_happen_once() -> None:
    card = selected()
    card.faults.plan(Kind.STATUS, 0x6F00, ins=0x20)
    assert [ask(card, "00fd0000")[1], ask(card, "00200080")[1], ask(card, "00200080")[1]] == [
        0x9000,
        0x6F00,
        0x63C3,
    ]
    card.faults.plan(Kind.TRUNCATE, 1)
    assert ask(card, "00fd0000") == (b"\x05", 0x9000)
    card.faults.plan(Kind.PULL_DURING, ins=0x20)
    with pytest.raises(CardGone):
        ask(card, "00200080", WRONG)
    assert card.lasting.pin.left == 2


@given(st.binary(max_size=600))
@settings(max_examples=200, deadline=None)
def test_no_octets_break_the_card(octets: bytes) -> None:
    card = PivCard("5.7")
    card.transmit(bytes.fromhex("00a4040005a000000308"))
    assert len(card.transmit(octets)) >= 2


@given(
    st.sampled_from([0x20, 0x24, 0x2C, 0x47, 0x87, 0xCB, 0xDB, 0xF7, 0xF9, 0xFE, 0xFF]),
    st.binary(max_size=40),
)
@settings(max_examples=200, deadline=None)
def test_no_data_breaks_an_instruction(ins: int, data: bytes) -> None:
    card = selected()
    manage(card)
    assert ask(card, f"00{ins:02x}009a", data)[1] != 0
    assert ask(card, f"00{ins:02x}119b", data)[1] != 0
