"""A key is found by its kid whatever sign its token tells."""

from __future__ import annotations

from meshhw.algorithms import Algorithm, PublicKey
from meshhw.dare.naming import is_named
from meshhw.privkeys import public_key_of
from meshhw.udf import Seed, Specifier, fingerprint


def test_either_sign_of_an_x448_key_is_that_key_and_no_other_is() -> None:
    true = public_key_of(Seed.generate(Specifier.ANY).derive(Algorithm.X448, "a"))
    told = PublicKey(true.algorithm, true.u + bytes([true.octets[-1] ^ 0x80]))
    other = public_key_of(Seed.generate(Specifier.ANY).derive(Algorithm.X448, "b"))
    assert is_named(told, fingerprint(true))
    assert is_named(true, fingerprint(true) + "@example.com")
    assert not is_named(other, fingerprint(true))


def test_the_sign_of_a_signature_key_is_part_of_its_name() -> None:
    key = public_key_of(Seed.generate(Specifier.ANY).derive(Algorithm.ED448, "a"))
    turned = PublicKey(key.algorithm, key.octets[:-1] + bytes([key.octets[-1] ^ 0x80]))
    assert not is_named(turned, fingerprint(key))
