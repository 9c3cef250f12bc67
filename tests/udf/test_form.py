"""Presentation, parsing and comparison of UDFs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshhw.errors import InvalidName
from meshhw.udf.form import UDF, Kind, present, same_name

NAME = "MDDK-7N6A-727A-JZNO-STRX-XKS7-DJAF"


@pytest.mark.parametrize("text", [NAME, NAME.lower(), NAME.replace("-", ""), NAME.replace("-", " ")])
def test_presentations_of_one_name(text: str) -> None:
    udf = UDF.parse(text)
    assert str(udf) == NAME
    assert udf.kind is Kind.DIGEST_SHA2
    assert udf.compression == 0
    assert udf.octets.hex() == "60c6afb7c0febe04e5ae94e37baa5f1a40"


@pytest.mark.parametrize(
    "text", ["", "M", "MDDK-7N6A-1", "MDDK_7N6A", "7777", "É" * 8, "mddk-ſ6a4", "ıaaa", "A" * 5000]
)
def test_what_is_not_a_udf(text: str) -> None:
    with pytest.raises(InvalidName):
        UDF.parse(text)


@given(kind=st.sampled_from([k for k in Kind if not k.is_digest]), data=st.binary(min_size=2, max_size=64))
@settings(max_examples=80, deadline=None)
def test_whole_udfs_round_trip(kind: Kind, data: bytes) -> None:
    udf = UDF.make(kind, data)
    assert UDF.parse(udf.text) == udf
    assert (udf.kind, udf.data) == (kind, data)


@given(st.text(max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_text_is_parsed_stably_or_refused(text: str) -> None:
    try:
        udf = UDF.parse(text)
    except InvalidName:
        return
    assert UDF.parse(udf.text) == udf


def test_leftover_bits_make_no_second_key() -> None:
    published, same_key = "ZAAA-GTKG-ED25-5XXK-EYX", "ZAAA-GTKG-ED25-5XXK-EY2"
    assert UDF.parse(published) == UDF.parse(same_key)


def test_a_shorter_digest_is_a_prefix() -> None:
    assert same_name(NAME, NAME[:24])
    assert not same_name(NAME, NAME[:19])  # fewer than 100 bits prove nothing
    assert not same_name(NAME, "MDDK-7N6A-727A-JZNO-STRX-XKS7-DJAG")
    assert not same_name(NAME, "K" + NAME[1:])
    assert same_name("NAAA-AAAA", "naaaaaaa")


@pytest.mark.parametrize("bits", [0, -20, 15, 441, 700])
def test_precision_is_bounded(bits: int) -> None:
    with pytest.raises(InvalidName):
        present(bytes(65), bits)


@pytest.mark.parametrize("kind", [Kind.SEED, Kind.SYMMETRIC, Kind.SHARE, Kind.AUTHENTICATOR])
def test_secrets_are_not_shown(kind: Kind) -> None:
    udf = UDF.make(kind, b"secret-secret-se")
    assert udf.text not in repr(udf)
    assert repr(UDF.parse(NAME)) == f"UDF({NAME})"
