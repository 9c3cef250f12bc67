"""Every published envelope: read as its era wrote it, and what was accepted told; or refused."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

from meshhw.algorithms import Algorithm, PublicKey
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import KeyRing
from meshhw.dare.findings import Finding
from meshhw.dare.keys import SeedKey, private_from_jose, public_from_jose
from meshhw.dare.local import LocalKey
from meshhw.dare.read import open_envelope, read_stream, verify_envelope
from meshhw.errors import DecryptionFailed, KeyNotFound, SignatureInvalid
from meshhw.jsonbcd import decode_base64url, encode_base64url
from meshhw.udf import UDF

VECTORS = Path(__file__).parents[1] / "vectors"


def load(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text())


def local_key(tagged: dict[str, Any]) -> LocalKey:
    private = private_from_jose(tagged)
    assert not isinstance(private, SeedKey)
    return LocalKey(private)


EXAMPLES = load("dare_envelopes")
DECRYPTABLE = [vector for vector in EXAMPLES if "expect" not in vector]
UNDECRYPTABLE = [vector for vector in EXAMPLES if "expect" in vector]
SIGNED = load("dare_signed_ed448")
MESH_SIGNED = load("schema_signed_envelopes")["envelopes"]
MESH_ENCRYPTED = load("schema_dare_decrypt_alice")["envelopes"]


@pytest.mark.parametrize("vector", DECRYPTABLE, ids=lambda v: v["id"])
def test_examples_of_the_drafts(vector: dict[str, Any]) -> None:
    ring = KeyRing([local_key(vector["recipient_private"])])
    signer = local_key(vector["signer_private"])
    envelope = Envelope.from_array(vector["envelope"])
    opened = open_envelope(envelope, ring, known=[signer.public])
    assert opened.payload.decode() == vector["expect_plaintext"]
    assert [text.decode() for text in opened.annotations] == vector["expect_eds"]
    if envelope.header.enc:
        assert Finding.EDWARDS_AGREEMENT in opened.findings
        assert Finding.BODY_WITHOUT_MAC in opened.findings
    if envelope.trailer.signatures:
        assert opened.signers == (signer.public,)
        assert Finding.ED25519_EMPTY_CONTEXT in opened.findings
        assert Finding.WITNESS_WRONG not in opened.findings
    else:
        assert {Finding.UNSIGNED, Finding.PLAINTEXT_UNSIGNED} & set(opened.findings)


@pytest.mark.parametrize("vector", UNDECRYPTABLE, ids=lambda v: v["id"])
def test_examples_that_wrap_another_key_fail(vector: dict[str, Any]) -> None:
    ring = KeyRing([local_key(vector["recipient_private"])])
    with pytest.raises(DecryptionFailed):
        open_envelope(Envelope.from_array(vector["envelope"]), ring)


@pytest.mark.parametrize("vector", SIGNED, ids=lambda v: v["path"])
def test_signed_mesh_objects(vector: dict[str, Any]) -> None:
    public = public_from_jose(vector["signer_public"])
    opened = verify_envelope(Envelope.from_array(vector["envelope"]), known=[public])
    assert opened.signers == (public,)
    assert Finding.SIGNATURE_COVERS_BODY_ONLY in opened.findings


@pytest.mark.parametrize("vector", MESH_SIGNED, ids=lambda v: v["signer_udf"] + v["message_type"])
def test_signed_mesh_objects_by_type(vector: dict[str, Any]) -> None:
    public = PublicKey(Algorithm.ED448, decode_base64url(vector["signer_public"], lenient=True))
    array = [vector["header"], vector["body"], vector["trailer"]]
    opened = verify_envelope(Envelope.from_array(array), known=[public])
    assert opened.signers == (public,)
    assert opened.content.message_type == vector["message_type"]


def test_a_flipped_body_of_a_signed_object_is_refused() -> None:
    vector = SIGNED[0]
    public = public_from_jose(vector["signer_public"])
    envelope = Envelope.from_array(vector["envelope"])
    body = bytearray(envelope.body)
    body[10] ^= 1
    with pytest.raises(SignatureInvalid):
        open_envelope(Envelope(envelope.members, bytes(body), envelope.trailer_members), known=[public])


def test_an_unknown_signer_is_told() -> None:
    opened = open_envelope(Envelope.from_array(SIGNED[0]["envelope"]))
    assert Finding.SIGNER_UNKNOWN in opened.findings
    assert opened.signers == ()


def account_key(name: str) -> LocalKey:
    keys = {entry["key_name"]: entry for entry in load("schema_account_seed_alice")["keys"]}
    entry = keys[name]
    return local_key({"PrivateKeyECDH": {"crv": entry["crv"], "Private": entry["derived_secret"]}})


@pytest.mark.parametrize("vector", MESH_ENCRYPTED, ids=lambda v: v["source"][-40:])
def test_encrypted_mesh_objects(vector: dict[str, Any]) -> None:
    array = [vector["header"], vector["body"]] + ([vector["trailer"]] if vector.get("trailer") else [])
    opened = open_envelope(Envelope.from_array(array), KeyRing([account_key(vector["key_name"])]))
    assert hashlib.sha256(opened.payload).digest() == bytes.fromhex(vector["plaintext_sha256"])
    assert Finding.BODY_WITHOUT_MAC in opened.findings


@pytest.mark.parametrize("vector", load("dare_encrypted_mesh"), ids=lambda v: v["source"][:30])
def test_encrypted_frames_and_publications(vector: dict[str, Any]) -> None:
    keys = [local_key(vector["recipient_private"])] if "recipient_private" in vector else []
    symmetric = [UDF.parse(vector["recipient_symmetric"])] if "recipient_symmetric" in vector else []
    opened = open_envelope(Envelope.from_array(vector["envelope"]), KeyRing(keys, symmetric))
    assert opened.payload.decode().startswith(vector["expect_prefix"])


def test_without_the_key_the_missing_ones_are_named() -> None:
    vector = MESH_ENCRYPTED[0]
    with pytest.raises(KeyNotFound, match="MA67-4U5O") as caught:
        open_envelope(Envelope.from_array([vector["header"], vector["body"]]))
    assert "--key" in caught.value.hint


@pytest.mark.parametrize("vector", EXAMPLES + SIGNED, ids=lambda v: v.get("id") or v["path"])
def test_both_spellings_are_one_envelope(vector: dict[str, Any]) -> None:
    envelope = Envelope.from_array(vector["envelope"])
    again = Envelope.parse(envelope.octets())
    assert again == envelope
    as_text = json.dumps({"DareEnvelope": vector["envelope"]}).encode()
    assert Envelope.parse(as_text) == envelope
    wrapped = Envelope.parse(json.dumps(vector["envelope"], indent=2).encode())
    assert wrapped == envelope


def test_a_padding_fault_is_told_only_after_the_signature() -> None:
    """Each changed last block of a signed envelope of 2022 fails alike, whatever its padding becomes."""
    vector = next(v for v in DECRYPTABLE if v["id"] == "draft-hallambaker-mesh-dare-12#8")
    ring = KeyRing([local_key(vector["recipient_private"])])
    signer = local_key(vector["signer_private"])
    envelope = Envelope.from_array(vector["envelope"])
    for value in range(0, 256, 5):
        body = bytearray(envelope.body)
        body[-17] ^= value or 1
        changed = Envelope(envelope.members, bytes(body), envelope.trailer_members)
        with pytest.raises(SignatureInvalid):
            open_envelope(changed, ring, known=[signer.public])


def test_a_padding_fault_of_an_unsigned_envelope_is_told() -> None:
    vector = next(v for v in DECRYPTABLE if v["id"] == "draft-hallambaker-mesh-dare-12#8")
    ring = KeyRing([local_key(vector["recipient_private"])])
    envelope = Envelope.from_array(vector["envelope"])
    body = bytearray(envelope.body)
    body[-17] ^= 0x80  # no padding is that long
    with pytest.raises(DecryptionFailed):
        open_envelope(Envelope(envelope.members, bytes(body), None), ring)


def test_verification_without_a_key_decrypts_nothing() -> None:
    vector = next(v for v in DECRYPTABLE if v["id"] == "draft-hallambaker-mesh-dare-12#8")
    signer = local_key(vector["signer_private"])
    envelope = Envelope.from_array(vector["envelope"])
    opened = read_stream(io.BytesIO(envelope.octets()), None, known=[signer.public])
    assert opened.signers == (signer.public,)


@pytest.mark.parametrize("vector", load("crypto_recipient_kek"), ids=lambda v: v["epk"][:8])
def test_recipient_agreement(vector: dict[str, Any]) -> None:
    key = local_key(
        {
            "PrivateKeyECDH": {
                "crv": vector["crv"],
                "Private": encode_base64url(bytes.fromhex(vector["private_seed"])),
            }
        }
    )
    peer = PublicKey(Algorithm(vector["crv"]), bytes.fromhex(vector["epk"]))
    assert key.agree(peer).hex() == vector["agreement"]
