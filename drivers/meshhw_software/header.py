"""What the files of a vault say in clear, as strict JSON: one struct per kind of file.

A header is readable without the passphrase, so that keys can be listed, and is bound to its body, so that
what was listed is proved when the body opens.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from meshhw.algorithms import Algorithm, Operation, PublicKey, SecretForm
from meshhw.errors import FormatError

Identifier = Annotated[bytes, Meta(min_length=8, max_length=16)]
Text = Annotated[str, Meta(max_length=1024)]
Blob = Annotated[bytes, Meta(max_length=16_384)]


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="purpose"):
    vault: Identifier


class PassphraseHeader(_Header, frozen=True, tag="vault"):
    """A vault whose key is under a passphrase (Argon2id)."""

    memory_kib: int
    iterations: int
    lanes: int
    salt: Annotated[bytes, Meta(max_length=64)]
    kdf: str = "argon2id"


class SealedHeader(_Header, frozen=True, tag="sealed-vault"):
    """A vault whose key is under a secret that another token seals."""

    sealed_by: Text
    sealed: Blob


class KeyHeader(_Header, frozen=True, tag="key"):
    """A private key. `sealed_by` is empty unless another token must open it too."""

    id: Identifier
    algorithm: Algorithm
    form: SecretForm
    public: Annotated[bytes, Meta(max_length=1024)]
    udf: Text
    label: Text
    uses: Annotated[tuple[Operation, ...], Meta(max_length=4)]
    created: Text
    sealed_by: Text = ""
    sealed: Blob = b""

    def public_key(self) -> PublicKey:
        """The key's public part. Raises InvalidPublicKey."""
        return PublicKey(self.algorithm, self.public)


class DataHeader(_Header, frozen=True, tag="data"):
    """Named octets. Public ones are boxed under a known key: whole, but not secret."""

    name: Text
    private: bool


class BlobHeader(_Header, frozen=True, tag="blob"):
    """A secret sealed for somebody else to keep; `bound` is its purpose."""

    bound: Blob


Header = PassphraseHeader | SealedHeader | KeyHeader | DataHeader | BlobHeader
_H = TypeVar("_H", bound=_Header)
_DECODER: msgspec.json.Decoder[Header] = msgspec.json.Decoder(Header)


def encode(header: Header) -> bytes:
    """The header's one line."""
    return msgspec.json.encode(header)


def decode(line: bytes, name: str) -> Header:
    """Read a header. Raises FormatError for anything that `encode` does not write."""
    try:
        header = _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{name} has no valid header: {error}") from error
    if encode(header) != line:
        raise FormatError(f"{name} has a header that is not in its canonical form")
    return header


def expect(kind: type[_H], line: bytes, name: str) -> _H:
    """Read a header of that kind. Raises FormatError."""
    header = decode(line, name)
    if not isinstance(header, kind):
        raise FormatError(f"{name} is a file of another kind")
    return header
