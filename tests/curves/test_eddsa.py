"""Expanded-key signatures against the library and RFC 8032, and keys that came from no seed."""

from __future__ import annotations

import secrets

import pytest
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey, Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from meshhw.curves.eddsa import ExpandedKey, edwards_curve, expand, from_scalar, sign, verify
from meshhw.curves.edwards import ED448, ED25519, EdwardsCurve
from meshhw.errors import SignatureInvalid, UsageError

MESSAGE = b"first light"
both = pytest.mark.parametrize("curve", [ED25519, ED448], ids=str)


def library_verifies(curve: EdwardsCurve, public: bytes, signature: bytes, message: bytes) -> None:
    kind = Ed25519PublicKey if curve is ED25519 else Ed448PublicKey
    kind.from_public_bytes(public).verify(signature, message)


def test_rfc8032_ed25519_test_2() -> None:
    seed = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    assert sign(expand(ED25519, seed), b"\x72").hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


@pytest.mark.parametrize("length", [0, 1, 300])
def test_seeds_sign_as_the_library_does(length: int) -> None:
    message = secrets.token_bytes(length)
    for curve, kind in ((ED25519, Ed25519PrivateKey), (ED448, Ed448PrivateKey)):
        private = kind.generate()
        key = expand(curve, private.private_bytes_raw())
        assert key.public == private.public_key().public_bytes_raw()
        assert sign(key, message) == private.sign(message)


def test_a_derived_ed448_seed_of_56_octets() -> None:
    key = expand(ED448, bytes(range(56)))
    library_verifies(ED448, key.public, sign(key, MESSAGE), MESSAGE)


@both
def test_bare_scalars_sign_with_fresh_nonces(curve: EdwardsCurve) -> None:
    key = from_scalar(curve, secrets.randbelow(curve.order - 1) + 1)
    first, second = sign(key, MESSAGE), sign(key, MESSAGE)
    assert first != second
    for signature in (first, second):
        library_verifies(curve, key.public, signature, MESSAGE)
        verify(curve, key.public, MESSAGE, signature)


@both
def test_a_bare_scalars_nonce_is_not_made_of_what_everybody_knows(curve: EdwardsCurve) -> None:
    """Without a prefix of its own the nonce would be H(dom || message), and one signature give the key."""
    key, other = from_scalar(curve, 424242), from_scalar(curve, 424243)
    assert len(key.prefix) == curve.encoded_size
    assert key.prefix not in (other.prefix, bytes(curve.encoded_size), key.public)
    public = ExpandedKey(curve, key.scalar, b"", key.public)
    commitments = {sign(key, MESSAGE)[: curve.encoded_size] for _ in range(4)}
    assert sign(public, MESSAGE)[: curve.encoded_size] not in commitments
    assert len(commitments) == 4


@both
def test_every_damage_is_found(curve: EdwardsCurve) -> None:
    key = from_scalar(curve, 424242)
    signature = sign(key, MESSAGE)
    size = curve.encoded_size
    response = int.from_bytes(signature[size:], "little") + curve.order
    bad = [
        signature[:-1],
        signature + b"\0",
        b"",
        bytes([signature[0] ^ 1]) + signature[1:],
        signature[:size] + response.to_bytes(size, "little"),
        signature[:size] + bytes(size),
    ]
    for wrong in bad:
        with pytest.raises(SignatureInvalid):
            verify(curve, key.public, MESSAGE, wrong)
    with pytest.raises(SignatureInvalid):
        verify(curve, key.public, MESSAGE + b".", signature)
    with pytest.raises(SignatureInvalid):
        verify(curve, b"\xff" * size, MESSAGE, signature)


@both
def test_a_key_of_small_order_binds_nobody(curve: EdwardsCurve) -> None:
    size = curve.encoded_size
    anything = (1).to_bytes(size, "little") + bytes(size)  # R the neutral element, S zero
    for y in (1, 0, curve.p - 1):
        public = y.to_bytes(size, "little")
        for _ in range(24):  # of a key of order 4 it fits one message in four
            with pytest.raises(SignatureInvalid):
                verify(curve, public, secrets.token_bytes(8), anything)


def test_misuse() -> None:
    with pytest.raises(UsageError):
        expand(ED25519, bytes(33))
    with pytest.raises(UsageError):
        from_scalar(ED448, ED448.order)
    with pytest.raises(UsageError):
        edwards_curve("P-256")
    assert edwards_curve("Ed448") is ED448


def test_repr_hides_the_secrets() -> None:
    key = ExpandedKey(ED25519, 123456789, b"prefix-prefix", b"")
    assert "123456789" not in repr(key)
    assert "prefix-prefix" not in repr(key)
