"""A TPM's word about its keys, and who believes it."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from meshhw_tpm.token import TpmToken

from meshhw.algorithms import Algorithm
from meshhw.conformance import independent
from meshhw.errors import IntegrityError, MeshError, SignatureInvalid
from meshhw.keystore import attestation
from meshhw.keystore.api import Attests, Generates, Imports, Key, KeySpec, PinPolicy
from meshhw.keystore.attestation import Attestation
from meshhw.keystore.tpm_credential import check_endorsement, make_challenge
from meshhw.lab.skipping import or_skip
from meshhw.lab.swtpm import SoftwareTpm
from meshhw.lab.tpm_maker import certificates

P = TypeVar("P")


def power(thing: object, protocol: type[P]) -> P:
    assert isinstance(thing, protocol)
    return thing


def attested(tpm: SoftwareTpm, spec: KeySpec) -> tuple[Key, Attestation]:
    token = tpm.open()
    key = power(token, Generates).generate(spec)
    return key, power(token, Attests).attest(key.uri)


@pytest.mark.parametrize(
    "spec",
    [
        KeySpec(Algorithm.P256),
        KeySpec(Algorithm.P384),
        KeySpec(Algorithm.RSA2048),
        KeySpec(Algorithm.P256, pin_policy=PinPolicy.ONCE),
        KeySpec(Algorithm.P256, place="persistent"),
    ],
    ids=["P-256", "P-384", "RSA", "with a PIN", "persistent"],
)
def test_a_key_made_inside_is_attested_as_one(swtpm_token: SoftwareTpm, spec: KeySpec) -> None:
    key, statement = attested(swtpm_token, spec)
    facts = attestation.verify(statement, statement.chain[-1:])
    assert facts.public == key.public
    assert facts.generated_inside is True
    assert facts.issuer.startswith("CN=TPM attestation key ")
    assert swtpm_token.loaded() <= 2


def test_an_imported_key_is_not_attested_as_made_inside(swtpm_token: SoftwareTpm) -> None:
    token = swtpm_token.open()
    private, public = independent.fresh_private(Algorithm.P256)
    key = power(token, Imports).import_key(private, KeySpec(Algorithm.P256))
    statement = power(token, Attests).attest(key.uri)
    facts = attestation.verify(statement, statement.chain)
    assert facts.public == public
    assert facts.generated_inside is False


def test_the_attestation_key_is_the_same_after_a_restart(swtpm_token: SoftwareTpm) -> None:
    _, first = attested(swtpm_token, KeySpec(Algorithm.P256))
    swtpm_token.restart()
    _, second = attested(swtpm_token, KeySpec(Algorithm.P256))
    assert attestation.verify(second, first.chain).generated_inside is True


def test_nobody_is_believed_without_a_root(swtpm_token: SoftwareTpm) -> None:
    _, statement = attested(swtpm_token, KeySpec(Algorithm.P256))
    swtpm_token.replace()
    _, other = attested(swtpm_token, KeySpec(Algorithm.P256))
    for roots in ((), other.chain):
        with pytest.raises(SignatureInvalid):
            attestation.verify(statement, roots)
    with pytest.raises(SignatureInvalid):
        attestation.verify(replace(statement, chain=()), statement.chain)
    with pytest.raises(SignatureInvalid):
        attestation.verify(replace(statement, signature=other.signature), statement.chain)
    with pytest.raises(SignatureInvalid):
        attestation.verify(replace(statement, statement=other.statement), statement.chain)


def test_every_flipped_octet_is_noticed(swtpm_token: SoftwareTpm) -> None:
    _, honest = attested(swtpm_token, KeySpec(Algorithm.P256))
    for part in ("statement", "signature"):
        octets: bytes = getattr(honest, part)
        for position in range(len(octets)):
            changed = octets[:position] + bytes([octets[position] ^ 1]) + octets[position + 1 :]
            for wrong in (changed, octets[:position]):
                with pytest.raises(IntegrityError):
                    attestation.verify(replace(honest, **{part: wrong}), honest.chain)


def certified(subject: x509.Certificate, *, authority: bool) -> tuple[bytes, bytes]:
    """The subject's key certified by a new issuer, and the issuer's own certificate."""
    issuer_key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Enrolment")])
    now = datetime.datetime.now(datetime.UTC)
    until = now + datetime.timedelta(days=1)
    root = (
        x509.CertificateBuilder(name, name, issuer_key.public_key(), 1, now, until)
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )
    leaf = x509.CertificateBuilder(name, subject.subject, subject.public_key(), 2, now, until).sign(
        issuer_key, hashes.SHA256()
    )
    return leaf.public_bytes(Encoding.DER), root.public_bytes(Encoding.DER)


def test_a_certificate_of_an_enrolment_authority_is_a_chain(swtpm_token: SoftwareTpm) -> None:
    _, own = attested(swtpm_token, KeySpec(Algorithm.P256))
    subject = x509.load_der_x509_certificate(own.chain[0])
    leaf, root = certified(subject, authority=True)
    assert attestation.verify(replace(own, chain=(leaf,)), [root]).generated_inside is True
    assert attestation.verify(replace(own, chain=(leaf, root)), [root]).generated_inside is True
    leaf, no_authority = certified(subject, authority=False)
    with pytest.raises(SignatureInvalid):
        attestation.verify(replace(own, chain=(leaf,)), [no_authority])


def test_the_challenge_shows_that_both_keys_are_in_one_tpm(swtpm_token: SoftwareTpm) -> None:
    token = power(swtpm_token.open(), TpmToken)
    shown = token.attester()
    assert shown.certificate is None  # nobody made this TPM
    _, statement = attested(swtpm_token, KeySpec(Algorithm.P256))
    certificate = x509.load_der_x509_certificate(statement.chain[0])
    assert f"{shown.attestation.name.hex()[4:20]}" in certificate.subject.rfc4514_string()
    challenge = make_challenge(shown.endorsement, shown.attestation.name)
    assert challenge.answered(token.answer_challenge(challenge.blob, challenge.seed))
    assert not challenge.answered(bytes(32))
    token.close()
    assert swtpm_token.loaded() <= 1


def test_the_maker_vouches_for_the_endorsement_key(swtpm_token: SoftwareTpm) -> None:
    with or_skip(lambda: SoftwareTpm(endorsed=True)) as tpm:
        token = power(tpm.open(), TpmToken)
        shown = token.attester()
        assert shown.certificate is not None
        issuer, root = certificates(tpm.authority)
        chain = (shown.certificate, issuer)
        assert check_endorsement(shown.endorsement, chain, [root]) == "CN=swtpm-localca"
        challenge = make_challenge(shown.endorsement, shown.attestation.name)
        assert challenge.answered(token.answer_challenge(challenge.blob, challenge.seed))
        stranger = power(swtpm_token.open(), TpmToken).attester()
        for key, certs, roots in (
            (stranger.endorsement, chain, [root]),
            (shown.endorsement, chain[:1], [root]),
            (shown.endorsement, chain, []),
            (shown.endorsement, (), [root]),
        ):
            with pytest.raises(SignatureInvalid):
                check_endorsement(key, certs, roots)


def test_another_tpm_cannot_answer_the_challenge(swtpm_token: SoftwareTpm) -> None:
    token = power(swtpm_token.open(), TpmToken)
    shown = token.attester()
    swtpm_token.replace()
    other = power(swtpm_token.open(), TpmToken)
    mixed = make_challenge(shown.endorsement, other.attester().attestation.name)
    lying = make_challenge(other.attester().endorsement, shown.attestation.name)
    for challenge in (mixed, lying):
        with pytest.raises(MeshError):
            other.answer_challenge(challenge.blob, challenge.seed)
    for blob in (b"", b"\0", b"\xff" * 20):
        with pytest.raises(MeshError):
            other.answer_challenge(blob, challenge.seed)
