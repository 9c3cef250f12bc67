"""Token and key URIs: RFC 7512 with its examples, the other schemes, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshhw.errors import InvalidURI
from meshhw.keystore.uri import MAX_LENGTH, KeyURI, TokenURI

# RFC 7512 section 3, the examples without a PIN in them.
RFC_7512 = [
    "pkcs11:",
    "pkcs11:object=my-pubkey;type=public",
    "pkcs11:object=my-key;type=private?pin-source=file:/etc/token",
    "pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;"
    "object=my-certificate;type=cert;id=%69%95%3E%5C%F4%BD%EC%91;serial=?pin-source=file:/etc/token_pin",
    "pkcs11:object=my-sign-key;type=private?module-name=mypkcs11",
    "pkcs11:object=my-sign-key;type=private?module-path=/mnt/libmypkcs11.so.1",
    "pkcs11:token=Software%20PKCS%2311%20softtoken;manufacturer=Snake%20Oil,%20Inc.?pin-source=|/usr/lib/pinomatic",
    "pkcs11:slot-description=Sun%20Metaslot",
    "pkcs11:slot-manufacturer=Snake%20Oil,%20Inc.",
    "pkcs11:library-manufacturer=Snake%20Oil,%20Inc.;library-description=Soft%20Token%20Library;"
    "library-version=1.23",
    "pkcs11:slot-id=327",
    "pkcs11:token=My%20token%25%20created%20by%20Joe;library-version=3;id=%01%02%03%Ba%dd%Ca%fe%04%05%06",
    "pkcs11:token=A%20name%20with%20a%20substring%20%25%3B;object=my-certificate;type=cert",
    "pkcs11:token=Name%20with%20a%20small%20A%20with%20acute:%20%C3%A1;object=my-certificate;type=cert",
    "pkcs11:token=my-token;object=my-certificate;type=cert;vendor-aaa=value-a",
]


@pytest.mark.parametrize("text", RFC_7512)
def test_rfc_7512_examples_survive_a_round_trip(text: str) -> None:
    uri = KeyURI.parse(text)
    assert KeyURI.parse(str(uri)) == uri


def test_attributes_are_read_as_rfc_7512_means_them() -> None:
    uri = KeyURI.parse(RFC_7512[3])
    assert uri.get("token") == "The Software PKCS#11 Softtoken"
    assert uri.octets("id") == bytes.fromhex("69953e5cf4bdec91")
    assert uri.get("serial") == ""
    assert uri.get("pin-source") == "file:/etc/token_pin"
    assert str(uri.token).startswith("pkcs11:manufacturer=Snake%20Oil,%20Inc.;model=1.0;serial=;token=")


def test_order_does_not_matter() -> None:
    assert KeyURI.parse("pkcs11:object=a;token=b") == KeyURI.parse("pkcs11:token=b;object=a")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("pkcs11:token=a?pin-value=1234", "never holds a PIN"),
        ("pkcs11:token=a;pin-value=1234", "never holds a PIN"),
        ("software:pin=1234", "never holds a PIN"),
        ("token", "not a token URI"),
        ("ldap:token=a", "no driver serves"),
        ("pkcs11:token", "not name=value"),
        ("pkcs11:token=a;", "not name=value"),
        ("pkcs11:=a", "not name=value"),
        ("pkcs11:token=a;token=b", "stands twice"),
        ("pkcs11:token=%4", "broken percent escape"),
        ("pkcs11:token=%zz", "broken percent escape"),
        ("pkcs11:token=a b", "percent-encoded"),
        ("pkcs11:token=é", "percent-encoded"),
        ("yubikey:serial=1;colour=red", "have no colour"),
        ("pkcs11:token=" + "a" * MAX_LENGTH, "at most"),
    ],
)
def test_what_is_outside_the_grammar_is_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidURI, match=says) as caught:
        KeyURI.parse(text)
    assert "1234" not in str(caught.value)


def test_a_key_is_not_a_token() -> None:
    with pytest.raises(InvalidURI, match="names a key"):
        TokenURI.parse("yubikey:serial=1;slot=9a")


def test_a_token_names_its_keys() -> None:
    token = TokenURI.make("yubikey", serial="123")
    key = token.key(slot="9c")
    assert str(key) == "yubikey:serial=123;slot=9c"
    assert key.token == token
    assert key.attributes == {"slot": b"9c"}


def test_a_name_fits_the_token_that_has_all_of_it() -> None:
    full = TokenURI.parse("pkcs11:token=a;serial=1?module-path=/m.so")
    assert full.fits(TokenURI.parse("pkcs11:token=a"))
    assert not full.fits(TokenURI.parse("pkcs11:token=b"))


@given(st.dictionaries(st.sampled_from(["token", "serial", "object", "id", "model"]), st.binary(max_size=40)))
def test_any_octets_survive(attributes: dict[str, bytes]) -> None:
    uri = KeyURI.make("pkcs11", None, **attributes)
    again = KeyURI.parse(str(uri))
    assert again == uri
    assert {name: again.octets(name) for name in attributes} == attributes


@given(st.text(max_size=60))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    try:
        uri = KeyURI.parse("pkcs11:" + text)
    except InvalidURI:
        return
    assert KeyURI.parse(str(uri)) == uri


@pytest.mark.parametrize(
    ("whole", "brief"),
    [
        (
            "pkcs11:serial=1;token=a?module-path=/m.so&pin-source=fd:3",
            "pkcs11:serial=1;token=a?pin-source=fd:3",
        ),
        ("pkcs11:token=a;object=b;type=private;id=%01?module-path=/m.so", "pkcs11:token=a;object=b"),
        ("pkcs11:token=a;type=private;id=%01", "pkcs11:token=a;type=private;id=%01"),
        ("yubikey:serial=1;slot=9a", "yubikey:serial=1;slot=9a"),
    ],
)
def test_people_are_shown_the_part_of_a_uri_that_they_need(whole: str, brief: str) -> None:
    uri = KeyURI.parse(whole)
    assert uri.brief() == brief
    assert set(KeyURI.parse(brief).path) <= set(uri.path)
