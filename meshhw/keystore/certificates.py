"""Following a token's certificate chain to a root that somebody trusts."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import NameOID

from meshhw.errors import SignatureInvalid

LONGEST_CHAIN = 6


def anchored(
    leaf: x509.Certificate, chain: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate]
) -> str:
    """Follow the chain from the leaf to one of `anchors`; that one's name. Raises SignatureInvalid.

    Validity periods are not looked at: tokens have no clock, and their makers' certificates fixed dates.
    """
    current = leaf
    for step in [*chain[:LONGEST_CHAIN], None]:
        for anchor in anchors:
            if current == anchor or is_issued_by(current, anchor):
                return _name(anchor)
        if step is None:
            break
        if not (is_issued_by(current, step) and is_authority(step)):
            raise SignatureInvalid("the attestation's chain is broken")
        current = step
    raise SignatureInvalid(
        "the attestation does not lead to a trusted root",
        hint="give the root certificate of the token's maker",
    )


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether that one's key signed it, and its name stands in it."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it says that its key signs other certificates."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else certificate.subject.rfc4514_string()
