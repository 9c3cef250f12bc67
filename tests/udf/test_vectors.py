"""The published UDFs: digests, data kinds, fingerprints of both eras, content identifiers."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from meshhw.algorithms import Algorithm, PublicKey
from meshhw.udf.digest import authenticator, compression_level, content_digest, content_digest_octets
from meshhw.udf.form import UDF, Kind
from meshhw.udf.key import Era, fingerprint, key_info, oid_name
from meshhw.udf.locator import content_id

FOLDER = Path(__file__).parents[1] / "vectors"


def load(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


def unbase64(text: str) -> bytes:
    joined = "".join(text.split())
    return base64.urlsafe_b64decode(joined + "=" * (-len(joined) % 4))


UDFS = load("crypto_udf")
DIGESTS = {"sha2": Kind.DIGEST_SHA2, "sha3": Kind.DIGEST_SHA3}
FINGERPRINTS = [v for v in load("crypto_key_fingerprints") if v["status"].startswith("REPRODUCED")]
DERS = [entry for entry in UDFS if "public" in entry]


def having(*names: str) -> list[dict[str, Any]]:
    return [entry for entry in UDFS if set(names) <= set(entry)]


def ids(entry: dict[str, Any]) -> str:
    return str(entry["id"])


@pytest.mark.parametrize("vector", having("cdv", "tcdv"), ids=ids)
def test_content_digests(vector: dict[str, Any]) -> None:
    kind = DIGESTS[vector["digest"]]
    data, content_type = vector["data"].encode(), vector["content_type"]
    octets = content_digest_octets(data, content_type, kind=kind)
    assert octets[1:].hex() == vector["tcdv"]
    assert octets.hex().startswith(vector["bds_prefixed"][:128])
    assert content_digest(data, content_type, kind=kind) == vector["udf_140"]


@pytest.mark.parametrize("vector", having("precision_bits"), ids=ids)
def test_precisions(vector: dict[str, Any]) -> None:
    digest = content_digest(
        vector["data"].encode(), vector["content_type"], bits=int(vector["precision_bits"])
    )
    assert digest == vector["udf"]


@pytest.mark.parametrize("vector", having("type_id", "data"), ids=ids)
def test_data_kinds(vector: dict[str, Any]) -> None:
    udf = UDF.parse(vector["udf"])
    assert (udf.octets[0], udf.data.hex()) == (vector["type_id"], vector["data"])


@pytest.mark.parametrize("vector", having("correct_udf"), ids=ids)
def test_symmetric_keys_have_a_type_octet(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector.get("secret") or vector["data"])
    assert UDF.make(Kind.SYMMETRIC, data).text == vector["correct_udf"]


@pytest.mark.parametrize("vector", DERS, ids=lambda v: f"{v['id']} {v['udf'][:9]}")
def test_ed25519_names(vector: dict[str, Any]) -> None:
    public = PublicKey(Algorithm.ED25519, bytes.fromhex(vector["public"]))
    if "der" in vector:
        assert key_info(public).hex() == vector["der"]
        assert oid_name(public) == vector["udf"]
    else:
        assert fingerprint(public, era=Era(vector["content_type"])) == vector["udf"]


@pytest.mark.parametrize("vector", having("earl_udf"), ids=ids)
def test_content_identifiers(vector: dict[str, Any]) -> None:
    old = vector["id"] in {"earl-v08", "earl-v10"}
    assert content_id(vector["earl_udf"], old_era=old) == vector["content_id"]


@pytest.mark.parametrize("vector", FINGERPRINTS, ids=ids)
def test_published_key_fingerprints(vector: dict[str, Any]) -> None:
    public = PublicKey(Algorithm.parse(vector["crv"]), bytes.fromhex(vector["public"]))
    assert fingerprint(public, era=Era(vector["content_type"])) == vector["udf"]


@pytest.mark.parametrize("vector", load("schema_key_udf")["keys"], ids=lambda v: str(v["udf"]))
def test_schema_key_fingerprints(vector: dict[str, Any]) -> None:
    public = PublicKey(Algorithm.parse(vector["crv"]), unbase64(vector["public"]))
    assert fingerprint(public) == vector["udf"]


def test_nist_and_rsa_keys_use_the_ordinary_structure() -> None:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    from meshhw.pubkeys import from_cryptography

    for key in (
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(65537, 2048),
    ):
        public = key.public_key()
        info = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        name = fingerprint(from_cryptography(public))
        assert name == content_digest(info, "PKIXKey")
        assert UDF.parse(name).kind is Kind.DIGEST_SHA2


@pytest.mark.parametrize(
    ("zeros", "level"), [(0, 0), (19, 0), (20, 1), (30, 2), (39, 2), (40, 3), (50, 4), (512, 4)]
)
def test_compression_counts_trailing_zero_bits(zeros: int, level: int) -> None:
    number = (1 << zeros) % (1 << 512)
    assert compression_level(number.to_bytes(64, "big")) == level


def test_authenticator_depends_on_key_type_and_content() -> None:
    first = authenticator(b"data", "text/plain", "NDD7-6CMX-H2FW-ISAL-K4VB-DQ3E-PEDM")
    assert UDF.parse(first).kind is Kind.AUTHENTICATOR
    assert (
        len(
            {first, authenticator(b"data", "text/plain", "NDD7"), authenticator(b"dat", "text/plain", "NDD7")}
        )
        == 3
    )


def test_typed_digest_of_a_stream() -> None:
    from meshhw.udf.digest import typed_digest_octets

    digest = hashlib.sha512(b"UDF Data Value").digest()
    assert typed_digest_octets(digest, "text/plain") == content_digest_octets(b"UDF Data Value", "text/plain")
