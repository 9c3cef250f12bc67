"""The reader against the published encodings, what the reference writes, and hostile octets."""

from __future__ import annotations

import io
import json
import struct
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshhw.errors import FormatError
from meshhw.jsonbcd import Kind, Limits, Reader, decode, decode_base64url, encode_base64url

SHORT_AND_LONG = pytest.mark.parametrize("run", ["short", pytest.param("long", marks=pytest.mark.fuzz)])
"""A hundred examples in every check, many in `./dev fuzz`."""
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "dare_jsonbcd.json").read_text())


def read_all(octets: bytes, **options: bool) -> list[object]:
    reader = Reader(octets, **options)
    values = []
    while not reader.at_end():
        values.append(reader.value())
    return values


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["hex"][:16])
def test_published_encodings(vector: dict[str, object]) -> None:
    expected = vector["expect"]
    if isinstance(expected, list):
        expected = [bytes.fromhex(item["$bin"]) for item in expected]
    values = read_all(bytes.fromhex(str(vector["hex"])), lenient=True)
    assert values == (expected if isinstance(expected, list) else [expected])
    assert type(values[0]) is type(expected if not isinstance(expected, list) else expected[0])


TOKENS = [
    ("a1ffff", 65535),
    ("a2ffffffff", 2**32 - 1),
    ("a4" + "ff" * 16, 2**128 - 1),
    ("ac" + "00" * 15 + "2a", -42),
    ("a7000901" + "00" * 8, 2**64),
    ("af000142", -66),
    ("a9002a", -42),
    ("ab000000000000002a", -42),
    ("b2", None),
    ("b4026964", "id"),
    ("8100020102".replace("81", "89"), b"\x01\x02"),
    ("8c02616288026364", b"abcd"),
    ("84 01 c3 80 01 a9", "é"),
    ("90 3c00", 1.0),
    ("91 c0490fdb", struct.unpack(">f", bytes.fromhex("c0490fdb"))[0]),
    ("94 3fff" + "00" * 14, 1.0),
    ("94 c000 8000" + "00" * 12, -3.0),
    ("95 3fff 8000000000000000", 1.0),
    ("95 c000 c000000000000000", -3.0),
    ("96 3280002a", Decimal(42)),
    ("97 b1c000000000002a", Decimal(-42)),
    ("98 3040" + "00" * 13 + "2a", Decimal(42)),
    ("c420 a02a c020", 42),
    ("c50100 b0 c10100", True),
    ("ca00000001 8003 616263", "abc"),
]


@pytest.mark.parametrize(("text", "expected"), TOKENS)
def test_tokens(text: str, expected: object) -> None:
    assert decode(bytes.fromhex(text)) == expected


REFUSED = [
    (b"", "too early"),
    (b"{", "too early"),
    (b"[1 2]", "separator is missing"),
    (b"[1,]", "followed by nothing"),
    (b'{"a":}', "followed by nothing"),
    (b'{"a" 1}', "separator is missing"),
    (b'{"a":1,"a":2}', "twice"),
    (b"{1:2}", "name"),
    (b"[1}", "closes nothing"),
    (b"]", "closes nothing"),
    (b"01", "value was expected"),
    (b"+1", "value was expected"),
    (b"NaN", "value was expected"),
    (b"1e999", "too large"),
    (b"truth", "value was expected"),
    (b'"\xff"', "UTF-8"),
    (b'"\\ud800"', "UTF-8"),
    (b'"\\x"', "UTF-8"),
    (b'"a\nb"', "control"),
    (b'"abc', "inside a string"),
    (b"\x80\x05ab", "octets too early"),
    (b"\x83\xff\xff\xff\xff\xff\xff\xff\xff", "longer than its limit"),
    (b"\x80\x01\xff", "UTF-8"),
    (b"\x84\x01a\x88\x01b", "further chunk"),
    (b"\x8c\x01a\xa0\x01", "further chunk"),
    (b"\xa5\x00\x01B", "undefined token"),
    (b"\xa6\x00", "undefined token"),
    (b"\xb3", "undefined token"),
    (b"\xff", "record or frame"),
    (b"\xf4\x00\xf4", "record or frame"),
    (b"\xcc\x01", "dictionaries"),
    (b"\xd0\x00\x00\x00\x00", "dictionaries"),
    (b"\xc3\x01", "undefined token"),
    (b"\xc0\x01", "not defined"),
    (b"\xc4\x01\xc0\x01", "plain value"),
    (b"\xc4\x01[\x00]", "plain value"),
    (b"\x93", "undefined number"),
    (b"\x92\x7f\xf0\x00\x00\x00\x00\x00\x00", "not finite"),
    (b"\x94\x7f\xfe" + b"\xff" * 14, "too large"),
    (b"\x96\x78\x00\x00\x00", "not finite"),
    (b"\x96\x6c\xff\xff\xff", "too many digits"),
    (b"1 1", "follows the end"),
]


@pytest.mark.parametrize(("octets", "reason"), REFUSED)
def test_refused_with_position_and_reason(octets: bytes, reason: str) -> None:
    with pytest.raises(FormatError, match=reason) as caught:
        decode(octets)
    assert caught.value.position is not None
    assert 0 <= caught.value.position <= len(octets)


def test_the_references_wrapped_text_is_read_leniently_only() -> None:
    wrapped = b'{\n  "Salt": "AAEC\n  AwQF",\n  "n": "YQ=="}'
    value = decode(wrapped, lenient=True)
    assert isinstance(value, dict)
    assert decode_base64url(value["Salt"], lenient=True) == bytes(range(6))
    with pytest.raises(FormatError, match="control"):
        decode(wrapped)


def test_separators_are_optional_next_to_binary_tokens() -> None:
    expected = {"a": [1, {"b": b"x"}, 2], "c": "d"}
    spelled = [
        b'{"a":[1,{"b":\x88\x01x},2],"c":"d"}',
        b"{\xb4\x01a[\xa0\x01{\xb4\x01b\x88\x01x}\xa0\x02]\xb4\x01c\x80\x01d}",
        b"{\xb4\x01a:[\xa0\x01,{\xb4\x01b:\x88\x01x},\xa0\x02],\xb4\x01c:\x80\x01d}",
    ]
    for octets in spelled:
        assert decode(octets) == expected


def test_limits_hold() -> None:
    for octets, limits, reason in [
        (b"[" * 65, Limits(), "deeper"),
        (b'{"a":' * 65, Limits(), "deeper"),
        (b"\xa7\x00\x65" + b"a" * 101, Limits(token=100), "longer"),
        (b"[" + b"[],", Limits(items=1), "more values"),
        (b'"' + b"a" * 200 + b'"', Limits(token=100), "longer"),
        (b"\x8c\x40" + b"a" * 64 + b"\x88\x40", Limits(token=100), "longer"),
        (b"[" + b" " * 200 + b"]", Limits(total=100), "larger"),
        (b"1" * 2000, Limits(), "longer"),
        (
            b"[" + b"".join(b"\xc4" + bytes([i]) + b"\xa0\x00" for i in range(9)),
            Limits(codes=8),
            "more codes",
        ),
        (b"[\xc8\x01\x88\x40" + b"a" * 64 + b"\xc0\x01" * 9, Limits(total=200), "larger"),
    ]:
        with pytest.raises(FormatError, match=reason):
            decode(octets, limits)


def test_a_body_of_any_length_streams() -> None:
    chunk = b"\x8e\x00\x10\x00\x00" + bytes(1 << 20)
    stream = io.BytesIO(b'[{"n":1},' + chunk * 20 + b"\x88\x03abc" + b",{}]")
    reader = Reader(stream, Limits(token=4096, total=4096))
    reader.expect(Kind.ARRAY)
    assert reader.value() == {"n": 1}
    sizes = [len(piece) for piece in reader.chunks()]
    assert sum(sizes) == 20 * (1 << 20) + 3
    assert max(sizes) <= 1 << 20
    assert not reader.closes()
    assert reader.value() == {}
    assert reader.closes()
    reader.expect(Kind.ARRAY_END)
    reader.end()


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"\x88\x05abc", "too early"),
        (b"\x8c\x03abc", "too early"),
        (b"\x8c\x03abc\x88\x02a", "too early"),
        (b"\x8c\x03abc\x80\x01x", "chunk of a binary"),
        (b"\x8c\x03abc\x84\x01x", "chunk of a binary"),
        (b"\x8c\x03abc\xa0\x01", "chunk of a binary"),
        (b"\x80\x01x", "a binary was expected"),
    ],
)
def test_a_streamed_binary_is_refused_where_it_breaks_off(octets: bytes, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        b"".join(Reader(octets).chunks())


@settings(deadline=None, max_examples=40)
@given(st.binary(max_size=300), st.integers(1, 80), st.sampled_from(["\n  ", "\\n", "\r\n"]))
def test_base64url_streams_across_wraps(data: bytes, width: int, wrap: str) -> None:
    text = encode_base64url(data)
    wrapped = wrap.join(text[i : i + width] for i in range(0, len(text), width))
    reader = Reader(f'["{wrapped}"]'.encode(), lenient=True)
    reader.expect(Kind.ARRAY)
    assert b"".join(reader.chunks()) == data
    assert reader.closes()


@pytest.mark.parametrize("text", ['"A"', '"AB"', '"AA=="', '"A A"', '"A+AA"', '"AA\\nAA"', '"AA', "1"])
def test_streamed_base64url_is_strict(text: str) -> None:
    with pytest.raises(FormatError):
        b"".join(Reader(text.encode()).chunks())


def assert_read_or_refused(octets: bytes, *, lenient: bool) -> None:
    """Nothing but a value or a FormatError with a position inside the octets."""
    refusal = None
    try:
        read_all(octets, lenient=lenient)
    except FormatError as error:
        refusal = error
    assert refusal is None or (refusal.position is not None and refusal.position <= len(octets))


@SHORT_AND_LONG
@given(octets=st.binary(max_size=200), lenient=st.booleans())
def test_any_octets_are_read_or_refused(run: str, octets: bytes, lenient: bool) -> None:
    assert_read_or_refused(octets, lenient=lenient)


TOKEN_OCTETS = st.sampled_from(
    [bytes([tag]) for tag in range(0x80, 0x100)] + [b"[", b"{", b"]", b"}", b",", b":"]
)


@SHORT_AND_LONG
@given(octets=st.lists(st.one_of(TOKEN_OCTETS, st.binary(max_size=3)), max_size=30).map(b"".join))
def test_any_tokens_are_read_or_refused(run: str, octets: bytes) -> None:
    assert_read_or_refused(octets, lenient=True)
