"""Secrets that one credential's hmac-secret opens again: a salt of its own for each, PIN and touch for all.

The blob is a box (meshhw.keystore.box) whose key is the authenticator's 32-octet answer for the salt; the
header names the credential, so that the wrong authenticator is told before a PIN is asked.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Annotated, Any

import msgspec
from fido2.ctap2.base import Ctap2
from fido2.ctap2.pin import ClientPin
from msgspec import Meta

from meshhw.errors import DecryptionFailed, FormatError, IntegrityError, NotSupported, TokenFault, UsageError
from meshhw.keystore import box
from meshhw_fido2.credentials import Asker
from meshhw_fido2.pins import client_pin

EXTENSION = "hmac-secret"
MOST_SEALED = 4096
_PURPOSE = 1024
_SALT = 32
_NAME = "the sealed blob"
Octets = Annotated[bytes, Meta(max_length=_PURPOSE)]


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="fido2", tag_field="purpose"):
    """What opens the blob: `verified` says which of hmac-secret's two values, with the PIN or without."""

    credential: Octets
    salt: Octets
    verified: bool
    bound: Octets


def new_header(credential: bytes, purpose: bytes, *, verified: bool) -> Header:
    """With a fresh salt. Raises UsageError for an endless purpose."""
    if len(purpose) > _PURPOSE:
        raise UsageError(f"a purpose has at most {_PURPOSE} octets")
    return Header(credential, secrets.token_bytes(_SALT), verified, purpose)


def pack(header: Header, key: bytes, secret: bytes) -> bytes:
    """The blob. Raises UsageError for a secret that is too long."""
    if len(secret) > MOST_SEALED:
        raise UsageError(f"at most {MOST_SEALED} octets are sealed")
    return box.pack(key, msgspec.json.encode(header), secret)


def parse(blob: bytes, purpose: bytes) -> tuple[Header, box.Box]:
    """Raises DecryptionFailed for another purpose, and whatever else is wrong before it is opened."""
    try:
        parsed = box.parse(blob, _NAME)
        header = msgspec.json.decode(parsed.header, type=Header)
        if msgspec.json.encode(header) != parsed.header or len(header.salt) != _SALT:
            raise FormatError("it is not in its canonical form")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DecryptionFailed(f"{_NAME} is not one of a FIDO2 authenticator") from error
    except IntegrityError as error:
        raise DecryptionFailed(f"{_NAME} cannot be read: {error.message}") from error
    if header.bound != purpose:
        raise DecryptionFailed(f"{_NAME} is for another purpose")
    return header, parsed


def can(ctap: Ctap2) -> bool:
    """Whether it gives secrets: it has the extension, and a way to keep them from who listens."""
    return EXTENSION in ctap.info.extensions and bool(ctap.info.pin_uv_protocols)


def require(ctap: Ctap2) -> None:
    """Raises NotSupported where no secret can be had, before anybody is asked for anything."""
    if EXTENSION not in ctap.info.extensions:
        raise NotSupported("the authenticator has no hmac-secret", hint="choose one of CTAP 2.0 or later")
    client_pin(ctap)


def key(asker: Asker, ctap: Ctap2, header: Header) -> bytes:
    """The 32 octets that the credential gives for the salt. Wants a touch, and the PIN if `verified`."""
    require(ctap)
    client_data_hash = hashlib.sha256(b"meshhw/fido2-seal/1" + header.salt).digest()
    proof = asker.prove_verified(ctap, client_data_hash, verified=header.verified)
    protocol = client_pin(ctap).protocol
    agreed = ctap.client_pin(protocol.VERSION, ClientPin.CMD.GET_KEY_AGREEMENT)
    ours, shared = protocol.encapsulate(agreed[ClientPin.RESULT.KEY_AGREEMENT])
    salt = protocol.encrypt(shared, header.salt)
    inputs: dict[int, Any] = {1: ours, 2: salt, 3: protocol.authenticate(shared, salt)}
    if protocol.VERSION > 1:  # CTAP 2.0 has no name for the first one (CTAP 2.1 section 12.5)
        inputs[4] = protocol.VERSION
    response = asker.ask(
        ctap, header.credential, client_data_hash, proof=proof, extensions={EXTENSION: inputs}
    )
    answer = (response.auth_data.extensions or {}).get(EXTENSION)
    secret = protocol.decrypt(shared, answer) if answer else b""
    if len(secret) != _SALT:
        raise TokenFault("the authenticator gave no hmac-secret for this credential")
    return secret
