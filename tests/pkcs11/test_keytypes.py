"""Both conventions for Edwards and Montgomery keys, and both for points, are read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from meshhw_pkcs11.keytypes import (
    EC_MONTGOMERY,
    EC_MONTGOMERY_KEY_PAIR_GEN,
    TolerantMapper,
    algorithm_of,
    decode_point,
    encode_point,
    form_for,
)
from pkcs11 import Attribute, KeyType, Mechanism

from meshhw.algorithms import Algorithm, PublicKey
from meshhw.errors import InvalidPublicKey

CURVES = [algorithm for algorithm in Algorithm if algorithm.public_length]


def test_the_standards_numbers() -> None:
    assert EC_MONTGOMERY == 0x41
    assert isinstance(EC_MONTGOMERY, KeyType)
    assert EC_MONTGOMERY_KEY_PAIR_GEN == 0x1056
    assert isinstance(EC_MONTGOMERY_KEY_PAIR_GEN, Mechanism)


@pytest.mark.parametrize(
    ("key_type", "params", "algorithm"),
    [
        (0x41, "06032b656e", Algorithm.X25519),
        (0x40, "06032b656e", Algorithm.X25519),
        (0x40, "130a" + b"curve25519".hex(), Algorithm.X25519),
        (0x03, "06092b06010401da470f01", Algorithm.X25519),
        (0x40, "06092b06010401da470f01", Algorithm.ED25519),
        (0x40, "06032b6571", Algorithm.ED448),
        (0x40, "130a" + b"edwards448".hex(), Algorithm.ED448),
        (0x03, "06082a8648ce3d030107", Algorithm.P256),
        (0x03, "06052b81040023", None),
    ],
)
def test_curves_by_their_attributes(key_type: int, params: str, algorithm: Algorithm | None) -> None:
    assert algorithm_of(key_type, bytes.fromhex(params)) is algorithm


@pytest.mark.parametrize("algorithm", CURVES)
@given(data=st.data())
def test_points_bare_and_as_octet_strings(algorithm: Algorithm, data: st.DataObject) -> None:
    length = algorithm.public_length or 0
    octets = data.draw(st.binary(min_size=length, max_size=length))
    if algorithm is Algorithm.X448:
        octets = octets[:-1] + b"\0"
    public = PublicKey(algorithm, octets)
    wrapped = encode_point(public)
    assert wrapped[:2] == bytes((4, len(wrapped) - 2))
    assert decode_point(algorithm, wrapped) == public
    assert decode_point(algorithm, wrapped[2:]) == public


@pytest.mark.parametrize("algorithm", CURVES)
def test_points_of_another_length_are_refused(algorithm: Algorithm) -> None:
    for octets in (b"", b"\4\1\0", bytes(200)):
        with pytest.raises(InvalidPublicKey):
            decode_point(algorithm, octets)


def test_each_key_type_has_its_form() -> None:
    assert form_for(Algorithm.X448, EC_MONTGOMERY).generator is EC_MONTGOMERY_KEY_PAIR_GEN
    assert form_for(Algorithm.X448, KeyType.EC_EDWARDS).generator is Mechanism.EC_EDWARDS_KEY_PAIR_GEN


def test_an_unknown_key_type_and_a_label_in_another_coding_are_read() -> None:
    mapper = TolerantMapper()
    assert mapper.unpack_attributes(Attribute.KEY_TYPE, (0x41).to_bytes(8, "little")) == 0x41
    assert mapper.unpack_attributes(Attribute.LABEL, b"caf\xe9") == "caf�"
