"""Secrets that only this TPM opens again, bound to a purpose and, if asked, to the machine's measurements.

A secret of at most 128 octets is sealed itself; a larger one is encrypted with AES-256-GCM under a key that
is sealed. The sealed object's authorisation value is a digest of the purpose, so that the TPM itself refuses
another one. Layout: one octet of kind (1 direct, 2 wrapped), two of the TPMKey's length, the TPMKey in DER,
and for a wrapped secret the nonce (12) and the ciphertext with its tag.
"""

from __future__ import annotations

import hashlib
import secrets
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from meshhw.errors import (
    DecryptionFailed,
    FormatError,
    IntegrityError,
    NotSupported,
    PinIncorrect,
    TokenFault,
    UsageError,
)
from meshhw.keystore.tpm_public import Attributes
from meshhw_tpm import keyfile, objects, policy
from meshhw_tpm.connection import Connection
from meshhw_tpm.context import Context
from meshhw_tpm.keyfile import KeyFile
from meshhw_tpm.objects import Terms
from meshhw_tpm.policy import Pcrs
from meshhw_tpm.source import loaded, structures

DIRECT_LIMIT, LIMIT = 128, 4096
_DIRECT, _WRAPPED = 1, 2
_HEAD = struct.Struct(">BH")
_NONCE = 12
_ATTRIBUTES = Attributes.FIXED_TPM | Attributes.FIXED_PARENT | Attributes.NO_DA


def seal(connection: Connection, secret: bytes, purpose: bytes, pcrs: Pcrs | None) -> bytes:
    """The blob. Raises UsageError for an empty secret or one above 4096 octets."""
    if not 0 < len(secret) <= LIMIT:
        raise UsageError(f"a TPM seals 1 to {LIMIT} octets, not {len(secret)}")
    if len(secret) <= DIRECT_LIMIT:
        return _framed(_DIRECT, _sealed(connection, secret, purpose, pcrs))
    key, nonce = secrets.token_bytes(32), secrets.token_bytes(_NONCE)
    head = _framed(_WRAPPED, _sealed(connection, key, purpose, pcrs))
    return head + nonce + AESGCM(key).encrypt(nonce, secret, head + purpose)


def unseal(connection: Connection, blob: bytes, purpose: bytes) -> bytes:
    """The secret. Raises DecryptionFailed for another TPM, purpose or a changed blob."""
    kind, sealed, rest = _parse(blob)
    try:
        secret = connection.run(lambda context: _unsealed(context, sealed, purpose))
    except (IntegrityError, PinIncorrect, NotSupported) as error:
        raise DecryptionFailed("the TPM does not open this for that purpose") from error
    except TokenFault as error:
        if not sealed.policy:
            raise
        raise DecryptionFailed(
            "the TPM does not open this: the machine's measurements (PCRs) are not those it is bound to",
            hint="start the machine as it was when the secret was sealed, or use the secret's back-up",
        ) from error
    if kind == _DIRECT:
        return secret
    try:
        return AESGCM(secret).decrypt(rest[:_NONCE], rest[_NONCE:], blob[: len(blob) - len(rest)] + purpose)
    except (InvalidTag, ValueError) as error:
        raise DecryptionFailed("the sealed secret was changed") from error


def _sealed(connection: Connection, data: bytes, purpose: bytes, pcrs: Pcrs | None) -> KeyFile:
    def make(context: Context) -> KeyFile:
        steps = policy.steps(context, pcrs, auth_value=True)
        attributes = _ATTRIBUTES if steps else _ATTRIBUTES | Attributes.USER_WITH_AUTH
        return objects.seal(context, data, Terms(attributes, _authorisation(purpose), steps))

    return connection.run(make)


def _unsealed(context: Context, sealed: KeyFile, purpose: bytes) -> bytes:
    with loaded(context, sealed.parent, sealed.area.name, *structures(sealed)) as handle:
        context.esapi.tr_set_auth(handle, _authorisation(purpose))
        if not sealed.policy:
            return bytes(context.esapi.unseal(handle, session1=context.session(response=True)))
        with policy.session(context, sealed.policy) as session:
            return bytes(context.esapi.unseal(handle, session1=session))


def _authorisation(purpose: bytes) -> bytes:
    """32 octets without a zero at the end, which a TPM would cut off (part 1, section 19.6.4.3)."""
    digest = hashlib.sha256(b"meshhw tpm seal\0" + purpose).digest()
    return digest[:-1] + bytes([digest[-1] | 1])


def _framed(kind: int, sealed: KeyFile) -> bytes:
    der = keyfile.to_der(sealed)
    return _HEAD.pack(kind, len(der)) + der


def _parse(blob: bytes) -> tuple[int, KeyFile, bytes]:
    if len(blob) < _HEAD.size or len(blob) > keyfile.MAX_OCTETS + 2 * LIMIT:
        raise DecryptionFailed("this is no secret that a TPM sealed")
    kind, length = _HEAD.unpack_from(blob)
    end = _HEAD.size + length
    if kind not in (_DIRECT, _WRAPPED) or end > len(blob) or (kind == _DIRECT and end != len(blob)):
        raise DecryptionFailed("this is no secret that a TPM sealed")
    try:
        sealed = keyfile.from_der(blob[_HEAD.size : end])
    except (FormatError, NotSupported) as error:
        raise DecryptionFailed("this is no secret that a TPM sealed") from error
    return kind, sealed, blob[end:]
