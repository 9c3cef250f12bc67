"""Attestations of PIV keys by cards of other makers than Yubico, checked with `cryptography` alone.

The statement is an X.509 certificate over the key, signed by the card's attestation key, whose own
certificate the maker signed. Nothing in it says what it is: neither policies nor serial number nor firmware.
So it proves one thing, and that by its chain alone: the key of a maker's card that signs nothing but
attestations of keys made inside has signed this one. Whether a maker's cards keep to that, who gives its root
as trusted must know.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509

from meshhw.errors import SignatureInvalid
from meshhw.keystore.attestation import Attestation, Facts
from meshhw.keystore.attestation_piv import UNREADABLE
from meshhw.keystore.certificates import LONGEST_CHAIN, anchored, is_authority, is_issued_by
from meshhw.pubkeys import from_cryptography

FORMAT = "piv"
OF_OTHER_USES = (x509.ExtendedKeyUsage, x509.SubjectAlternativeName)
"""Extensions of certificates for persons, servers and programs."""
OF_OTHER_FORMATS = ("1.3.6.1.4.1.41482.", "1.3.6.1.4.1.45724.")
"""Of Yubico's statements, whose own format says more, and of those of FIDO authenticators."""


def verify(attestation: Attestation, roots: Sequence[bytes]) -> Facts:
    """What the statement proves, its chain checked up to one of `roots` (DER).

    Raises SignatureInvalid where the chain does not hold, or the statement is a certificate of another kind.
    """
    try:
        return _verified(attestation, roots)
    except UNREADABLE as error:
        raise SignatureInvalid("the attestation cannot be read") from error


def _verified(attestation: Attestation, roots: Sequence[bytes]) -> Facts:
    leaf = x509.load_der_x509_certificate(attestation.statement)
    chain = [x509.load_der_x509_certificate(der) for der in attestation.chain[:LONGEST_CHAIN]]
    anchors = [x509.load_der_x509_certificate(der) for der in roots]
    if not chain:
        raise SignatureInvalid("the certificate of the card's attestation key is missing")
    signer = chain[0]
    if not (is_issued_by(leaf, signer) and is_authority(signer)):
        raise SignatureInvalid("the attestation's chain is broken")
    issuer = anchored(signer, chain[1:], anchors)
    if is_authority(leaf) or _is_of_another_kind(leaf):
        raise SignatureInvalid("the certificate is not an attestation")
    return Facts(from_cryptography(leaf.public_key()), issuer, generated_inside=True)


def _is_of_another_kind(certificate: x509.Certificate) -> bool:
    return any(
        isinstance(extension.value, OF_OTHER_USES) or extension.oid.dotted_string.startswith(OF_OTHER_FORMATS)
        for extension in certificate.extensions
    )
