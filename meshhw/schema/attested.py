"""Attestations in a KeyData (rule R6): what a token says of a key, under the signature of its profile.

A card's statement is a certificate and goes where certificates go; a TPM's statement and signature are kept
one after the other in `Attestation`. The certificates of whoever made the statement are the `X509Chain`.
"""

from __future__ import annotations

from msgspec.structs import replace

from meshhw.errors import FormatError, NotSupported
from meshhw.keystore.attestation import Attestation
from meshhw.keystore.tpm_public import Reader
from meshhw.schema.key import KeyData

CARDS, TPM = ("yubikey-piv", "piv"), "tpm2-certify"


def attested(data: KeyData, attestation: Attestation) -> KeyData:
    """The KeyData with that attestation beside it. Raises NotSupported for other formats."""
    if attestation.format in CARDS:
        return replace(
            data,
            x509_certificate=attestation.statement,
            x509_chain=attestation.chain,
            attestation_format=attestation.format,
        )
    if attestation.format == TPM:
        return replace(
            data,
            x509_chain=attestation.chain,
            attestation=attestation.statement + attestation.signature,
            attestation_format=TPM,
        )
    raise NotSupported(f"no profile carries attestations of format {attestation.format!r}")


def attestation_of(data: KeyData) -> Attestation | None:
    """The attestation beside a key, unverified; None when there is none.

    Raises FormatError for one that is torn, NotSupported for an unknown format.
    """
    if data.attestation_format is None:
        return None
    if data.attestation_format in CARDS and data.x509_certificate is not None:
        return Attestation(data.attestation_format, data.x509_certificate, data.x509_chain)
    if data.attestation_format == TPM and data.attestation is not None:
        return _of_tpm(data.attestation, data.x509_chain)
    if data.attestation_format in (*CARDS, TPM):
        raise FormatError("an attestation is named and is not there")
    raise NotSupported(f"attestations of format {data.attestation_format[:32]!r} are not known")


def _of_tpm(octets: bytes, chain: tuple[bytes, ...]) -> Attestation:
    """Two TPM2Bs, the public area and what was said of it; the rest is the signature."""
    reader = Reader(octets)
    reader.sized()
    reader.sized()
    return Attestation(TPM, octets[: reader.position], chain, octets[reader.position :])
