"""Attestations of keys in a YubiKey's PIV slots, checked with `cryptography` alone.

The statement is an X.509 certificate over the key, signed by the card's attestation key (slot f9), whose own
certificate the maker signed. The extensions below 1.3.6.1.4.1.41482.3 say firmware (3), serial number (7),
policies (8). Only keys that were made inside the card are attested.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from meshhw.errors import InvalidPublicKey, SignatureInvalid
from meshhw.keystore.attestation import Attestation, Facts
from meshhw.keystore.certificates import LONGEST_CHAIN, anchored
from meshhw.pubkeys import from_cryptography

FORMAT = "yubikey-piv"
FIRMWARE, SERIAL, POLICIES = (x509.ObjectIdentifier(f"1.3.6.1.4.1.41482.3.{arc}") for arc in (3, 7, 8))
PIN_POLICIES = {1: "never", 2: "once", 3: "always"}
TOUCH_POLICIES = {1: "never", 2: "always", 3: "cached"}
UNREADABLE = (
    ValueError,
    InvalidPublicKey,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What the library raises for octets that are no certificate, or one that it does not know."""
Certificates = Sequence[x509.Certificate]
Verified = Callable[[x509.Certificate, Certificates, Certificates], Facts]
"""From a statement, its chain and the trusted roots to what they prove."""


def verify(attestation: Attestation, roots: Sequence[bytes]) -> Facts:
    """What the statement proves, its chain checked up to one of `roots` (DER).

    Validity periods are not looked at: a card's clockless certificates carry fixed ones. Raises
    SignatureInvalid where the chain does not hold or the statement is not a certificate.
    """
    return read(attestation, roots, _verified)


def read(attestation: Attestation, roots: Sequence[bytes], verified: Verified) -> Facts:
    """What `verified` finds in the certificates of a statement. Raises SignatureInvalid where one cannot be
    read, and what that raises."""
    try:
        leaf = x509.load_der_x509_certificate(attestation.statement)
        chain = [x509.load_der_x509_certificate(der) for der in attestation.chain[:LONGEST_CHAIN]]
        return verified(leaf, chain, [x509.load_der_x509_certificate(der) for der in roots])
    except UNREADABLE as error:
        raise SignatureInvalid("the attestation cannot be read") from error


def _verified(leaf: x509.Certificate, chain: Certificates, anchors: Certificates) -> Facts:
    issuer = anchored(leaf, chain, anchors)
    found = _policies(leaf)
    # The card's own certificate is under the same root, and says nothing of a key in a slot.
    if found is None:
        raise SignatureInvalid("the certificate is not an attestation")
    firmware = _extension(leaf, FIRMWARE)
    return Facts(
        from_cryptography(leaf.public_key()),
        issuer,
        generated_inside=True,
        pin_policy=found[0],
        touch_policy=found[1],
        serial=_integer(_extension(leaf, SERIAL)),
        firmware=".".join(map(str, firmware)) if firmware is not None and len(firmware) == 3 else None,
    )


def policies(statement: bytes) -> tuple[str, str] | None:
    """PIN and touch policy that a statement claims, unverified; None without them. Raises ValueError."""
    try:
        return _policies(x509.load_der_x509_certificate(statement))
    except UNREADABLE as error:
        raise ValueError("this is not a certificate") from error


def _policies(certificate: x509.Certificate) -> tuple[str, str] | None:
    value = _extension(certificate, POLICIES)
    if value is None or len(value) != 2:
        return None
    pin, touch = PIN_POLICIES.get(value[0]), TOUCH_POLICIES.get(value[1])
    return None if pin is None or touch is None else (pin, touch)


def _extension(certificate: x509.Certificate, identifier: x509.ObjectIdentifier) -> bytes | None:
    try:
        value = certificate.extensions.get_extension_for_oid(identifier).value
    except x509.ExtensionNotFound:
        return None
    return _unwrapped(value.value) if isinstance(value, x509.UnrecognizedExtension) else None


def _unwrapped(value: bytes) -> bytes:
    """Some cards put their octets into an OCTET STRING of their own inside the extension."""
    wrapped = len(value) > 2 and value[0] == 0x04 and value[1] == len(value) - 2
    return value[2:] if wrapped else value


def _integer(der: bytes | None) -> str | None:
    """A short DER INTEGER as decimal text."""
    if der is None or len(der) < 3 or der[0] != 0x02 or der[1] != len(der) - 2:
        return None
    return str(int.from_bytes(der[2:], "big", signed=True))
