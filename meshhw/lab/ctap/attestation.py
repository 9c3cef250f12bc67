"""Packed attestation by the lab's own authority (WebAuthn section 8.2)."""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID, ObjectIdentifier

AAGUID_EXTENSION = ObjectIdentifier("1.3.6.1.4.1.45724.1.1.4")
_START = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_END = datetime.datetime(2050, 1, 1, tzinfo=datetime.UTC)


class Maker:
    """The maker of a model of authenticators: its root, and the model's attestation key."""

    def __init__(self, aaguid: bytes) -> None:
        self._root_key = ec.generate_private_key(ec.SECP256R1())
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = _name("Lab FIDO2 Root CA", None)
        self._root = _builder(name, name, self._root_key.public_key(), authority=True).sign(
            self._root_key, hashes.SHA256()
        )
        leaf = _builder(
            _name("Lab FIDO2 Attestation", "Authenticator Attestation"),
            name,
            self._key.public_key(),
            authority=False,
        ).add_extension(x509.UnrecognizedExtension(AAGUID_EXTENSION, b"\x04\x10" + aaguid), critical=False)
        self._leaf = leaf.sign(self._root_key, hashes.SHA256())

    @property
    def root(self) -> bytes:
        """The root certificate, DER."""
        return self._root.public_bytes(Encoding.DER)

    def statement(self, signed: bytes) -> dict[str, object]:
        """The attestation statement over authenticator data and client data hash."""
        return {
            "alg": -7,
            "sig": self._key.sign(signed, ec.ECDSA(hashes.SHA256())),
            "x5c": [self._leaf.public_bytes(Encoding.DER)],
        }


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, *, authority: bool
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_START)
        .not_valid_after(_END)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )


def _name(common: str, unit: str | None) -> x509.Name:
    parts = [
        x509.NameAttribute(NameOID.COUNTRY_NAME, "XX"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "meshhw lab"),
        x509.NameAttribute(NameOID.COMMON_NAME, common),
    ]
    if unit is not None:
        parts.insert(2, x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit))
    return x509.Name(parts)
