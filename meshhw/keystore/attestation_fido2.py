"""Attestations of FIDO2 credentials: the packed format of WebAuthn section 8.2.

`statement` of the Attestation is the CBOR map {"fmt", "authData", "attStmt"} as the authenticator gave it,
`signature` the 32-octet client data hash that it was made over, `chain` its certificates.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier

from meshhw.algorithms import PublicKey
from meshhw.errors import FormatError, InvalidPublicKey, SignatureInvalid
from meshhw.keystore import cbor
from meshhw.keystore.attestation import Attestation, Facts
from meshhw.keystore.certificates import anchored
from meshhw.keystore.webauthn import (
    AuthenticatorData,
    check_signature,
    parse_authenticator_data,
)

FORMAT = "fido2"
AAGUID_EXTENSION = ObjectIdentifier("1.3.6.1.4.1.45724.1.1.4")
_OCTET_STRING_OF_16 = b"\x04\x10"
_HASH = 32


def make(fmt: str, authenticator_data: bytes, statement: object, client_data_hash: bytes) -> Attestation:
    """Keep what makeCredential returned."""
    whole = cbor.encode({"fmt": fmt, "authData": authenticator_data, "attStmt": statement})
    return Attestation(FORMAT, whole, _certificates(statement), client_data_hash)


def restore(statement: bytes, client_data_hash: bytes) -> Attestation:
    """The attestation whose statement was kept. Raises FormatError."""
    kept = Attestation(FORMAT, statement, signature=client_data_hash)
    return replace(kept, chain=_certificates(_parts(kept)[2]))


def read(attestation: Attestation) -> AuthenticatorData:
    """The authenticator data of an attestation, unverified. Raises FormatError."""
    return parse_authenticator_data(_parts(attestation)[1])


def verify(attestation: Attestation, roots: Sequence[bytes]) -> Facts:
    """What the attestation proves; a FIDO2 key is always made inside, and always wants a touch.

    Raises SignatureInvalid for a wrong signature, for a chain that leads to none of `roots`, and for a
    credential that its maker does not attest (self attestation, or none).
    """
    try:
        fmt, octets, statement = _parts(attestation)
        data = parse_authenticator_data(octets)
    except FormatError as error:
        raise SignatureInvalid(f"the attestation cannot be read: {error.message}") from error
    if data.public is None or len(attestation.signature) != _HASH:
        raise SignatureInvalid("the attestation is of no credential")
    certificates = _certificates(statement)
    if fmt != "packed" or not certificates:
        raise SignatureInvalid(
            "no maker attests this credential", hint="choose an authenticator with packed attestation"
        )
    leaf, *chain = _load(certificates)
    _check(leaf, octets + attestation.signature, statement, data)
    issuer = anchored(leaf, chain, _load(roots))
    return Facts(data.public, issuer, generated_inside=True, touch_policy="always")


def public_of(attestation: Attestation) -> PublicKey:
    """The credential's public key, unverified. Raises FormatError."""
    public = read(attestation).public
    if public is None:
        raise FormatError("the attestation is of no credential")
    return public


def _parts(attestation: Attestation) -> tuple[str, bytes, dict[str, Any]]:
    match cbor.decode(attestation.statement):
        case {"fmt": str(fmt), "authData": bytes(octets), "attStmt": dict(statement)}:
            return fmt, octets, statement
    raise FormatError("this is no attestation object")


def _check(leaf: x509.Certificate, signed: bytes, statement: dict[str, Any], data: AuthenticatorData) -> None:
    signature = statement.get("sig")
    if not isinstance(signature, bytes) or data.public is None:
        raise SignatureInvalid("the attestation has no signature")
    try:
        check_signature(leaf.public_key(), signed, signature)
    except (ValueError, InvalidPublicKey) as error:
        raise SignatureInvalid("the attestation's key cannot be read") from error
    _check_leaf(leaf, data.aaguid)


def _check_leaf(leaf: x509.Certificate, aaguid: bytes) -> None:
    """WebAuthn section 8.2.1: no authority, the right unit, and the model if it names one."""
    units = [part.value for part in leaf.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)]
    if "Authenticator Attestation" not in units:
        raise SignatureInvalid("the attestation's certificate is not one for attestation")
    try:
        if leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            raise SignatureInvalid("the attestation's certificate is an authority's")
        named = leaf.extensions.get_extension_for_oid(AAGUID_EXTENSION).value
    except x509.ExtensionNotFound:
        return
    value = named.value if isinstance(named, x509.UnrecognizedExtension) else b""
    if not hmac.compare_digest(value, _OCTET_STRING_OF_16 + aaguid):
        raise SignatureInvalid("the attestation's certificate is of another model")


def _certificates(statement: object) -> tuple[bytes, ...]:
    chain = statement.get("x5c") if isinstance(statement, dict) else None
    if not isinstance(chain, list) or not all(isinstance(der, bytes) for der in chain):
        return ()
    return tuple(chain)


def _load(certificates: Sequence[bytes]) -> list[x509.Certificate]:
    try:
        return [x509.load_der_x509_certificate(der) for der in certificates]
    except ValueError as error:
        raise SignatureInvalid("a certificate cannot be read") from error
