"""CBOR: figures of RFC 8949 appendix A, what CTAP forbids, and any octets at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshhw.errors import FormatError
from meshhw.keystore import cbor

FIGURES = {
    "00": 0,
    "17": 23,
    "1818": 24,
    "1903e8": 1000,
    "1a000f4240": 1_000_000,
    "1b000000e8d4a51000": 1_000_000_000_000,
    "20": -1,
    "3863": -100,
    "3903e7": -1000,
    "f4": False,
    "f5": True,
    "4401020304": b"\1\2\3\4",
    "6449455446": "IETF",
    "83010203": [1, 2, 3],
    "a201020304": {1: 2, 3: 4},
    "a26161016162820203": {"a": 1, "b": [2, 3]},
}
REFUSED = {
    "": "cut short",
    "1800": "longer than",
    "190017": "longer than",
    "1a0000ffff": "longer than",
    "5f42010243030405ff": "indefinite",
    "fb3ff199999999999a": "not allowed",
    "f6": "not allowed",
    "c074": "not allowed",
    "4401": "cut short",
    "9affffffff": "cut short",
    "baffffffff": "cut short",
    "62c328": "UTF-8",
    "a203040102": "order",
    "a201020102": "order",
    "a1800102": "order",
    "0001": "octets follow",
    "81" * 9 + "00": "deeply",
}
VALUES = st.recursive(
    st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.binary() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.integers(-99, 99) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=10,
)


@pytest.mark.parametrize(("octets", "value"), FIGURES.items())
def test_the_figures_of_the_standard(octets: str, value: object) -> None:
    assert cbor.encode(value) == bytes.fromhex(octets)
    assert cbor.decode(bytes.fromhex(octets)) == value


@pytest.mark.parametrize(("octets", "reason"), REFUSED.items())
def test_what_ctap_does_not_allow(octets: str, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        cbor.decode(bytes.fromhex(octets))


@given(VALUES)
def test_what_is_written_is_read(value: object) -> None:
    encoded = cbor.encode(value)
    try:
        assert cbor.decode(encoded) == value
    except FormatError as error:
        assert "deeply" in error.message  # noqa: PT017  # the one reason that may be


@given(st.binary(max_size=100))
def test_any_octets_are_a_value_in_its_only_form_or_an_error(data: bytes) -> None:
    try:
        value = cbor.decode(data)
    except FormatError:
        return
    assert cbor.encode(value) == data


def test_what_has_no_place_is_refused() -> None:
    for value in (1.5, None, 1 << 64, -(1 << 64) - 1):
        with pytest.raises(TypeError):
            cbor.encode(value)
