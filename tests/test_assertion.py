"""Signed objects: every published profile verifies, and nothing that was changed does."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from meshhw import schema
from meshhw.algorithms import Algorithm, PublicKey
from meshhw.dare.envelope import Envelope
from meshhw.dare.local import LocalKey
from meshhw.errors import FormatError, IntegrityError, MeshError, SignatureInvalid
from meshhw.jsonbcd import encode_base64url
from meshhw.schema.assertion import open_assertion, open_profile, profile_udf, sign_assertion
from meshhw.schema.connection import ConnectionService
from meshhw.schema.key import KeyData
from meshhw.schema.keydata import key_data, keys_of
from meshhw.schema.profile import Profile, ProfileDevice, ProfileUser
from meshhw.udf import Seed, Specifier, fingerprint

ENVELOPES = json.loads((Path(__file__).parent / "vectors/schema_signed_envelopes.json").read_text())[
    "envelopes"
]
CLEAR = [entry for entry in ENVELOPES if "enc" not in entry["header"]]
PROFILES = [entry for entry in ENVELOPES if entry["message_type"].startswith("Profile")]


def envelope(entry: dict[str, Any]) -> Envelope:
    return Envelope.from_array([entry["header"], entry["body"], entry["trailer"]])


def local_key(algorithm: Algorithm) -> LocalKey:
    return LocalKey(Seed.generate(Specifier.ANY).derive(algorithm, "test"))


def device(key: LocalKey) -> ProfileDevice:
    return ProfileDevice(profile_signature=key_data(key.public))


@pytest.mark.parametrize("entry", PROFILES, ids=lambda entry: entry["source"].rsplit("/")[-1])
def test_every_published_profile_is_signed_by_its_own_key(entry: dict[str, Any]) -> None:
    verified = open_profile(envelope(entry), Profile)
    assert type(verified.value).__name__ == entry["message_type"]
    assert fingerprint(verified.signer) == entry["signer_udf"] == profile_udf(verified.value)
    assert "ProfileSignature" in keys_of(verified.value)


@pytest.mark.parametrize("entry", CLEAR, ids=lambda entry: entry["message_type"])
def test_every_published_object_is_signed_by_the_key_it_names(entry: dict[str, Any]) -> None:
    algorithm = Algorithm.ED448
    octets = base64.urlsafe_b64decode(entry["signer_public"] + "==")
    opened = open_assertion(envelope(entry), schema.MeshObject, [PublicKey(algorithm, octets)])
    assert type(opened.value).__name__ == entry["message_type"]


@pytest.mark.parametrize("position", [0, 40, 300, -1])
def test_a_changed_octet_of_the_body_is_found(position: int) -> None:
    entry = PROFILES[0]
    body = bytearray(base64.urlsafe_b64decode(entry["body"] + "=="))
    body[position] ^= 1
    changed = Envelope.from_array([entry["header"], encode_base64url(bytes(body)), entry["trailer"]])
    with pytest.raises(IntegrityError):
        open_profile(changed, Profile)


@pytest.mark.parametrize("algorithm", [Algorithm.ED448, Algorithm.ED25519, Algorithm.P256])
def test_a_profile_of_each_suite_signs_and_verifies(algorithm: Algorithm) -> None:
    key = local_key(algorithm)
    signed = sign_assertion(device(key), key, fingerprint(key.public))
    again = Envelope.parse(signed.octets())
    assert open_profile(again, ProfileDevice).value == device(key)
    alg = again.trailer.signatures[0].alg
    assert alg == ("S512H" if algorithm is Algorithm.P256 else "S512")


@pytest.mark.parametrize("algorithm", [Algorithm.ED448, Algorithm.P256])
def test_a_profile_signed_by_another_key_is_refused(algorithm: Algorithm) -> None:
    owner, other = local_key(algorithm), local_key(algorithm)
    forged = sign_assertion(device(owner), other, fingerprint(owner.public))
    with pytest.raises(SignatureInvalid, match="not signed by its own key"):
        open_profile(forged, ProfileDevice)


def test_an_unsigned_profile_is_refused() -> None:
    entry = PROFILES[0]
    bare = Envelope.from_array([entry["header"], entry["body"]])
    with pytest.raises(SignatureInvalid):
        open_profile(bare, Profile)


def test_a_class_tag_that_lies_is_refused() -> None:
    key = local_key(Algorithm.ED448)
    signed = sign_assertion(device(key), key, "name")
    with pytest.raises(FormatError, match="'ProfileDevice', not a ProfileUser"):
        open_profile(signed, ProfileUser)
    content = json.loads(base64.urlsafe_b64decode(str(signed.members["ContentMetaData"]) + "=="))
    content["MessageType"] = "ProfileUser"
    lying = dict(signed.members) | {"ContentMetaData": encode_base64url(json.dumps(content).encode())}
    with pytest.raises(IntegrityError, match="says that it holds a 'ProfileUser'"):
        open_profile(Envelope(lying, signed.body, signed.trailer_members), ProfileDevice)


def test_a_key_under_a_wrong_udf_is_refused() -> None:
    key, other = local_key(Algorithm.ED448), local_key(Algorithm.ED448)
    lying = KeyData(udf=fingerprint(other.public), public_parameters=key_data(key.public).public_parameters)
    signed = sign_assertion(ProfileDevice(profile_signature=lying), key, "name")
    with pytest.raises(IntegrityError, match="not the fingerprint"):
        open_profile(signed, ProfileDevice)


def test_a_connection_travels_in_json_b() -> None:
    admin = local_key(Algorithm.ED25519)
    connection = ConnectionService(
        profile_udf="MAAA", authentication=key_data(local_key(Algorithm.X25519).public)
    )
    signed = sign_assertion(connection, admin, "name", binary=True)
    assert b"ConnectionService" in signed.body
    assert signed.body[0] == ord("{")
    assert open_assertion(signed, ConnectionService, [admin.public]).value == connection
    with pytest.raises(SignatureInvalid):
        open_assertion(signed, ConnectionService, [local_key(Algorithm.ED25519).public])


@pytest.mark.parametrize("cut", range(0, 900, 90))
def test_a_truncated_profile_is_an_error_of_ours(cut: int) -> None:
    key = local_key(Algorithm.ED448)
    octets = sign_assertion(device(key), key, "name").octets()
    with pytest.raises(MeshError):
        open_profile(Envelope.parse(octets[: min(cut, len(octets) - 1)]), ProfileDevice)
