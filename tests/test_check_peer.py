"""Peers that must be refused before a token sees them, and those that must not."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, x448, x25519

from meshhw.algorithms import Algorithm, PublicKey
from meshhw.errors import InvalidPublicKey, NotSupported
from meshhw.keystore.peer import checked_peer
from meshhw.pubkeys import from_cryptography

# The u-coordinates of small order on Curve25519 and its twist (RFC 7748 section 7; https://cr.yp.to/ecdh.html).
SMALL_25519 = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    2**255 - 20,
]
P448 = 2**448 - 2**224 - 1


@pytest.mark.parametrize("u", SMALL_25519)
def test_small_order_of_curve25519_is_refused(u: int) -> None:
    with pytest.raises(InvalidPublicKey):
        checked_peer(Algorithm.X25519, PublicKey(Algorithm.X25519, u.to_bytes(32, "little")))


@pytest.mark.parametrize("u", [0, 1, P448 - 1, P448, P448 + 1])
def test_small_order_and_non_canonical_of_curve448_are_refused(u: int) -> None:
    with pytest.raises(InvalidPublicKey):
        checked_peer(Algorithm.X448, PublicKey(Algorithm.X448, u.to_bytes(56, "little") + b"\0"))


def test_the_twist_is_refused() -> None:
    # u = 2: 8 + 4A + 2 is no square modulo 2^255 - 19.
    with pytest.raises(InvalidPublicKey):
        checked_peer(Algorithm.X25519, PublicKey(Algorithm.X25519, (2).to_bytes(32, "little")))


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
def test_a_point_off_a_nist_curve_is_refused(curve: ec.EllipticCurve) -> None:
    good = from_cryptography(ec.generate_private_key(curve).public_key())
    assert checked_peer(good.algorithm, good) is good
    bad = PublicKey(good.algorithm, good.octets[:-1] + bytes([good.octets[-1] ^ 1]))
    with pytest.raises(InvalidPublicKey):
        checked_peer(good.algorithm, bad)


def test_honest_keys_pass() -> None:
    for _ in range(20):
        for key in (x25519.X25519PrivateKey.generate(), x448.X448PrivateKey.generate()):
            public = from_cryptography(key.public_key())
            assert checked_peer(public.algorithm, public) is public


def test_another_algorithm_is_refused() -> None:
    public = from_cryptography(x25519.X25519PrivateKey.generate().public_key())
    with pytest.raises(NotSupported):
        checked_peer(Algorithm.X448, public)
