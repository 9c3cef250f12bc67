"""Keys in the Mesh's JSON and in PEM: the published ones, round trips, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x448, x25519

from meshhw.algorithms import Algorithm, PrivateKey, SecretForm
from meshhw.dare.keyfile import read_private, read_public, write_public
from meshhw.dare.keys import (
    SeedKey,
    private_from_jose,
    private_to_jose,
    public_from_jose,
    public_to_jose,
)
from meshhw.dare.local import LocalKey
from meshhw.errors import FormatError, MeshError
from meshhw.jsonbcd import encode_base64url, to_json
from meshhw.pubkeys import from_cryptography
from meshhw.udf import fingerprint

VECTORS = Path(__file__).parents[1] / "vectors"


def load(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text())


@pytest.mark.parametrize("vector", load("dare_kid"), ids=lambda v: v["udf"][:9])
def test_published_key_names(vector: dict[str, Any]) -> None:
    assert fingerprint(public_from_jose(vector["key"])) == vector["udf"]


@pytest.mark.parametrize("vector", load("crypto_jose_private"), ids=lambda v: v["id"])
def test_published_private_keys(vector: dict[str, Any]) -> None:
    private = private_from_jose(
        {
            "PrivateKeyECDH": {
                "crv": vector["priv_crv"],
                "Private": encode_base64url(bytes.fromhex(vector["private_hex"])),
            }
        }
    )
    assert isinstance(private, PrivateKey)
    public = LocalKey(private).public
    assert public.octets.hex() == vector["public_hex"]
    assert fingerprint(public) == vector["udf"]


@pytest.mark.parametrize("vector", load("crypto_jose_direct_scalar"), ids=lambda v: v["id"])
def test_published_scalars(vector: dict[str, Any]) -> None:
    tagged = {
        "PrivateKeyECDH": {
            "crv": vector["crv"],
            "Private": encode_base64url(bytes.fromhex(vector["private_hex"])),
        }
    }
    private = private_from_jose(tagged)
    assert isinstance(private, PrivateKey)
    assert private.form is SecretForm.SCALAR
    assert LocalKey(private).public.octets.hex() == vector["public_extended_if_raw_scalar"]
    assert json.loads(to_json(private_to_jose(private))) == tagged


PRIVATE_KEYS = [
    ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32))),
    ed448.Ed448PrivateKey.from_private_bytes(bytes(range(57))),
    x25519.X25519PrivateKey.from_private_bytes(bytes(range(32))),
    x448.X448PrivateKey.from_private_bytes(bytes(range(56))),
    ec.derive_private_key(5, ec.SECP256R1()),
    ec.derive_private_key(5, ec.SECP384R1()),
]


@pytest.mark.parametrize("key", PRIVATE_KEYS, ids=lambda k: type(k).__name__)
def test_pem_and_json_name_the_same_key(key: Any) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    private = read_private(pem)
    assert isinstance(private, PrivateKey)
    public = LocalKey(private).public
    plain = from_cryptography(key.public_key())
    assert public.u == plain.u
    assert read_public(write_public(plain)) == plain
    assert read_public(to_json(public_to_jose(public))) == public
    assert read_private(to_json(private_to_jose(private))) == private


def test_rfc_5915_keys_are_read() -> None:
    key = ec.derive_private_key(5, ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    private = read_private(pem)
    assert isinstance(private, PrivateKey)
    assert private.octets == (5).to_bytes(32, "big")


def test_rsa_public_keys() -> None:
    public = from_cryptography(rsa.generate_private_key(65537, 2048).public_key())
    assert public_from_jose(json.loads(to_json(public_to_jose(public)))) == public
    assert read_public(write_public(public)) == public


def test_the_sign_octet_may_be_there_or_not() -> None:
    u448 = bytes([9]) + bytes(55)
    for octets in (u448, u448 + b"\0"):
        tagged = {"PublicKeyECDH": {"crv": "X448", "Public": encode_base64url(octets)}}
        assert public_from_jose(tagged).octets == u448 + b"\0"
    u255 = bytes([9]) + bytes(31)
    for octets in (u255, u255 + b"\x80"):
        tagged = {"PublicKeyECDH": {"crv": "X25519", "Public": encode_base64url(octets)}}
        assert public_from_jose(tagged).octets == u255


def test_a_seed_names_its_algorithms() -> None:
    value = {
        "PrivateKeyUDF": {
            "PrivateValue": "ZAAQ-AHCC-Z2FH-Q5JP-DPJB-PUFM-3DA5",
            "KeyType": "MeshProfileDevice",
            "AlgorithmSign": "Ed25519",
        }
    }
    seed = private_from_jose(value)
    assert isinstance(seed, SeedKey)
    assert seed.key_type == "MeshProfileDevice"
    assert seed.sign is Algorithm.ED25519
    assert seed.encrypt is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"PublicKeyECDH":{}}',
        '{"PublicKeyECDH":{"crv":"X25519"}}',
        '{"PublicKeyECDH":{"crv":"X25519","Public":"AAAA"}}',
        '{"PublicKeyECDH":{"crv":"X25519z","Public":"' + "A" * 43 + '"}}',
        '{"PublicKeyECDH":{"crv":"secp256k1","Public":"AAAA"}}',
        '{"PublicKeyECDH":{"crv":1,"Public":"AAAA"}}',
        '{"PublicKeyECDH":[]}',
        '{"PublicKeyRSA":{"n":"AAAA","e":"AQAB"}}',
        '{"PrivateKeyECDH":{"crv":"X25519","Private":"AAAA"}}',
        '{"a":1,"b":2}',
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    ],
)
def test_broken_key_files(text: str) -> None:
    for read in (read_public, read_private):
        with pytest.raises(MeshError):
            read(text.encode())


def test_an_encrypted_pem_is_refused_by_name() -> None:
    pem = PRIVATE_KEYS[0].private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    with pytest.raises(FormatError, match="encrypted"):
        read_private(pem)


def test_private_keys_are_not_shown() -> None:
    private = PrivateKey(Algorithm.X25519, b"\x42" * 32)
    assert "42" not in repr(private)
    assert "B" * 8 not in repr(LocalKey(private))
