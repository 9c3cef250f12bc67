"""Points that must meet no secret scalar: off the curve, on the twist, of small or mixed order."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x448 import X448PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from meshhw.curves.check import decode_checked, has_prime_order, is_valid_peer
from meshhw.curves.edwards import ED448, ED25519
from meshhw.curves.maps import curve25519_from_edwards
from meshhw.curves.montgomery import CURVE448, CURVE25519
from meshhw.curves.multiply import base_multiple
from meshhw.curves.named import curve_named
from meshhw.curves.point import Point
from meshhw.curves.weierstrass import P256, P384, WeierstrassCurve
from meshhw.errors import InvalidPublicKey

# All u of order dividing eight and their non-canonical twins (the list of libsodium's curve25519 code).
SMALL_ORDER_25519 = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    CURVE25519.p - 1,
    CURVE25519.p,
    CURVE25519.p + 1,
]


def order_eight() -> Point:
    return ED25519.decode(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"))


@pytest.mark.parametrize("u", SMALL_ORDER_25519)
def test_small_order_u_of_x25519(u: int) -> None:
    assert not is_valid_peer("X25519", u.to_bytes(32, "little"))


@pytest.mark.parametrize("u", [0, 1, CURVE448.p - 1, CURVE448.p, CURVE448.p + 1])
def test_small_order_u_of_x448(u: int) -> None:
    assert not is_valid_peer("X448", u.to_bytes(56, "little"))


def test_mixed_order_on_curve25519_and_edwards25519() -> None:
    mixed = ED25519.base + order_eight()
    assert not has_prime_order(mixed)
    assert not has_prime_order(curve25519_from_edwards(mixed))
    assert not is_valid_peer("X25519", curve25519_from_edwards(mixed).x_octets())


def test_mixed_order_on_curve448_and_edwards448() -> None:
    torsion = Point(CURVE448, 0, 0)
    mixed = base_multiple(CURVE448, 99) + torsion
    assert CURVE448.contains(mixed.x, mixed.y)
    assert not has_prime_order(mixed)
    assert not has_prime_order(ED448.base + Point(ED448, 1, 0))
    assert not has_prime_order(Point(ED448, 0, ED448.p - 1))


def test_order_four_is_found_by_doubling_twice() -> None:
    four = CURVE448.lift(CURVE448.p - 1)
    assert (four + four) == Point(CURVE448, 0, 0)
    assert not has_prime_order(four)


@pytest.mark.parametrize("name", ["X25519", "X448"])
def test_twist(name: str) -> None:
    curve = curve_named(name)
    twisted = [u for u in range(2, 40) if not is_valid_peer(name, u.to_bytes(curve.size, "little"))]
    assert len(twisted) >= 10
    with pytest.raises(InvalidPublicKey):
        decode_checked(curve, twisted[0].to_bytes(curve.size, "little"))


@pytest.mark.parametrize("curve", [P256, P384], ids=str)
def test_off_the_curve(curve: WeierstrassCurve) -> None:
    good = curve.base.encode()
    assert is_valid_peer(curve.name, good)
    assert not is_valid_peer(curve.name, good[:-1] + bytes([good[-1] ^ 1]))
    assert not is_valid_peer(curve.name, b"\x00")
    assert not is_valid_peer(curve.name, b"\x04" + b"\xff" * (2 * curve.size))
    assert is_valid_peer(curve.name, curve.encode_compressed(curve.base))


def test_extended_form_must_be_canonical() -> None:
    octets = base_multiple(CURVE25519, 5).encode()
    assert is_valid_peer("X25519", octets)
    assert not is_valid_peer("X25519", octets[:-1] + b"\x01")
    assert not is_valid_peer("X25519", octets + b"\x00")


def test_minus_zero_is_refused_on_edwards_curves() -> None:
    for curve in (ED25519, ED448):
        minus_zero = bytearray(curve.identity.encode())
        minus_zero[-1] |= 0x80
        with pytest.raises(InvalidPublicKey):
            curve.decode(bytes(minus_zero))


def test_keys_of_the_library_pass() -> None:
    for _ in range(5):
        assert is_valid_peer("X25519", X25519PrivateKey.generate().public_key().public_bytes_raw())
        assert is_valid_peer("X448", X448PrivateKey.generate().public_key().public_bytes_raw())
