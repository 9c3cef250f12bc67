"""Activated keys: the published vectors, and composed keys on a vault against the other side's arithmetic."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, x448, x25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from meshhw.algorithms import Algorithm, Operation, PublicKey
from meshhw.errors import DecryptionFailed, InvalidPublicKey, NotSupported
from meshhw.keystore.api import Generates, KeySpec, OpenOptions, Token
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.registry import open_token
from meshhw.keystore.uri import TokenURI
from meshhw.managers.account.activation import Use, composed_public, scalar, tweak, tweaked_public
from meshhw.managers.account.composed import ComposedAgreement, TweakedSignature
from meshhw.pubkeys import from_cryptography, to_cryptography
from meshhw.udf.key import fingerprint
from meshhw.udf.seed import Seed, Specifier

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "schema_activation_alice2.json").read_text())
USES = {"Encryption": Use.ENCRYPTION, "Signature": Use.SIGNATURE, "Authentication": Use.AUTHENTICATION}


def octets(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "==")


@pytest.mark.parametrize("vector", VECTORS["keys"], ids=lambda vector: vector["use"])
def test_published_connections_are_base_plus_activation(vector: dict[str, Any]) -> None:
    algorithm = Algorithm(vector["crv"])
    activation = scalar(Seed.parse(VECTORS["activation_seed"]), USES[vector["use"]], algorithm)
    order_free = int.from_bytes(bytes.fromhex(vector["activation_scalar_le"]), "little")
    base = PublicKey(algorithm, octets(vector["base_public"]))
    assert fingerprint(base) == vector["base_udf"]
    composed = composed_public(base, activation)
    assert composed.octets == octets(vector["published_connection_public"])
    assert composed == composed_public(base, order_free)
    assert fingerprint(composed) == vector["published_connection_udf"]


@pytest.fixture
def token(tmp_path: Path) -> Iterator[Token]:
    opened = open_token(
        TokenURI.make("software", vault=str(tmp_path / "vault")),
        OpenOptions(Scripted({PinKind.VAULT: "correct horse"})),
    )
    yield opened
    opened.close()


def composed(token: Token, algorithm: Algorithm) -> ComposedAgreement:
    assert isinstance(token, Generates)
    base = token.generate(KeySpec(algorithm, "base", frozenset({Operation.AGREE})))
    return ComposedAgreement(
        base, scalar(Seed.generate(Specifier.ACTIVATION_ACCOUNT), Use.ENCRYPTION, algorithm)
    )


def other_side(public: PublicKey) -> tuple[PublicKey, bytes]:
    """An ephemeral key and what it agrees on with `public`, by the independent library."""
    key = to_cryptography(public)
    if isinstance(key, x25519.X25519PublicKey):
        e = x25519.X25519PrivateKey.generate()
        return from_cryptography(e.public_key()), e.exchange(key)
    if isinstance(key, x448.X448PublicKey):
        f = x448.X448PrivateKey.generate()
        return from_cryptography(f.public_key()), f.exchange(key)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    g = ec.generate_private_key(key.curve)
    return from_cryptography(g.public_key()), g.exchange(ec.ECDH(), key)


@pytest.mark.parametrize("algorithm", [a for a in Algorithm if a.agrees])
def test_a_composed_key_agrees_as_the_sum(token: Token, algorithm: Algorithm) -> None:
    key = composed(token, algorithm)
    for _ in range(4):  # both signs occur
        epk, shared = other_side(key.public)
        assert key.agree(epk) == shared


@pytest.mark.parametrize("algorithm", [a for a in Algorithm if a.agrees])
def test_a_composed_key_unwraps(token: Token, algorithm: Algorithm) -> None:
    key = composed(token, algorithm)
    epk, shared = other_side(key.public)
    secret = bytes(range(32))
    wrapped = aes_key_wrap(HKDF(SHA512(), 32, salt=None, info=b"info").derive(shared), secret)
    assert key.unwrap(epk, b"info", wrapped) == secret
    for bad_info, bad in ((b"other", wrapped), (b"info", wrapped[:-1] + b"\0"), (b"info", b"short")):
        with pytest.raises(DecryptionFailed):
            key.unwrap(epk, bad_info, bad)


def test_a_composed_key_takes_no_bad_peer(token: Token) -> None:
    key = composed(token, Algorithm.X25519)
    with pytest.raises(InvalidPublicKey):
        key.agree(PublicKey(Algorithm.X25519, bytes(32)))
    with pytest.raises(NotSupported):
        key.agree(PublicKey(Algorithm.X448, bytes(57)))


@pytest.mark.parametrize("algorithm", [Algorithm.P256, Algorithm.P384])
def test_a_tweaked_key_signs_as_the_product(token: Token, algorithm: Algorithm) -> None:
    assert isinstance(token, Generates)
    base = token.generate(KeySpec(algorithm, "base", frozenset({Operation.SIGN})))
    seed = Seed.generate(Specifier.ACTIVATION_ACCOUNT)
    key = TweakedSignature(base, tweak(seed, base.public))
    assert key.public == tweaked_public(base.public, tweak(seed, base.public)) != base.public
    size = algorithm.field_length
    digest = hashlib.new("sha256" if size == 32 else "sha384", b"message").digest()
    verifier = to_cryptography(key.public)
    assert isinstance(verifier, ec.EllipticCurvePublicKey)
    for signature in (key.sign(b"message"), key.sign_digest(digest)):
        r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
        hashed = Prehashed(SHA256() if size == 32 else SHA384())
        verifier.verify(encode_dss_signature(r, s), digest, ec.ECDSA(hashed))


def test_secrets_are_not_shown(token: Token) -> None:
    key = composed(token, Algorithm.P256)
    assert str(key.activation) not in repr(key)
