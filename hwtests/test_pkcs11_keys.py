"""Keys on PKCS#11 tokens: made, imported, found again, told apart, and destroyed."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from meshhw_pkcs11.objects import private_keys
from pkcs11 import Attribute, CertificateType, ObjectClass

from meshhw.algorithms import Algorithm, Operation, PrivateKey, PublicKey, SecretForm
from meshhw.errors import Ambiguous, DecryptionFailed, InvalidPublicKey, KeyNotFound, NotSupported
from meshhw.keystore.api import (
    Agrees,
    Decrypts,
    KeySpec,
    PinPolicy,
    Signs,
    SignsDigest,
    StoresData,
    TouchPolicy,
)
from meshhw.keystore.registry import find_key
from meshhw.keystore.uri import KeyURI
from meshhw.lab.pkcs11_token import Pkcs11Token
from meshhw.pubkeys import from_cryptography, to_cryptography


def test_a_key_is_found_again_by_its_uri_and_label(pkcs11_token: Pkcs11Token) -> None:
    token: Any = pkcs11_token.open()
    made = token.generate(KeySpec(Algorithm.P256, label="signer"))
    token.close()
    again: Any = pkcs11_token.open()
    for found in (again.key(made.uri), find_key(again, "signer"), *again.keys()):
        assert found.uri == made.uri
        assert found.public == made.public
    again.close()


def test_a_key_is_of_a_class_with_its_operations_alone(pkcs11_token: Pkcs11Token) -> None:
    token: Any = pkcs11_token.open()
    signer = token.generate(KeySpec(Algorithm.P256, uses=frozenset({Operation.SIGN})))
    agreer = token.generate(KeySpec(Algorithm.P256, uses=frozenset({Operation.AGREE})))
    both = token.generate(KeySpec(Algorithm.P256))
    assert isinstance(signer, Signs)
    assert isinstance(signer, SignsDigest)
    assert not isinstance(signer, Agrees)
    assert isinstance(agreer, Agrees)
    assert not isinstance(agreer, Signs)
    assert isinstance(both, Signs)
    assert isinstance(both, Agrees)
    assert not isinstance(both, Decrypts)
    token.close()


def test_nss_has_no_data_objects_and_says_so_by_its_class(nss_token: Pkcs11Token) -> None:
    token = nss_token.open()
    assert not isinstance(token, StoresData)
    assert not token.capabilities().stores_data
    token.close()


def test_keys_of_one_id_and_label_are_told_apart_by_what_they_do(pkcs11_token: Pkcs11Token) -> None:
    token: Any = pkcs11_token.open()
    first = token.generate(KeySpec(Algorithm.P256, label="twin"))
    second = token.generate(KeySpec(Algorithm.P256, label="twin"))
    same_id(token, first.uri.attributes["id"], second.uri.attributes["id"])
    twins = token.keys()
    assert {key.public for key in twins} == {first.public, second.public}
    for key in twins:
        verify_p256(key)
    token.session.epoch += 1  # as after a lost session: handles are looked up again
    for key in twins:
        verify_p256(key)
    with pytest.raises(Ambiguous):
        token.key(twins[0].uri)
    token.close()


def same_id(token: Any, kept: bytes, changed: bytes) -> None:
    def work(session: Any) -> None:
        for found in session.get_objects({Attribute.ID: changed}):
            found[Attribute.ID] = kept

    token.session.run(work)


def verify_p256(key: Any) -> None:
    message = secrets.token_bytes(20)
    signature = key.sign(message)
    half = len(signature) // 2
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    der = encode_dss_signature(int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key.public.octets)
    public.verify(der, message, ec.ECDSA(hashes.SHA256()))


def test_a_deleted_key_takes_its_public_half_along(pkcs11_token: Pkcs11Token) -> None:
    token: Any = pkcs11_token.open()
    key = token.generate(KeySpec(Algorithm.P256, label="gone"))
    token.delete(key.uri)
    with pytest.raises(KeyNotFound):
        key.sign(b"")
    with pytest.raises(KeyNotFound):
        token.delete(key.uri)
    left = token.session.run(lambda session: list(session.get_objects({Attribute.LABEL: "gone"})))
    assert left == []
    token.close()


def lose_public_half(token: Any, key: Any) -> None:
    template = {Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.ID: key.uri.attributes["id"]}
    for public in token.session.run(lambda session: list(session.get_objects(template))):
        token.session.run(lambda _, one=public: one.destroy())


def test_a_key_without_its_public_half_is_told_and_not_passed_over_in_silence(
    softhsm_token: Pkcs11Token, caplog: pytest.LogCaptureFixture
) -> None:
    token: Any = softhsm_token.open()
    whole = token.generate(KeySpec(Algorithm.P256, label="whole"))
    half = token.generate(KeySpec(Algorithm.P256, label="half"))
    lose_public_half(token, half)
    (listed,) = token.keys()
    assert listed.uri == whole.uri
    assert f"without its public half, left out: {half.uri}" in caplog.text
    with pytest.raises(KeyNotFound, match="but not its public half") as told:
        token.key(half.uri)
    assert "pkcs11-tool --write-object" in told.value.hint
    token.close()


def test_the_public_half_may_be_in_a_certificate(softhsm_token: Pkcs11Token) -> None:
    token: Any = softhsm_token.open()
    key = token.generate(KeySpec(Algorithm.P256, label="certified"))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")])
    day = datetime(2026, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder(name, name, to_cryptography(key.public), 1, day, day + timedelta(9))
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
        .public_bytes(Encoding.DER)
    )
    other = {Attribute.CLASS: ObjectClass.CERTIFICATE, Attribute.ID: key.uri.attributes["id"]}
    other |= {Attribute.CERTIFICATE_TYPE: CertificateType.X_509, Attribute.TOKEN: True}
    for value in (b"no certificate", certificate):
        content = other | {Attribute.VALUE: value, Attribute.SUBJECT: name.public_bytes()}
        token.session.run(lambda session, content=content: session.create_object(content))
    lose_public_half(token, key)
    again = token.key(key.uri)
    assert again.public == key.public
    assert again.sign(b"signed")
    token.close()


def test_a_scalar_is_imported_in_the_shape_that_clamping_leaves_alone(softhsm_token: Pkcs11Token) -> None:
    token: Any = softhsm_token.open()
    scalar = secrets.randbelow(2**252)
    private = PrivateKey(Algorithm.X25519, scalar.to_bytes(32, "little"), SecretForm.SCALAR)
    key = token.import_key(private, KeySpec(Algorithm.X25519))
    other = x25519.X25519PrivateKey.generate()
    shared = other.exchange(x25519.X25519PublicKey.from_public_bytes(key.public.octets))
    assert key.agree(from_cryptography(other.public_key())) == shared
    token.close()


def test_what_a_token_cannot_take_is_refused_with_the_reason(softhsm_token: Pkcs11Token) -> None:
    token: Any = softhsm_token.open()
    with pytest.raises(NotSupported, match="57 octets, not 56"):
        token.import_key(PrivateKey(Algorithm.ED448, bytes(56)), KeySpec(Algorithm.ED448))
    scalar = PrivateKey(Algorithm.ED25519, b"\1" + bytes(31), SecretForm.SCALAR)
    with pytest.raises(NotSupported, match="scalar"):
        token.import_key(scalar, KeySpec(Algorithm.ED25519))
    for spec in (
        KeySpec(Algorithm.P256, touch_policy=TouchPolicy.ALWAYS),
        KeySpec(Algorithm.P256, pin_policy=PinPolicy.NEVER),
        KeySpec(Algorithm.P256, place="9a"),
    ):
        with pytest.raises(NotSupported):
            token.generate(spec)
    assert token.session.run(private_keys) == []
    token.close()


class Recorder:
    def __init__(self) -> None:
        self.told: list[tuple[Operation, str]] = []

    def record(self, key: KeyURI, operation: Operation, result: str) -> None:
        assert key.scheme == "pkcs11"
        self.told.append((operation, result))


def test_peers_off_the_curve_or_of_small_order_never_reach_the_token(pkcs11_token: Pkcs11Token) -> None:
    recorder = Recorder()
    token: Any = pkcs11_token.open(recorder=recorder)
    key = token.generate(KeySpec(Algorithm.P256))
    good = key.public.octets
    bad = PublicKey(Algorithm.P256, good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(InvalidPublicKey):
        key.agree(bad)
    with pytest.raises(NotSupported):
        key.agree(PublicKey(Algorithm.X25519, b"\x09" + bytes(31)))
    made = (Operation.GENERATE, "ok")
    assert recorder.told == [made]  # every operation that reaches the token is recorded
    key.agree(key.public)
    assert recorder.told == [made, (Operation.AGREE, "ok")]
    token.close()


def test_a_key_that_asks_each_time(softhsm_token: Pkcs11Token) -> None:
    options = softhsm_token.options()
    token: Any = softhsm_token.open(interaction=options.interaction)
    key = token.generate(KeySpec(Algorithm.P256, pin_policy=PinPolicy.ALWAYS))
    assert key.needs().pin
    verify_p256(key)
    verify_p256(key)
    asked = [request.kind.value for request in options.interaction.asked]  # type: ignore[attr-defined]  # Scripted
    assert asked.count("context") == 2
    token.close()


def test_the_token_itself_says_that_a_key_cannot_be_read(softhsm_token: Pkcs11Token) -> None:
    token: Any = softhsm_token.open()
    for algorithm, secret in ((Algorithm.ED448, "CKA_VALUE"), (Algorithm.RSA2048, "CKA_PRIVATE_EXPONENT")):
        said = token.protection(token.generate(KeySpec(algorithm)).uri)
        assert said.extractable is False
        assert said.answers[f"read {secret}"] == "CKR_ATTRIBUTE_SENSITIVE"
    token.close()


def test_ciphertexts_that_do_not_decrypt_are_told_by_one_error(pkcs11_token: Pkcs11Token) -> None:
    token: Any = pkcs11_token.open()
    key = token.generate(KeySpec(Algorithm.RSA2048))
    for ciphertext in (
        b"",
        bytes(255),
        bytes(256),
        b"\xff" * 256,
        bytes(255) + b"\1",
        secrets.token_bytes(256),
    ):
        with pytest.raises(DecryptionFailed):
            key.decrypt(ciphertext, "oaep-sha1")
    with pytest.raises(NotSupported):
        key.decrypt(bytes(256), "pkcs1")
    token.close()


@pytest.mark.parametrize("algorithm", [Algorithm.ED25519, Algorithm.ED448])
def test_messages_of_any_length_are_signed(softhsm_token: Pkcs11Token, algorithm: Algorithm) -> None:
    token: Any = softhsm_token.open()
    key = token.generate(KeySpec(algorithm))
    verifier: Any = to_cryptography(key.public)
    for message in (b"", b"a", bytes(1 << 20)):
        verifier.verify(key.sign(message), message)
    token.close()


@pytest.mark.parametrize("name", ["sha256", "sha512"])
def test_rsa_keys_sign_as_ssh_asks(pkcs11_token: Pkcs11Token, name: str) -> None:
    token: Any = pkcs11_token.open()
    key = token.generate(KeySpec(Algorithm.RSA2048))
    public = to_cryptography(key.public)
    assert isinstance(public, rsa.RSAPublicKey)
    digest = hashes.SHA256() if name == "sha256" else hashes.SHA512()
    public.verify(key.sign_pkcs1(b"message", name), b"message", padding.PKCS1v15(), digest)
    with pytest.raises(NotSupported):
        key.sign_pkcs1(b"message", "sha1")
    token.close()
