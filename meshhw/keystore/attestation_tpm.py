"""Attestations of TPM 2.0 keys by TPM2_Certify, verified without a TPM (TPM 2.0 Library part 2, TPMS_ATTEST).

The statement is the certified key's public area and what the TPM said of it (TPM2B_PUBLIC, TPM2B_ATTEST). Its
signer is an attestation key: restricted, so that it signs such a thing only if the TPM itself made it. The
chain begins with that key's certificate. One that the TPM signed itself proves nothing until it is a root:
`tpm_credential` asks the TPM whether it really holds that key, beside an endorsement key with a maker's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from meshhw.errors import FormatError, SignatureInvalid
from meshhw.keystore.attestation import Attestation, Facts
from meshhw.keystore.tpm_public import HASHES, PublicArea, Reader, parse_public

MAX_OCTETS = 8192
_GENERATED, _CERTIFY = 0xFF544347, 0x8017
_ECDSA, _RSASSA, _RSAPSS = 0x0018, 0x0014, 0x0016
_DIGESTS: dict[str, type[hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}


@dataclass(frozen=True, slots=True)
class Certified:
    """What TPM2_Certify states. The clock and the firmware are left out: for a signer of the owner's they are
    obscured by the TPM (part 1, section 36.7)."""

    name: bytes
    qualifying_data: bytes


def verify(attestation: Attestation, roots: Sequence[bytes]) -> Facts:
    """Check the statement, its signature and its signer's certificate up to one of `roots`.

    Raises SignatureInvalid, FormatError.
    """
    area, attested = split_statement(attestation.statement)
    certified = parse_certified(attested)
    signer = anchored(attestation.chain, roots)
    _check_signature(signer, attested, attestation.signature)
    if certified.name != area.name:
        raise SignatureInvalid("the attestation is of another key")
    if area.public is None:
        raise SignatureInvalid("the attestation is of a key that is not known here")
    return Facts(
        public=area.public,
        issuer=signer.subject.rfc4514_string(),
        generated_inside=area.made_inside,
    )


def split_statement(statement: bytes) -> tuple[PublicArea, bytes]:
    """The public area and the octets of the TPMS_ATTEST. Raises FormatError."""
    if len(statement) > MAX_OCTETS:
        raise FormatError(f"an attestation of a TPM has at most {MAX_OCTETS} octets")
    reader = Reader(statement)
    area, attested = reader.sized(), reader.sized()
    reader.end()
    return parse_public(area), attested


def parse_certified(attested: bytes) -> Certified:
    """Read a TPMS_ATTEST of TPM2_Certify. Raises FormatError for any other."""
    reader = Reader(attested)
    if reader.number(4) != _GENERATED or reader.number(2) != _CERTIFY:
        raise FormatError("this is no statement of a TPM over a key", position=0)
    reader.sized()  # the signer's qualified name
    qualifying_data = reader.sized()
    reader.take(17 + 8)  # clock and restarts, firmware
    name = reader.sized()
    reader.sized()  # the key's qualified name
    reader.end()
    return Certified(name, qualifying_data)


def _check_signature(signer: x509.Certificate, message: bytes, signature: bytes) -> None:
    """Verify a TPMT_SIGNATURE. Raises SignatureInvalid, FormatError."""
    reader = Reader(signature)
    scheme, digest = reader.number(2), _DIGESTS.get(HASHES.get(reader.number(2), ""))
    if digest is None:
        raise SignatureInvalid("the attestation is signed with an unknown or weak digest")
    key = signer.public_key()
    try:
        if scheme == _ECDSA and isinstance(key, ec.EllipticCurvePublicKey):
            r, s = int.from_bytes(reader.sized(), "big"), int.from_bytes(reader.sized(), "big")
            key.verify(encode_dss_signature(r, s), message, ec.ECDSA(digest()))
        elif scheme in (_RSASSA, _RSAPSS) and isinstance(key, rsa.RSAPublicKey):
            key.verify(reader.sized(), message, _padding(scheme, digest()), digest())
        else:
            raise SignatureInvalid(
                "the attestation is signed with another kind of key than its certificate has"
            )
    except InvalidSignature as error:
        raise SignatureInvalid("the attestation's signature is wrong") from error
    reader.end()


def _padding(scheme: int, digest: hashes.HashAlgorithm) -> padding.AsymmetricPadding:
    if scheme == _RSASSA:
        return padding.PKCS1v15()
    return padding.PSS(padding.MGF1(digest), padding.PSS.AUTO)


def anchored(chain: Sequence[bytes], roots: Sequence[bytes]) -> x509.Certificate:
    """The first certificate of a chain (DER), if it is a root or leads to one.

    Raises SignatureInvalid, FormatError.
    """
    if not chain:
        raise SignatureInvalid("there is no certificate of the TPM's key")
    signer, *others = [_certificate(der) for der in chain]
    if chain[0] in roots:
        return signer
    current = signer
    for issuer in [*others, *(_certificate(der) for der in roots)]:
        if not _issued(current, issuer):
            continue
        if issuer.public_bytes(Encoding.DER) in roots:
            return signer
        current = issuer
    raise SignatureInvalid(
        "nobody that is trusted vouches for the TPM's key",
        hint="trust its certificate after a challenge of the endorsement key, or have it certified",
    )


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether `issuer` is an authority that signed `certificate`."""
    try:
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        certificate.verify_directly_issued_by(issuer)
    except (x509.ExtensionNotFound, InvalidSignature, ValueError, TypeError):
        return False
    return constraints.ca


def _certificate(der: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError as error:
        raise FormatError("the attestation's chain holds no DER certificate") from error
