"""The form that we write: against an independent implementation, and against every change of it."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from meshhw.algorithms import Algorithm, PrivateKey, PublicKey
from meshhw.dare.eds import write_eds
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.findings import Finding
from meshhw.dare.header import ContentMeta, Members, authenticated_octets
from meshhw.dare.kdf import body_key, header_mac
from meshhw.dare.local import LocalKey
from meshhw.dare.prepare import Cipher, Outline, Prepared, prepare
from meshhw.dare.read import open_envelope, read_stream, verify_envelope
from meshhw.dare.segments import SEGMENT, nonce
from meshhw.dare.signing import verify
from meshhw.dare.write import seal, sign_detached, write_stream
from meshhw.errors import (
    DecryptionFailed,
    FormatError,
    InvalidPublicKey,
    KeyNotFound,
    MeshError,
    NotSupported,
    SignatureInvalid,
    UsageError,
)
from meshhw.jsonbcd import decode_base64url, encode_base64url
from meshhw.udf import UDF, Kind, fingerprint
from meshhw.udf.secret import symmetric_key

HERE = Path(__file__).parent
spec = importlib.util.spec_from_file_location("independent", HERE / "independent.py")
assert spec
assert spec.loader
independent = importlib.util.module_from_spec(spec)
spec.loader.exec_module(independent)

CASES = json.loads((HERE.parent / "vectors" / "dare_secure.json").read_text())
SHORT_AND_LONG = pytest.mark.parametrize("run", ["short", pytest.param("long", marks=pytest.mark.fuzz)])
"""A hundred examples in every check, many in `./dev fuzz`."""
PLAIN = b"Tell no-one!"


def key(crv: str, label: str = "private") -> LocalKey:
    lengths = {"X25519": 32, "X448": 56, "P-256": 32, "P-384": 48, "Ed25519": 32, "Ed448": 57}
    octets = bytes.fromhex(independent.fixed(f"{crv} {label}", lengths[crv]))
    return LocalKey(PrivateKey(Algorithm(crv), octets))


def reader(crv: str) -> RecipientKey:
    return RecipientKey(key(crv).public)


def payload_of(case: dict[str, Any]) -> bytes:
    payload = case["payload"]
    return bytes(payload["zeros"]) if isinstance(payload, dict) else bytes.fromhex(payload)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["id"])
def test_vectors_are_what_the_independent_writer_writes(case: dict[str, Any]) -> None:
    again = {entry["id"]: entry for entry in independent.vectors()}
    assert again[case["id"]] == case


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["id"])
def test_vectors_open(case: dict[str, Any]) -> None:
    octets = independent.write({**case, "payload": payload_of(case).hex()})
    keys = [LocalKey(PrivateKey(Algorithm(r["crv"]), bytes.fromhex(r["private"]))) for r in case["readers"]]
    symmetric = [UDF.make(Kind.SYMMETRIC, bytes.fromhex(case["symmetric"]))] if "symmetric" in case else []
    rings = [KeyRing([one]) for one in keys] + [KeyRing((), [one]) for one in symmetric]
    for ring in rings:
        opened = open_envelope(Envelope.parse(octets), _with_plain_x448(ring))
        assert opened.payload == payload_of(case)
        assert opened.content.filename == case.get("content", {}).get("Filename")
        assert [text.decode() for text in opened.annotations] == case.get("annotations", [])
        assert len(opened.signers) == len(case.get("signers", []))
        assert (Finding.UNSIGNED in opened.findings) == (not opened.signers)


class _ZeroSign:
    """An X448 key that does not know its sign, as a token's key does not."""

    def __init__(self, local: LocalKey) -> None:
        self._local = local
        self.public = PublicKey(Algorithm.X448, local.public.u + b"\0")

    def agree(self, peer: PublicKey) -> bytes:
        return self._local.agree(peer)


def _with_plain_x448(ring: KeyRing) -> KeyRing:
    keys = [
        _ZeroSign(k) if isinstance(k, LocalKey) and k.public.algorithm is Algorithm.X448 else k
        for k in ring.held
    ]
    return KeyRing(keys, ring.symmetric)


@pytest.mark.parametrize("crv", ["X25519", "X448", "P-256", "P-384"])
@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 16 * 65536, 16 * 65536 + 1])
def test_the_independent_reader_reads_what_we_write(crv: str, size: int) -> None:
    payload = bytes(i & 0xFF for i in range(256)) * (size // 256 + 1)
    envelope = seal(payload[:size], Outline(readers=[reader(crv)]))
    again = Envelope.parse(envelope.octets())
    private = bytes.fromhex(independent.fixed(f"{crv} private", len(key(crv)._private.octets)))
    assert independent.read(dict(again.members), again.body, crv, private) == payload[:size]


SIGNERS = ["Ed25519", "Ed448", "P-256", "P-384"]


@pytest.mark.parametrize("crv", SIGNERS)
@pytest.mark.parametrize("encrypted", [True, False])
def test_signed(crv: str, encrypted: bool) -> None:
    signer = key(crv, "signer")
    readers = [reader("X25519")] if encrypted else []
    envelope = seal(PLAIN, Outline(readers=readers, signers=[signer]))
    ring = KeyRing([key("X25519")])
    opened = open_envelope(envelope, ring)
    assert opened.payload == PLAIN
    assert opened.signers == (signer.public,)
    assert opened.findings == ()
    assert verify_envelope(envelope).signers == (signer.public,)
    assert open_envelope(Envelope.from_array(json.loads(json.dumps(envelope.array()))), ring).payload == PLAIN


def small_file(outline: Outline) -> bytes:
    out = io.BytesIO()
    write_stream(io.BytesIO(PLAIN), out, outline, length=len(PLAIN))
    return out.getvalue()


CONTENT = ContentMeta(filename="launch.txt", content_type="text/plain")
OUTLINES = {
    "encrypted": Outline(readers=[reader("X25519")], content=CONTENT, annotations=[b"a", b"b"]),
    "encrypted and signed": Outline(
        readers=[reader("X25519")], signers=[key("Ed25519", "signer")], content=CONTENT
    ),
    "signed": Outline(signers=[key("Ed25519", "signer")], content=CONTENT),
    "signed by two": Outline(
        readers=[reader("X25519")], signers=[key("Ed25519", "signer"), key("P-256", "signer")]
    ),
}


SAMPLES = {name: small_file(outline) for name, outline in OUTLINES.items()}


def read(octets: bytes) -> bytes:
    out = io.BytesIO()
    read_stream(io.BytesIO(octets), out.write, KeyRing([key("X25519")]))
    return out.getvalue()


@pytest.mark.parametrize("name", OUTLINES)
@pytest.mark.parametrize("flip", [0x01, 0x20, 0x80])
def test_a_flip_of_any_octet_is_refused(name: str, flip: int) -> None:
    """No octet of a file of our form can change unnoticed."""
    octets = small_file(OUTLINES[name])
    assert read(octets) == PLAIN
    unnoticed = []
    for position in range(len(octets)):
        changed = bytearray(octets)
        changed[position] ^= flip
        try:
            read(bytes(changed))
            unnoticed.append(position)
        except MeshError:
            continue
    assert unnoticed == []


@pytest.mark.parametrize("name", OUTLINES)
def test_a_cut_at_any_octet_is_refused(name: str) -> None:
    octets = small_file(OUTLINES[name])
    for length in range(len(octets)):
        with pytest.raises(MeshError):
            read(octets[:length])
    with pytest.raises(FormatError):
        read(octets + b" ")


def test_segments_cannot_be_cut_moved_or_repeated() -> None:
    envelope = seal(bytes(3 * 65536), Outline(readers=[reader("X25519")]))
    ring = KeyRing([key("X25519")])
    first, second, third = (envelope.body[i * 65552 : (i + 1) * 65552] for i in range(3))
    for body in (
        first + second,
        second + first + third,
        first + second + second + third,
        first + third,
        b"",
        first + second + third + third[:16],
    ):
        with pytest.raises(DecryptionFailed):
            open_envelope(Envelope(envelope.members, body, None), ring)


def test_members_outside_what_is_authenticated_are_refused() -> None:
    envelope = seal(PLAIN, Outline(readers=[reader("X25519")], signers=[key("Ed25519", "signer")]))
    assert envelope.trailer_members
    for trailer in (
        {**envelope.trailer_members, "note": "x"},
        {**envelope.trailer_members, "TreeDigest": "AAAA"},
        {"PayloadDigest": envelope.trailer_members["PayloadDigest"]},
        {},
        None,
        {**envelope.trailer_members, "signatures": envelope.trailer_members["signatures"] * 2},
    ):
        with pytest.raises((FormatError, SignatureInvalid)):
            open_envelope(Envelope(envelope.members, envelope.body, trailer), KeyRing([key("X25519")]))


def test_a_signature_by_another_key_is_refused() -> None:
    mine = seal(PLAIN, Outline(signers=[key("Ed25519", "signer")]))
    other = seal(PLAIN, Outline(signers=[key("Ed25519", "another")]))
    with pytest.raises(SignatureInvalid):
        verify_envelope(Envelope(mine.members, mine.body, other.trailer_members))


def test_every_listed_signer_has_signed_and_nobody_else() -> None:
    signers = [key("Ed25519", "signer"), key("Ed448", "signer"), key("P-256", "signer")]
    for readers in ([], [reader("X25519")]):
        ring = KeyRing([key("X25519")])
        envelope = seal(PLAIN, Outline(readers=readers, signers=signers))
        trailer = dict(envelope.trailer_members or {})
        entries = trailer["signatures"]
        assert isinstance(entries, list)
        assert {p.octets for p in open_envelope(envelope, ring).signers} == {s.public.octets for s in signers}
        stranger = key("Ed25519", "another")
        signed = Prepared(envelope.members, Cipher.NONE, [stranger])
        substitute = signed.trailer(hashlib.sha512(envelope.body).digest()) or {}
        assert substitute["PayloadDigest"] == trailer["PayloadDigest"]
        others = substitute["signatures"]
        assert isinstance(others, list)
        instead = {**trailer, "signatures": [*entries[:2], *others]}
        with pytest.raises(SignatureInvalid, match="is missing"):  # as many as are listed, but another's
            open_envelope(Envelope(envelope.members, envelope.body, instead), ring)
        besides = {**trailer, "signatures": [*entries, *others]}
        with pytest.raises(SignatureInvalid, match="does not list"):
            open_envelope(Envelope(envelope.members, envelope.body, besides), ring)
        fewer = seal(PLAIN, Outline(readers=readers, signers=signers[:2]))
        for found in (entries[:2], entries[1:], [*entries, entries[0]], [entries[0]] * 3, []):
            with pytest.raises((SignatureInvalid, FormatError)):
                open_envelope(
                    Envelope(envelope.members, envelope.body, {**trailer, "signatures": found}), ring
                )
        with pytest.raises(SignatureInvalid):
            open_envelope(Envelope(fewer.members, fewer.body, trailer), ring)
        listed = {**fewer.members, "signers": envelope.members["signers"]}
        with pytest.raises((SignatureInvalid, DecryptionFailed)):
            open_envelope(Envelope(listed, fewer.body, fewer.trailer_members), ring)


def by_a_reader(
    change: Members, body: Callable[[Prepared], bytes] | None = None, signers: Sequence[LocalKey] = ()
) -> Envelope:
    """What whoever has the seed can make: any header under a right MAC."""
    prepared = prepare(Outline(readers=[reader("X25519")], annotations=[b"a", b"b"]))
    members: Members = {**prepared.members, **change}
    mac = header_mac(prepared.seed, prepared.salt, authenticated_octets(members))
    members["hmac"] = encode_base64url(mac)
    stored = body(prepared) if body else prepared.small_body(PLAIN)
    made = Prepared(members, Cipher.SEGMENTED, signers)
    return Envelope(members, stored, made.trailer(hashlib.sha512(stored).digest()))


def ends_in_an_empty_segment(prepared: Prepared) -> bytes:
    cipher = AESGCM(body_key(prepared.seed, prepared.salt))
    full = cipher.encrypt(nonce(0, last=False), bytes(SEGMENT), None)
    return full + cipher.encrypt(nonce(1, last=True), b"", None)


def test_a_reader_cannot_make_what_others_would_read_in_two_ways() -> None:
    ring, signer = KeyRing([key("X25519")]), key("Ed25519", "signer")
    assert open_envelope(by_a_reader({"note": 1}), ring).payload == PLAIN
    name = fingerprint(signer.public)
    assert open_envelope(by_a_reader({"signers": [name]}, None, [signer]), ring).signers == (signer.public,)
    [first, second] = (write_eds(bytes([7]), bytes(17)), write_eds(bytes([7]), bytes(18)))
    for envelope, kind, reason in (
        (by_a_reader({"ContentMetaData": "e30"}), FormatError, "in clear"),
        (
            by_a_reader({"annotations": [encode_base64url(first), encode_base64url(second)]}),
            DecryptionFailed,
            "share a salt prefix",
        ),
        (by_a_reader({}, ends_in_an_empty_segment), DecryptionFailed, "empty segment"),
        (by_a_reader({"dig": "S512"}, None, [signer]), SignatureInvalid, "different forms"),
        (by_a_reader({"signers": [name] * 2}, None, [signer] * 2), SignatureInvalid, "does not list"),
    ):
        with pytest.raises(kind, match=reason):
            open_envelope(envelope, ring)


def test_a_body_that_is_not_the_one_its_digest_names_is_refused_unsigned_too() -> None:
    digest = encode_base64url(hashlib.sha512(PLAIN).digest())
    assert open_envelope(Envelope({"dig": "S512"}, PLAIN, {"PayloadDigest": digest})).payload == PLAIN
    with pytest.raises(SignatureInvalid, match="digest"):
        open_envelope(Envelope({"dig": "S512"}, PLAIN + b"!", {"PayloadDigest": digest}))


def test_a_witness_of_the_form_of_2022_is_checked() -> None:
    outline = Outline(readers=[reader("X448")], signers=[key("Ed448", "signer")], compat=True)
    envelope = seal(PLAIN, outline)
    trailer = json.loads(json.dumps(envelope.trailer_members))
    known = [key("Ed448", "signer").public]
    for witness, wrong in ((trailer["signatures"][0]["witness"], False), ("A" * 43, True)):
        trailer["signatures"][0]["witness"] = witness
        opened = open_envelope(
            Envelope(envelope.members, envelope.body, trailer), KeyRing([key("X448")]), known=known
        )
        assert opened.payload == PLAIN
        assert (Finding.WITNESS_WRONG in opened.findings) == wrong


def test_forms_do_not_mix() -> None:
    ring = KeyRing([key("X25519")])
    ours = seal(PLAIN, Outline(readers=[reader("X25519")], signers=[key("Ed25519", "signer")]))
    old = seal(PLAIN, Outline(readers=[reader("X25519")], signers=[key("Ed25519", "signer")], compat=True))
    mixed = [
        Envelope({**ours.members, "enc": "A256CBC"}, ours.body, ours.trailer_members),
        Envelope({**old.members, "enc": "A256GCM-S"}, old.body, old.trailer_members),
        Envelope({**old.members, "hmac": ours.members["hmac"]}, old.body, old.trailer_members),
        Envelope({**old.members, "signers": ours.members["signers"]}, old.body, old.trailer_members),
        Envelope(old.members, old.body, ours.trailer_members),
        Envelope({**ours.members, "enc": "A256GCM"}, ours.body, ours.trailer_members),
        Envelope({**ours.members, "enc": "none"}, ours.body, ours.trailer_members),
        Envelope({k: v for k, v in ours.members.items() if k != "hmac"}, ours.body, ours.trailer_members),
    ]
    for envelope in mixed:
        with pytest.raises((FormatError, DecryptionFailed, SignatureInvalid, KeyNotFound)):
            open_envelope(envelope, ring)


def test_compat_is_read_back_and_told() -> None:
    signer = key("Ed448", "signer")
    outline = Outline(
        readers=[reader("X448"), symmetric_key()], signers=[signer], content=CONTENT, compat=True
    )
    envelope = seal(PLAIN, outline)
    opened = open_envelope(envelope, KeyRing([key("X448")]), known=[signer.public])
    assert opened.payload == PLAIN
    assert opened.signers == (signer.public,)
    assert opened.content == CONTENT
    assert set(opened.findings) == {
        Finding.BODY_WITHOUT_MAC,
        Finding.HEADER_UNPROTECTED,
        Finding.SIGNATURE_COVERS_BODY_ONLY,
    }


def test_compat_refuses_what_the_reference_cannot_read() -> None:
    with pytest.raises(UsageError, match="unless it is signed"):
        seal(PLAIN, Outline(readers=[reader("X448")], compat=True))
    with pytest.raises(NotSupported):
        seal(PLAIN, Outline(readers=[reader("P-256")], signers=[key("Ed448", "signer")], compat=True))
    with pytest.raises(NotSupported):
        seal(PLAIN, Outline(signers=[key("P-256", "signer")], compat=True))


def test_recipients_of_small_order_are_refused() -> None:
    with pytest.raises(InvalidPublicKey):
        seal(PLAIN, Outline(readers=[RecipientKey(PublicKey(Algorithm.X25519, bytes(32)))]))


def test_an_ephemeral_key_of_small_order_is_refused() -> None:
    envelope = seal(PLAIN, Outline(readers=[reader("X25519")]))
    members = json.loads(json.dumps(envelope.members))
    members["recipients"][0]["epk"]["PublicKeyECDH"]["Public"] = "A" * 43
    with pytest.raises(InvalidPublicKey):
        open_envelope(Envelope(members, envelope.body, None), KeyRing([key("X25519")]))


def test_counts_are_limited() -> None:
    with pytest.raises(UsageError):
        seal(PLAIN, Outline(readers=[reader("X25519")] * 65))
    with pytest.raises(UsageError):
        seal(PLAIN, Outline(signers=[key("Ed25519", "signer")] * 17))
    envelope = seal(PLAIN, Outline(readers=[reader("X25519")]))
    entries = envelope.members["recipients"]
    assert isinstance(entries, list)
    with pytest.raises(FormatError, match="64"):
        open_envelope(
            Envelope({**envelope.members, "recipients": entries * 65}, envelope.body, None),
            KeyRing([key("X25519")]),
        )


def test_a_header_is_limited() -> None:
    def nested(levels: int) -> bytes:
        return b'[{"x":' + b"[" * levels + b"]" * levels + b'},""]'

    assert Envelope.parse(nested(16)).body == b""
    with pytest.raises(FormatError, match="deeper"):
        Envelope.parse(nested(17))
    long: Members = dict.fromkeys(("a", "b"), "x" * (1 << 19))
    with pytest.raises(FormatError, match="1 MiB"):
        Envelope.parse(Envelope(long, b"").octets())


def test_a_signature_has_one_spelling() -> None:
    """What a signature does not cover is its own entry: no second one passes for the same."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    envelope = seal(PLAIN, Outline(signers=[key("P-256", "signer")]))
    trailer: Any = envelope.trailer_members
    [entry] = trailer["signatures"]
    octets = decode_base64url(entry["signature"])
    high = octets[:32] + (order - int.from_bytes(octets[32:], "big")).to_bytes(32, "big")
    for change in (
        {"signature": encode_base64url(high)},
        {"signature": encode_base64url(octets + bytes(1))},
        {"kid": entry["kid"].lower()},
        {"kid": entry["kid"].replace("-", "")},
        {"note": "x"},
    ):
        other = {**trailer, "signatures": [{**entry, **change}]}
        with pytest.raises((SignatureInvalid, FormatError)):
            verify_envelope(Envelope(envelope.members, envelope.body, other))
    assert verify_envelope(envelope).signers == (key("P-256", "signer").public,)


def test_a_pipe_of_unknown_length_goes_in_chunks() -> None:
    payload = bytes(3 << 20)
    out = io.BytesIO()
    write_stream(io.BytesIO(payload), out, OUTLINES["encrypted and signed"])
    assert read(out.getvalue()) == payload


def test_a_source_that_changes_meanwhile_is_told() -> None:
    for length in (len(PLAIN) - 1, len(PLAIN) + 1):
        with pytest.raises(MeshError, match="changed"):
            write_stream(io.BytesIO(PLAIN), io.BytesIO(), OUTLINES["encrypted"], length=length)


def test_detached() -> None:
    signer = key("Ed448", "signer")
    envelope = sign_detached(io.BytesIO(PLAIN), Outline(signers=[signer], content=CONTENT))
    opened = read_stream(io.BytesIO(envelope.octets()), None, detached=io.BytesIO(PLAIN))
    assert opened.signers == (signer.public,)
    assert opened.content == CONTENT
    with pytest.raises(SignatureInvalid):
        read_stream(io.BytesIO(envelope.octets()), None, detached=io.BytesIO(PLAIN + b"!"))
    with pytest.raises(FormatError, match="detached"):
        read_stream(io.BytesIO(envelope.octets()), None)
    attached = seal(PLAIN, Outline(signers=[signer]))
    with pytest.raises(FormatError, match="not a detached"):
        read_stream(io.BytesIO(attached.octets()), None, detached=io.BytesIO(PLAIN))


@pytest.mark.parametrize("y", [1, 0, 2**255 - 20, 2**255 - 19, 2**255 - 18])
def test_a_key_that_binds_nobody_signs_nothing(y: int) -> None:
    """Small order, or another spelling of it: the library finds this signature good for one message in four,
    or for every one.
    """
    anything = (1).to_bytes(32, "little") + bytes(32)
    public = PublicKey(Algorithm.ED25519, y.to_bytes(32, "little"))
    for number in range(24):
        with pytest.raises(SignatureInvalid):
            verify(public, bytes([number]), anything)


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=400), st.text(max_size=30), st.lists(st.binary(max_size=40), max_size=4))
def test_round_trip(payload: bytes, filename: str, annotations: list[bytes]) -> None:
    content = ContentMeta(filename=filename.encode("utf-8", "ignore").decode())
    outline = Outline(readers=[reader("X25519"), symmetric_key()], content=content, annotations=annotations)
    opened = open_envelope(Envelope.parse(seal(payload, outline).octets()), KeyRing([key("X25519")]))
    assert (opened.payload, opened.content, opened.annotations) == (payload, content, tuple(annotations))


@SHORT_AND_LONG
@given(data=st.data())
def test_any_damage_ends_in_one_of_our_errors(run: str, data: st.DataObject) -> None:
    octets = bytearray(SAMPLES[data.draw(st.sampled_from(sorted(SAMPLES)))])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(octets) - 1))
        octets[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    with suppress(MeshError):
        read(bytes(octets))
