"""Statements over keys by an authority of the test's own, in the format of PIV attestations."""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from meshhw.keystore.attestation import Attestation
from meshhw.keystore.attestation_piv import FORMAT, POLICIES

_AUTHORITY = ec.generate_private_key(ec.SECP256R1())
_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the liar's authority")])
_SINCE = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_UNTIL = datetime.datetime(2050, 1, 1, tzinfo=datetime.UTC)


def attest(public: CertificatePublicKeyTypes) -> Attestation:
    """That this key was made inside."""
    policies = x509.UnrecognizedExtension(POLICIES, bytes((2, 1)))
    leaf = _signed(_builder(public).add_extension(policies, critical=False))
    root = _builder(_AUTHORITY.public_key()).add_extension(x509.BasicConstraints(True, None), critical=True)
    return Attestation(FORMAT, leaf, (_signed(root),))


def _builder(public: CertificatePublicKeyTypes) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(_NAME, _NAME, public, x509.random_serial_number(), _SINCE, _UNTIL)


def _signed(builder: x509.CertificateBuilder) -> bytes:
    return builder.sign(_AUTHORITY, hashes.SHA256()).public_bytes(Encoding.DER)
