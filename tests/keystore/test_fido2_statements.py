"""What authenticators state, verified offline: attestations and proofs of presence, and their forgeries."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshhw.algorithms import Algorithm, PublicKey
from meshhw.errors import FormatError, MeshError, SignatureInvalid, UsageError
from meshhw.keystore import attestation, attestation_fido2, cbor, webauthn
from meshhw.keystore.attestation import Attestation
from meshhw.keystore.presence import RP_ID, PresenceProof, client_data_hash, verify_presence
from meshhw.lab.ctap.attestation import Maker
from meshhw.lab.ctap.authenticator import ASSERT, MAKE, Authenticator
from meshhw.lab.ctap.model import Model

AAGUID = bytes(range(16))
MAKER = Maker(AAGUID)
CHALLENGE = hashlib.sha256(b"challenge").digest()
DIGEST = hashlib.sha256(b"what is confirmed").digest()


def card() -> Authenticator:
    return Authenticator(AAGUID, MAKER, Model())


def ask(authenticator: Authenticator, command: int, parameters: dict[int, object]) -> dict[int, object]:
    answer = authenticator.process(bytes([command]) + cbor.encode(parameters), touched=True)
    assert answer[0] == 0
    value = cbor.decode(answer[1:])
    assert isinstance(value, dict)
    return value


def enrol(authenticator: Authenticator, algorithm: int = webauthn.ES256) -> Attestation:
    made = ask(
        authenticator,
        MAKE,
        {
            1: CHALLENGE,
            2: {"id": RP_ID},
            3: {"id": b"user"},
            4: [{"type": "public-key", "alg": algorithm}],
            6: {"hmac-secret": True},
        },
    )
    data = made[2]
    assert isinstance(data, bytes)
    return attestation_fido2.make(str(made[1]), data, made[3], CHALLENGE)


def prove(authenticator: Authenticator, statement: Attestation, rp_id: str = RP_ID) -> PresenceProof:
    credential = attestation_fido2.read(statement).credential
    answer = ask(
        authenticator,
        ASSERT,
        {1: rp_id, 2: client_data_hash(DIGEST), 3: [{"type": "public-key", "id": credential}]},
    )
    data, signature = answer[2], answer[3]
    assert isinstance(data, bytes)
    assert isinstance(signature, bytes)
    return PresenceProof(credential, data, signature)


@pytest.mark.parametrize(
    ("algorithm", "expected"), [(webauthn.ES256, Algorithm.P256), (webauthn.EDDSA, Algorithm.ED25519)]
)
def test_an_attestation_proves_key_and_maker(algorithm: int, expected: Algorithm) -> None:
    statement = enrol(card(), algorithm)
    facts = attestation.verify(statement, [MAKER.root])
    assert facts.public.algorithm is expected
    assert (facts.issuer, facts.generated_inside, facts.touch_policy) == (
        "Lab FIDO2 Root CA",
        True,
        "always",
    )
    kept = attestation_fido2.restore(statement.statement, statement.signature)
    assert kept == statement
    assert attestation_fido2.read(kept).extensions == {"hmac-secret": True}


def test_no_forged_attestation_passes() -> None:
    statement = enrol(card())
    parts = cbor.decode(statement.statement)
    stranger = Maker(AAGUID).statement(parts["authData"] + CHALLENGE)
    other_model = Maker(bytes(16))
    forgeries = {
        "another challenge": replace(statement, signature=bytes(32)),
        "no challenge": replace(statement, signature=b""),
        "another key": changed(parts, authData=flipped(parts["authData"], -20)),
        "another model": changed(parts, authData=flipped(parts["authData"], 37)),
        "self made": changed(parts, attStmt={"alg": -7, "sig": parts["attStmt"]["sig"]}),
        "no statement": changed(parts, attStmt={}),
        "none": changed(parts, fmt="none"),
        "no certificate": changed(parts, attStmt={**parts["attStmt"], "x5c": []}),
        "no DER": changed(parts, attStmt={**parts["attStmt"], "x5c": [b"0"]}),
        "a stranger": changed(parts, attStmt=stranger),
        "an authority as leaf": changed(parts, attStmt={**parts["attStmt"], "x5c": [MAKER.root]}),
        "not CBOR": replace(statement, statement=b"\xff"),
    }
    for name, forged in forgeries.items():
        try:
            attestation.verify(forged, [MAKER.root])
        except SignatureInvalid:
            continue
        pytest.fail(f"a forgery passed: {name}")
    signed = other_model.statement(parts["authData"] + CHALLENGE)
    with pytest.raises(SignatureInvalid, match="another model"):
        attestation.verify(changed(parts, attStmt=signed), [other_model.root])
    with pytest.raises(SignatureInvalid, match="root"):
        attestation.verify(statement, [])


def changed(parts: dict[str, object], **values: object) -> Attestation:
    whole = cbor.encode({**parts, **values})
    return Attestation(attestation_fido2.FORMAT, whole, (), CHALLENGE)


def flipped(octets: bytes, position: int) -> bytes:
    out = bytearray(octets)
    out[position] ^= 1
    return bytes(out)


@pytest.mark.parametrize("algorithm", [webauthn.ES256, webauthn.EDDSA])
def test_presence_is_of_one_digest_and_one_key(algorithm: int) -> None:
    authenticator = card()
    statement = enrol(authenticator, algorithm)
    public = attestation_fido2.public_of(statement)
    proof = PresenceProof.decode(prove(authenticator, statement).encode())
    assert not verify_presence(public, DIGEST, proof).verified
    with pytest.raises(SignatureInvalid):
        verify_presence(public, hashlib.sha256(b"else").digest(), proof)
    with pytest.raises(SignatureInvalid):
        verify_presence(attestation_fido2.public_of(enrol(card(), algorithm)), DIGEST, proof)
    with pytest.raises(SignatureInvalid, match="not verified"):
        verify_presence(public, DIGEST, proof, need_verified=True)
    for position in range(len(proof.authenticator_data)):
        forged = replace(proof, authenticator_data=flipped(proof.authenticator_data, position))
        with pytest.raises((SignatureInvalid, FormatError)):
            verify_presence(public, DIGEST, forged)


def test_an_assertion_without_a_touch_or_for_somebody_else_is_no_proof() -> None:
    authenticator = card()
    credential = attestation_fido2.read(enrol(authenticator)).credential
    untouched = ask(
        authenticator,
        ASSERT,
        {
            1: RP_ID,
            2: client_data_hash(DIGEST),
            3: [{"type": "public-key", "id": credential}],
            5: {"up": False},
        },
    )
    data, signature = untouched[2], untouched[3]
    assert isinstance(data, bytes)
    assert isinstance(signature, bytes)
    known = authenticator.context.lasting.wrapper.unwrap(credential, RP_ID)
    assert known is not None
    public = webauthn.public_from_cose(known.cose_key())
    with pytest.raises(SignatureInvalid, match="touched"):
        verify_presence(public, DIGEST, PresenceProof(credential, data, signature))
    known.rp_id = "example.com"
    other = known.rp_id_hash + b"\x01" + bytes(4)
    signed = known.sign(other + client_data_hash(DIGEST))
    with pytest.raises(SignatureInvalid, match="somebody else"):
        verify_presence(public, DIGEST, PresenceProof(credential, other, signed))


def test_only_digests_are_confirmed() -> None:
    for length in (0, 31, 33, 65):
        with pytest.raises(UsageError):
            client_data_hash(bytes(length))


READERS = [
    webauthn.parse_authenticator_data,
    PresenceProof.decode,
    lambda octets: attestation.verify(Attestation("fido2", octets, (), CHALLENGE), [MAKER.root]),
]


@pytest.mark.parametrize("read", READERS)
@given(octets=st.binary(max_size=120))
def test_any_octets_are_statements_or_clear_errors(read: Callable[[bytes], object], octets: bytes) -> None:
    with contextlib.suppress(MeshError):
        assert read(octets) is not None


@given(st.dictionaries(st.integers(-4, 4), st.integers(-10, 10) | st.binary(max_size=40), max_size=6))
def test_any_map_is_a_cose_key_or_a_clear_error(key: dict[int, object]) -> None:
    with contextlib.suppress(MeshError):
        assert isinstance(webauthn.public_from_cose(key), PublicKey)
