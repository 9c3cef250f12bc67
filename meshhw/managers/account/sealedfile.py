"""A secret on disk that only its token opens: an account's seed, and the keys of its stores."""

from __future__ import annotations

from pathlib import Path

import msgspec

from meshhw import files
from meshhw.errors import FormatError, KeyNotFound, NewerVersion, NotSupported
from meshhw.keystore import registry
from meshhw.keystore.api import OpenOptions, Seals, Token
from meshhw.keystore.uri import TokenURI

VERSION = 1
_LIMIT = 1 << 20


class SealedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A token's blob, and which token it is."""

    version: int = VERSION
    token: str
    blob: bytes


def sealed(token: Token, secret: bytes, purpose: str) -> bytes:
    """The octets of a file that holds `secret`, bound to `purpose`. Raises NotSupported."""
    if not isinstance(token, Seals):
        raise NotSupported(f"{token.info().label} seals no secrets")
    blob = token.seal(secret, purpose.encode())
    return msgspec.json.encode(SealedFile(token=str(token.info().uri), blob=blob)) + b"\n"


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
        return token.unseal(found.blob, purpose.encode())
    finally:
        token.close()


def sealer_of(path: Path) -> TokenURI:
    """The token that a sealed file needs. Raises KeyNotFound when there is no such file, FormatError."""
    data = files.read_private(path, _LIMIT)
    if data is None:
        raise KeyNotFound(f"there is no {path}")
    return TokenURI.parse(_parse(path, data).token)


def _parse(path: Path, data: bytes) -> SealedFile:
    try:
        found = msgspec.json.decode(data, type=SealedFile)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} is damaged: {error}") from error
    if found.version > VERSION:
        raise NewerVersion(f"{path} was written by a later version")
    return found
