"""Statements of the TPM over its keys: the attestation key, its certificate, TPM2_Certify."""

from __future__ import annotations

import datetime
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509.oid import NameOID

from meshhw import files
from meshhw.errors import StateError
from meshhw.keystore.attestation import Attestation
from meshhw.keystore.tpm_public import PublicArea, parse_public
from meshhw.pubkeys import to_cryptography
from meshhw_tpm import der, templates
from meshhw_tpm.connection import Connection
from meshhw_tpm.context import Context
from meshhw_tpm.pins import Pins
from meshhw_tpm.source import Source
from meshhw_tpm.store import Store
from meshhw_tpm.tss import Handle

FORMAT = "tpm2-certify"
CERTIFICATE_FILE = "attestation-key.der"
_CERTIFICATE_LIMIT = 1024  # what TPM2_Hash takes at once
_YEARS = 25
_ECDSA_WITH_SHA256 = bytes.fromhex("06082a8648ce3d040302")


def attest(connection: Connection, store: Store, pins: Pins, source: Source) -> Attestation:
    """TPM2_Certify over a key by the TPM's attestation key. Asks for the key's PIN."""
    certificate = _certificate(connection, store)

    def certify(auth: bytes) -> tuple[bytes, bytes]:
        return connection.run(lambda context: _certify(context, source, auth))

    attested, signature = pins.authorised(source, certify)
    area = source.area.octets
    statement = struct.pack(">H", len(area)) + area + attested
    return Attestation(FORMAT, statement, (certificate,), signature)


@contextmanager
def attestation_key(context: Context) -> Iterator[tuple[Handle, PublicArea]]:
    """The attestation key: a restricted primary that the owner's seed determines."""
    with context.owner_session() as session:
        handle, public, *_ = context.esapi.create_primary(
            context.tss.TPM2B_SENSITIVE_CREATE(), templates.attestation_key(), session1=session
        )
    try:
        yield handle, parse_public(bytes(public.publicArea.marshal()))
    finally:
        context.flush(handle)


def _certify(context: Context, source: Source, auth: bytes) -> tuple[bytes, bytes]:
    """The statement (TPM2B_ATTEST) and its signature (TPMT_SIGNATURE)."""
    with attestation_key(context) as (signer, _), source.opened(context) as handle:
        context.esapi.tr_set_auth(handle, auth)
        session = context.session() if auth else context.password()
        scheme = context.tss.TPMT_SIG_SCHEME(scheme=context.tss.TPM2_ALG.NULL)
        attested, signature = context.esapi.certify(
            handle, signer, b"", scheme, session1=session, session2=context.password()
        )
        return bytes(attested.marshal()), bytes(signature.marshal())


def _certificate(connection: Connection, store: Store) -> bytes:
    """The attestation key's certificate: the one in the store, else one that the key signs itself."""
    path = store.directory / CERTIFICATE_FILE
    known = files.read_private(path, 4 * _CERTIFICATE_LIMIT)
    if known is not None:
        return known
    made = connection.run(_self_signed)
    store.prepare()
    files.replace(path, made)
    return made


def _self_signed(context: Context) -> bytes:
    with attestation_key(context) as (handle, area):
        body = _to_be_signed(area)
        digest, ticket = context.esapi.hash(body, context.tss.TPM2_ALG.SHA256, context.tss.ESYS_TR.OWNER)
        scheme = context.tss.TPMT_SIG_SCHEME(scheme=context.tss.TPM2_ALG.NULL)
        made = context.esapi.sign(handle, digest, scheme, ticket)
        pair = made.signature.ecdsa
        r, s = (int.from_bytes(bytes(part), "big") for part in (pair.signatureR, pair.signatureS))
    algorithm = der.encode(der.SEQUENCE, _ECDSA_WITH_SHA256)
    signature = der.encode(der.BIT_STRING, b"\0" + encode_dss_signature(r, s))
    return der.encode(der.SEQUENCE, body + algorithm + signature)


def _to_be_signed(area: PublicArea) -> bytes:
    """A TBSCertificate for the attestation key.

    The library builds it around a signature of its own by a key that is thrown away: it has no other way.
    """
    if area.public is None:
        raise StateError("the TPM made another attestation key than it was asked for")
    key = to_cryptography(area.public)
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, f"TPM attestation key {area.name.hex()[4:20]}")]
    )
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise StateError("the TPM made another attestation key than it was asked for")
    builder = (
        x509.CertificateBuilder(name, name, key, x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * _YEARS))
    )
    shaped = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return shaped.tbs_certificate_bytes
