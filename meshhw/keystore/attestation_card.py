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
from meshhw.keystore.attestation_piv import Certificates, read
from meshhw.keystore.certificates import anchored, is_authority, is_issued_by
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
    return read(attestation, roots, _verified)


def _verified(leaf: x509.Certificate, chain: Certificates, anchors: Certificates) -> Facts:
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
