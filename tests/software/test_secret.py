"""Every private form, held against `cryptography` and against the curves' own definitions."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import x448, x25519
from hypothesis import given, settings
from hypothesis import strategies as st
from meshhw_software.secret import EdwardsSecret, MontgomerySecret, NistSecret, RsaSecret, generate, load

from meshhw.algorithms import Algorithm, PrivateKey, PublicKey, SecretForm
from meshhw.conformance.independent import Partner, check_low_s, check_signature, digest
from meshhw.curves.multiply import base_multiple, multiply
from meshhw.curves.named import curve_named
from meshhw.errors import DecryptionFailed, NotSupported, UsageError

EDWARDS = (Algorithm.ED25519, Algorithm.ED448)
MONTGOMERY = (Algorithm.X25519, Algorithm.X448)
NIST = (Algorithm.P256, Algorithm.P384)
MODEST = settings(max_examples=15)


def scalar_key(algorithm: Algorithm, number: int) -> PrivateKey:
    order = curve_named(algorithm.value).order
    octets = (1 + number % (order - 1)).to_bytes(algorithm.field_length, "little")
    return PrivateKey(algorithm, octets, SecretForm.SCALAR)


def number_of(private: PrivateKey) -> int:
    return int.from_bytes(private.octets, "little")


@pytest.mark.parametrize("algorithm", EDWARDS)
@MODEST
@given(message=st.binary(max_size=200), number=st.integers(0, 2**460))
def test_a_scalar_signs_under_its_own_public_key(algorithm: Algorithm, message: bytes, number: int) -> None:
    private = scalar_key(algorithm, number)
    secret = load(private)
    assert isinstance(secret, EdwardsSecret)
    check_signature(secret.public, message, secret.sign(message))
    assert secret.public.octets == base_multiple(curve_named(algorithm.value), number_of(private)).encode()


@MODEST
@given(seed=st.binary(min_size=56, max_size=56), message=st.binary(max_size=80))
def test_a_mesh_seed_of_56_octets_signs(seed: bytes, message: bytes) -> None:
    secret = load(PrivateKey(Algorithm.ED448, seed))
    assert isinstance(secret, EdwardsSecret)
    check_signature(secret.public, message, secret.sign(message))


@pytest.mark.parametrize("algorithm", MONTGOMERY)
@MODEST
@given(number=st.integers(0, 2**460))
def test_a_bare_scalar_is_not_clamped(algorithm: Algorithm, number: int) -> None:
    private = scalar_key(algorithm, number)
    secret, partner = load(private), Partner.new(algorithm)
    assert isinstance(secret, MontgomerySecret)
    peer = curve_named(algorithm.value).decode(partner.public.octets)
    assert secret.agree(partner.public) == multiply(peer, number_of(private)).x_octets()
    assert secret.agree(partner.public) == partner.agree(secret.public)


@pytest.mark.parametrize("algorithm", MONTGOMERY)
@pytest.mark.parametrize("form", list(SecretForm))
@MODEST
@given(data=st.data())
def test_points_add_up_under_the_published_public_key(
    algorithm: Algorithm, form: SecretForm, data: st.DataObject
) -> None:
    """scalar * (n B) must be n * (public point), sign and all: sums of partial results rest on it."""
    if form is SecretForm.SCALAR:
        private = scalar_key(algorithm, data.draw(st.integers(0, 2**460)))
    else:
        size = algorithm.field_length
        private = PrivateKey(algorithm, data.draw(st.binary(min_size=size, max_size=size)))
    curve = curve_named(algorithm.value)
    factor = data.draw(st.integers(1, 2**200))
    other = base_multiple(curve, factor)
    if algorithm is Algorithm.X25519:  # the peer is u alone, and means the point with even v
        factor, other = (-factor, -other) if other.y & 1 else (factor, other)
        peer = PublicKey(algorithm, other.x_octets())
    else:
        peer = PublicKey(algorithm, other.encode())
    secret = load(private)
    assert isinstance(secret, MontgomerySecret)
    assert secret.agree_point(peer) == multiply(curve.decode(secret.public.octets), factor).encode()
    assert secret.agree_point(peer)[: curve.size] == secret.agree(peer)


@pytest.mark.parametrize("algorithm", MONTGOMERY)
def test_a_seed_is_clamped_as_the_library_does(algorithm: Algorithm) -> None:
    seed = b"\xff" * algorithm.field_length
    kind = x25519.X25519PrivateKey if algorithm is Algorithm.X25519 else x448.X448PrivateKey
    secret = load(PrivateKey(algorithm, seed))
    assert secret.public.u == kind.from_private_bytes(seed).public_key().public_bytes_raw()


@pytest.mark.parametrize("algorithm", NIST)
def test_nist_keys(algorithm: Algorithm) -> None:
    secret, partner = load(generate(algorithm)), Partner.new(algorithm)
    assert isinstance(secret, NistSecret)
    for _ in range(8):
        signature = secret.sign_digest(digest(algorithm, b"m"))
        check_signature(secret.public, b"m", signature)
        check_low_s(algorithm, signature)
    size = algorithm.field_length
    assert secret.agree(partner.public) == secret.agree_point(partner.public)[1 : 1 + size]
    assert secret.agree(partner.public) == partner.agree(secret.public)


@pytest.mark.parametrize("algorithm", NIST)
def test_the_ends_of_the_range_of_nist_numbers(algorithm: Algorithm) -> None:
    order, size = curve_named(algorithm.value).order, algorithm.field_length
    assert load(PrivateKey(algorithm, (order - 1).to_bytes(size, "big"))).public.algorithm is algorithm
    for number in (0, order):
        with pytest.raises(UsageError):
            load(PrivateKey(algorithm, number.to_bytes(size, "big")))
    with pytest.raises(UsageError):
        load(PrivateKey(algorithm, bytes(size), SecretForm.SCALAR))


@pytest.mark.parametrize("algorithm", [*EDWARDS, *MONTGOMERY])
def test_the_ends_of_the_range_of_scalars(algorithm: Algorithm) -> None:
    order, size = curve_named(algorithm.value).order, algorithm.field_length
    for number in (0, order):
        with pytest.raises(UsageError):
            load(PrivateKey(algorithm, number.to_bytes(size, "little"), SecretForm.SCALAR))
    load(PrivateKey(algorithm, (order - 1).to_bytes(size, "little"), SecretForm.SCALAR))


@pytest.mark.parametrize("algorithm", [a for a in Algorithm if a.public_length is not None])
@pytest.mark.parametrize("form", list(SecretForm))
def test_octets_of_a_wrong_length_are_refused(algorithm: Algorithm, form: SecretForm) -> None:
    for length in (0, algorithm.field_length - 2, algorithm.field_length + 1):
        with pytest.raises(UsageError):
            load(PrivateKey(algorithm, b"\1" * length, form))


def test_rsa() -> None:
    private = generate(Algorithm.RSA2048)
    secret = load(private)
    assert isinstance(secret, RsaSecret)
    check_signature(secret.public, b"m", secret.sign(b"m"))
    with pytest.raises(DecryptionFailed):
        secret.decrypt(bytes(256), "oaep-sha256")
    with pytest.raises(NotSupported):
        secret.decrypt(bytes(256), "pkcs1")
    with pytest.raises(UsageError, match="RSA-2048"):
        load(PrivateKey(Algorithm.RSA3072, private.octets))
    with pytest.raises(UsageError):
        load(PrivateKey(Algorithm.RSA2048, b"not DER"))


def test_no_private_octet_is_in_a_repr() -> None:
    private = PrivateKey(Algorithm.ED25519, b"S" * 32)
    assert "SSS" not in repr(private)
    assert "SSS" not in repr(load(private))
