"""What the writers write is read back, and is what other readers read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshhw.errors import FormatError, UsageError
from meshhw.jsonbcd import (
    binary_head,
    canonical,
    decode,
    decode_base64url,
    encode_base64url,
    to_json,
    to_jsonb,
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
WIDE = st.integers(-(2**64) + 1, 2**64 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def documents(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
        max_leaves=20,
    )


JSON_VALUES = documents(st.none() | st.booleans() | WIDE | FLOATS | TEXT)
JSONB_VALUES = documents(st.none() | st.booleans() | WIDE | FLOATS | TEXT | st.binary(max_size=300))
HEADERS = documents(st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT)


@settings(deadline=None, max_examples=100)
@given(JSON_VALUES)
def test_json_round_trip(value: Any) -> None:
    octets = to_json(value)
    assert decode(octets) == value
    assert json.loads(octets) == value


@settings(deadline=None, max_examples=100)
@given(JSONB_VALUES)
def test_jsonb_round_trip(value: Any) -> None:
    assert decode(to_jsonb(value)) == value


@settings(deadline=None, max_examples=100)
@given(HEADERS)
def test_canonical_is_one_spelling_of_the_value(value: Any) -> None:
    octets = canonical(value)
    assert decode(octets) == value
    assert canonical(decode(octets)) == octets


def test_canonical_form_of_rfc_8785() -> None:
    """The string and ordering samples of RFC 8785 sections 3.2.2.2 and 3.2.3."""
    assert (
        canonical({"s": '\u20ac$\u000f\nA\'B"\\\\"/'}) == '{"s":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'.encode()
    )
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    ordered = list(json.loads(canonical(dict.fromkeys(names))))
    assert ordered == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert canonical({"b": b"\xfb\xff", "a": [1, True, None]}) == b'{"a":[1,true,null],"b":"-_8"}'


@pytest.mark.parametrize("value", [1.5, 2**53, -(2**53), "\ud800", {"\ud800": 1}, {"a": {1, 2}}])
def test_canonical_refuses(value: Any) -> None:
    with pytest.raises(FormatError):
        canonical(value)


def test_canonical_refuses_depth() -> None:
    deep: Any = 0
    for _ in range(70):
        deep = [deep]
    with pytest.raises(FormatError, match="deep"):
        canonical(deep)


@pytest.mark.parametrize("value", [float("nan"), 2**64, object(), "\ud800"])
def test_jsonb_refuses(value: Any) -> None:
    with pytest.raises(UsageError):
        to_jsonb(value)


@pytest.mark.parametrize("value", [float("inf"), object(), "\ud800"])
def test_json_refuses(value: Any) -> None:
    with pytest.raises(UsageError):
        to_json(value)


@pytest.mark.parametrize(
    ("length", "head"),
    [(0, "8800"), (255, "88ff"), (256, "890100"), (65536, "8a00010000"), (2**32, "8b0000000100000000")],
)
def test_lengths_are_the_shortest(length: int, head: str) -> None:
    assert binary_head(length).hex() == head
    assert binary_head(length, final=False)[0] == binary_head(length)[0] + 4


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=100))
def test_base64url_round_trip(octets: bytes) -> None:
    assert decode_base64url(encode_base64url(octets)) == octets


@pytest.mark.parametrize("text", ["A", "AB", "AAB", "AA==", "A+AA", "AA AA", "é", "AAAAA"])
def test_base64url_refuses(text: str) -> None:
    with pytest.raises(FormatError):
        decode_base64url(text)


def test_base64url_takes_older_spellings_when_told() -> None:
    assert decode_base64url("AAE\n  C\r\n", lenient=True) == bytes(range(3))
    assert decode_base64url("AB==", lenient=True) == b"\0"


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
def test_the_quick_way_to_canonical_json_is_no_other_way(value: Any) -> None:
    """Against the standard library: every name in order of UTF-16, no octet that need not be there."""

    def ordered(inner: Any) -> Any:
        if isinstance(inner, dict):
            names = sorted(inner, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
            return {name: ordered(inner[name]) for name in names}
        return [ordered(item) for item in inner] if isinstance(inner, list) else inner

    text = json.dumps(ordered(value), ensure_ascii=False, separators=(",", ":"))
    assert canonical(value) == text.encode()
