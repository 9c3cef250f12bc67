"""Locators, strong internet names, connection URIs, and the identifiers of messages and PINs."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from meshhw.algorithms import Algorithm, PublicKey
from meshhw.errors import InvalidName
from meshhw.udf.form import UDF, Kind
from meshhw.udf.locator import (
    Locator,
    connection_uri,
    earl,
    parse_connection_uri,
    split_strong_name,
    strong_name,
)
from meshhw.udf.message import (
    SaltedPin,
    claim_authenticators,
    connection_witness,
    envelope_id,
    new_pin,
    response_id,
)
from meshhw.udf.secret import nonce, symmetric_key, symmetric_key_id

FOLDER = Path(__file__).parents[1] / "vectors"
NAME = "MARP-HH6B-D2JW-WLQ6-RWPQ-2SLS-AI2V"


def load(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


def unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


MESSAGES = load("schema_messages")


@pytest.mark.parametrize(
    "vector", MESSAGES["message_ids"] + load("dare_message_ids"), ids=lambda v: str(v["message_id"])
)
def test_message_identifiers(vector: dict[str, str]) -> None:
    assert envelope_id(vector["message_id"]) == vector["envelope_id"]
    if "response_id" in vector:
        assert response_id(vector["message_id"]) == vector["response_id"]


def test_pin() -> None:
    vector = MESSAGES["pin"]
    salted = SaltedPin.of(UDF.parse(vector["pin"]), vector["action"])
    assert salted.udf.text == UDF.parse(vector["salted_pin"]).text
    assert salted.pin_id(vector["account"].upper()) == vector["pin_id"]
    nonce_, digest = unbase64(vector["client_nonce"]), unbase64(vector["payload_digest"])
    assert salted.witness(vector["account"], nonce_, digest) == unbase64(vector["pin_witness"])


def test_new_pins() -> None:
    pin = new_pin()
    assert len(pin.text.replace("-", "")) == 24
    assert SaltedPin.of(pin, "Device") != SaltedPin.of(pin, "Contact")
    with pytest.raises(InvalidName):
        SaltedPin.of(nonce(), "Device")


def test_connection_witness() -> None:
    vector = MESSAGES["connect_witness"]
    account, device = (
        PublicKey(Algorithm.parse(vector[f"{who}_profile_key"][0]), unbase64(vector[f"{who}_profile_key"][1]))
        for who in ("account", "device")
    )
    witness = connection_witness(
        account, unbase64(vector["server_nonce"]), device, unbase64(vector["client_nonce"])
    )
    assert witness == vector["witness"]


def test_earl_claim() -> None:
    vector = MESSAGES["earl_claim"]
    key = UDF.parse(vector["key"])
    assert symmetric_key_id(key) == vector["publication_id"]
    assert claim_authenticators(key, vector["claimant"]) == (
        vector["service_authenticate"],
        vector["device_authenticate"],
    )


def test_locators() -> None:
    locator = earl("Example.COM", symmetric_key())
    assert locator.domain == "example.com"
    assert Locator.parse(str(locator)) == locator
    plain = Locator.parse(f"udf:{NAME}?a=b#c")
    assert (plain.udf.text, plain.domain, plain.query, plain.fragment) == (NAME, "", "a=b", "c")
    assert str(plain) == f"udf:{NAME}?a=b#c"
    with pytest.raises(InvalidName):
        earl("example.com", UDF.parse(NAME))


@pytest.mark.parametrize(
    "uri",
    [
        f"http://example.com/{NAME}",
        f"udf://user@example.com/{NAME}",
        f"udf://example.com:80/{NAME}",
        f"udf://10.0.0.1/{NAME}",
        f"udf://[::1]/{NAME}",
        "udf://example.com/",
        "udf:",
        "udf://[/x",
    ],
)
def test_bad_locators(uri: str) -> None:
    with pytest.raises(InvalidName):
        Locator.parse(uri)


def test_a_secret_locator_is_not_shown() -> None:
    locator = earl("example.com", symmetric_key())
    assert locator.udf.text not in repr(locator)


def test_strong_names() -> None:
    published = next(v["sin"] for v in load("crypto_udf") if v["id"] == "sin-1")
    assert strong_name("alice@example.com", NAME) == published
    assert split_strong_name(published) == ("alice@example.com", UDF.parse(NAME))
    assert split_strong_name(f"alice@example.com.mm--{NAME}") == ("alice@example.com", UDF.parse(NAME))
    assert split_strong_name("alice@example.com") == ("alice@example.com", None)
    legacy = next(v["sin"] for v in load("crypto_udf") if v["id"] == "sin-2")
    assert split_strong_name(legacy)[0] == "alice@example.com"


def test_bad_strong_names() -> None:
    with pytest.raises(InvalidName):
        strong_name("alice@example.com", symmetric_key().text)
    with pytest.raises(InvalidName):
        strong_name("example.com", NAME)
    with pytest.raises(InvalidName):
        split_strong_name(f"alice@mm--{NAME}.mm--{NAME}.com")
    with pytest.raises(InvalidName):
        strong_name("alice@example.com", NAME + "-AAAA" * 10)


def test_connection_uris() -> None:
    pin = new_pin()
    uri = connection_uri("alice@example.com", pin)
    assert parse_connection_uri(uri) == ("alice@example.com", pin)
    with pytest.raises(InvalidName):
        connection_uri("alice@example.com", UDF.make(Kind.SEED, bytes(20)))
    for bad in (
        "mcu://alice@example.com",
        "http://alice@example.com/AAAA-AAAA",
        "mcu://example.com/AAAA-AAAA",
    ):
        with pytest.raises(InvalidName):
            parse_connection_uri(bad)
