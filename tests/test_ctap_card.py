"""The virtual FIDO2 card without a reader: any octets get an answer, and never a traceback."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshhw.keystore import cbor
from meshhw.lab.ctap.card import AID, CtapCard

SELECT = bytes([0, 0xA4, 4, 0, len(AID)]) + AID
CARD = CtapCard()
PARTS = st.recursive(
    st.booleans() | st.integers(-300, 300) | st.binary(max_size=40) | st.sampled_from(["id", "public-key"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.integers(-3, 10) | st.sampled_from(["id", "type", "alg", "rk", "up", "hmac-secret"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


def ask(message: bytes) -> int:
    """The status of the card's answer to a CTAP message."""
    assert CARD.transmit(SELECT)[-2:] == b"\x90\x00"
    extended = bytes([0x80, 0x10, 0, 0, 0]) + len(message).to_bytes(2, "big") + message
    answer = CARD.transmit(extended)
    assert answer[-2:] == b"\x90\x00"
    return answer[0]


@given(st.binary(max_size=60))
def test_any_apdu_is_answered(octets: bytes) -> None:
    CARD.transmit(SELECT)
    assert len(CARD.transmit(octets)) >= 2


@given(st.integers(0, 255), st.binary(max_size=60))
def test_any_message_has_a_status(command: int, body: bytes) -> None:
    assert 0 <= ask(bytes([command]) + body) < 0x80


@given(st.sampled_from([1, 2, 6, 0x0A]), st.dictionaries(st.integers(1, 10), PARTS, max_size=8))
def test_parameters_of_any_type_have_a_status(command: int, parameters: dict[int, object]) -> None:
    assert 0 <= ask(bytes([command]) + cbor.encode(parameters)) < 0x80


def test_without_a_selection_nothing_is_answered() -> None:
    card = CtapCard()
    assert card.transmit(bytes([0x80, 0x10, 0, 0, 1, 4])) == b"\x6d\x00"
    assert card.transmit(bytes([0, 0xA4, 4, 0, 2, 1, 2])) == b"\x6a\x82"
