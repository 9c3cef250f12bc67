"""A secret on disk that only its token opens: an account's seed, and the keys of its stores."""

from __future__ import annotations

from pathlib import Path

import msgspec

from meshhw import files
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import KeyRing
from meshhw.dare.header import ContentMeta
from meshhw.dare.prepare import Outline
from meshhw.dare.read import open_envelope
from meshhw.dare.write import seal
from meshhw.errors import FormatError, KeyNotFound, NewerVersion, NotSupported
from meshhw.keystore import registry
from meshhw.keystore.api import OpenOptions, Seals, Token
from meshhw.keystore.uri import TokenURI
from meshhw.udf import UDF, Kind
from meshhw.udf.secret import symmetric_key

VERSION = 1
_LIMIT = 1 << 20


class SealedFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A token's blob, and which token it is."""

    version: int
    token: str
    blob: bytes
    body: bytes | None = None
    """What is longer than tokens seal: an envelope, and `blob` is the symmetric key that it is for."""


def sealed_long(token: Token, secret: bytes, purpose: str) -> bytes:
    """The same as `sealed` for a secret of any length. Raises NotSupported."""
    key = symmetric_key(32)
    body = seal(secret, Outline(readers=[key], content=ContentMeta(unique_id=purpose)))
    if not isinstance(token, Seals):
        raise NotSupported(f"{token.info().label} seals no secrets")
    blob = token.seal(key.data, purpose.encode())
    found = SealedFile(version=VERSION, token=str(token.info().uri), blob=blob, body=body.octets())
    return msgspec.json.encode(found) + b"\n"


def sealed(token: Token, secret: bytes, purpose: str) -> bytes:
    """The octets of a file that holds `secret`, bound to `purpose`. Raises NotSupported."""
    if not isinstance(token, Seals):
        raise NotSupported(f"{token.info().label} seals no secrets")
    blob = token.seal(secret, purpose.encode())
    return msgspec.json.encode(SealedFile(version=VERSION, token=str(token.info().uri), blob=blob)) + b"\n"


def unsealed(path: Path, purpose: str, options: OpenOptions) -> bytes | None:
    """The secret, None when there is no such file.

    Raises DecryptionFailed for another purpose, TokenNotFound, FormatError, NewerVersion.
    """
    data = files.read_private(path, _LIMIT)
    if data is None:
        return None
    found = _parse(path, data)
    token = registry.open_token(TokenURI.parse(found.token), options)
    try:
        if not isinstance(token, Seals):
            raise NotSupported(f"{found.token} seals no secrets")
        secret = token.unseal(found.blob, purpose.encode())
    finally:
        token.close()
    return secret if found.body is None else _opened(found.body, secret)


def sealer_of(path: Path) -> TokenURI:
    """The token that a sealed file needs. Raises KeyNotFound when there is no such file, FormatError."""
    data = files.read_private(path, _LIMIT)
    if data is None:
        raise KeyNotFound(f"there is no {path}")
    return TokenURI.parse(_parse(path, data).token)


def _opened(body: bytes, key: bytes) -> bytes:
    ring = KeyRing(symmetric=[UDF.make(Kind.SYMMETRIC, key)])
    return open_envelope(Envelope.parse(body), ring).payload


def _parse(path: Path, data: bytes) -> SealedFile:
    try:
        found = msgspec.json.decode(data, type=SealedFile)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} is damaged: {error}") from error
    if found.version > VERSION:
        raise NewerVersion(f"{path} was written by a later version")
    return found
