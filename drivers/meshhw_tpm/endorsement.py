"""The endorsement key, by which a TPM's maker vouches for it, and the answer to a challenge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from meshhw.errors import NotSupported
from meshhw.keystore.tpm_public import PublicArea, parse_public
from meshhw_tpm import errors
from meshhw_tpm.attesting import attestation_key
from meshhw_tpm.connection import Connection
from meshhw_tpm.context import Context
from meshhw_tpm.der import SEQUENCE, Elements
from meshhw_tpm.tss import Handle, Structure

_KINDS = ("EK-ECC256", "EK-RSA2048")


@dataclass(frozen=True, slots=True)
class Identity:
    """What a TPM shows to one who will challenge it: both public areas and the maker's certificate (DER)."""

    endorsement: PublicArea
    attestation: PublicArea
    certificate: bytes | None


def identity(connection: Connection) -> Identity:
    """Ask the TPM for its keys. Where the maker left no certificate, `certificate` is None."""
    return connection.run(_identity)


def answer(connection: Connection, blob: bytes, seed: bytes) -> bytes:
    """The secret of a challenge (`tpm_credential.make_challenge`). Raises IntegrityError, NotSupported."""
    return connection.run(lambda context: _activate(context, blob, seed))


def _identity(context: Context) -> Identity:
    certificate, template = _template(context)
    with (
        _endorsement_key(context, template) as (_, endorsement),
        attestation_key(context) as (_, attestation),
    ):
        return Identity(endorsement, attestation, certificate)


def _activate(context: Context, blob: bytes, seed: bytes) -> bytes:
    t = context.tss
    credential, _ = t.TPM2B_ID_OBJECT.unmarshal(blob)
    secret, _ = t.TPM2B_ENCRYPTED_SECRET.unmarshal(seed)
    _, template = _template(context)
    with (
        _endorsement_key(context, template) as (endorsement, _),
        attestation_key(context) as (attestation, _),
        _endorsement_policy(context) as policy,
    ):
        found = context.esapi.activate_credential(
            attestation, endorsement, credential, secret, session1=context.password(), session2=policy
        )
        return bytes(found)


def _template(context: Context) -> tuple[bytes | None, Structure]:
    """The maker's certificate and the key's template (TCG EK Credential Profile); P-256 if it has one."""
    read = context.tss.utils.NVReadEK(context.esapi)
    for kind in _KINDS:
        certificate, template = context.tss.utils.create_ek_template(kind, read)
        if certificate:
            return _trimmed(bytes(certificate)), template
    return None, context.tss.utils.create_ek_template(_KINDS[0], read)[1]


@contextmanager
def _endorsement_key(context: Context, template: Structure) -> Iterator[tuple[Handle, PublicArea]]:
    t = context.tss
    try:
        handle, public, *_ = context.esapi.create_primary(
            t.TPM2B_SENSITIVE_CREATE(), template, t.ESYS_TR.RH_ENDORSEMENT
        )
    except t.TSS2_Exception as error:
        if errors.tpm_code(int(error.rc)) in (errors.BAD_AUTH, errors.AUTH_FAIL):
            raise NotSupported(
                "the TPM's endorsement hierarchy has a password, which this program does not ask for"
            ) from error
        raise
    try:
        yield handle, parse_public(bytes(public.publicArea.marshal()))
    finally:
        context.flush(handle)


@contextmanager
def _endorsement_policy(context: Context) -> Iterator[Handle]:
    """The policy of endorsement keys: PolicySecret of their hierarchy."""
    t = context.tss
    session = context.start_session(t.TPM2_SE.POLICY)
    try:
        context.esapi.policy_secret(t.ESYS_TR.RH_ENDORSEMENT, session, b"", b"", b"", 0)
        yield session
    finally:
        context.flush_session(session)


def _trimmed(certificate: bytes) -> bytes:
    """The certificate without what fills up its place in the TPM's memory."""
    elements = Elements(certificate)
    elements.take(SEQUENCE)
    return certificate[: elements.position]
