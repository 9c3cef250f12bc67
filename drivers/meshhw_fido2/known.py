"""Credentials that were made here, remembered in the state directory (public facts alone).

They tell two authenticators of one model apart before a PIN is given, keep the attestation that only the
making shows, and are the only memory of credentials that the authenticator does not keep itself.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from meshhw import files
from meshhw.algorithms import PublicKey
from meshhw.errors import FormatError, NewerVersion
from meshhw.keystore import attestation_fido2
from meshhw.keystore.attestation import Attestation
from meshhw.keystore.home import state_directory

VERSION = 1
_LONGEST = 64 * 1024
Octets = Annotated[bytes, Meta(max_length=16_384)]


class Known(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One credential and its attestation. `use` is what it was made for."""

    use: Literal["seal", "presence"]
    aaguid: Octets
    credential: Octets
    label: Annotated[str, Meta(max_length=256)]
    discoverable: bool
    verified: bool
    statement: Octets
    client_data_hash: Octets
    version: int = VERSION
    digest: Octets = b""
    """SHA-256 of the rest, as this is written."""

    def sealed(self) -> Known:
        """With the digest of what it says."""
        plain = msgspec.structs.replace(self, digest=b"")
        return msgspec.structs.replace(self, digest=hashlib.sha256(msgspec.json.encode(plain)).digest())

    @property
    def attestation(self) -> Attestation:
        """The authenticator's statement, to be verified by `meshhw.keystore.attestation.verify`."""
        return attestation_fido2.restore(self.statement, self.client_data_hash)

    @property
    def public(self) -> PublicKey:
        """The credential's public key."""
        return attestation_fido2.public_of(self.attestation)


class Memory:
    """The directory `fido2` of the state directory, one file a credential."""

    def __init__(self) -> None:
        self._directory = state_directory() / "fido2"

    def add(self, known: Known) -> None:
        """Remember, whole or not at all."""
        files.private_directory(self._directory.parent)
        files.private_directory(self._directory)
        files.replace(self._path(known.credential), msgspec.json.encode(known.sealed()))

    def get(self, credential: bytes) -> Known | None:
        """The one with that id. Raises FormatError and NewerVersion, which name the file."""
        return self._read(self._path(credential))

    def of(self, aaguid: bytes, use: str) -> list[Known]:
        """Those of one model and use."""
        found = (self._read(path) for path in sorted(self._directory.glob("*.json")))
        return [one for one in found if one is not None and (one.aaguid, one.use) == (aaguid, use)]

    def remove(self, credential: bytes) -> None:
        """Forget; an unknown one is fine."""
        self._path(credential).unlink(missing_ok=True)

    def _path(self, credential: bytes) -> Path:
        return self._directory / f"{hashlib.sha256(credential).hexdigest()[:32]}.json"

    def _read(self, path: Path) -> Known | None:
        data = files.read_private(path, _LONGEST)
        if data is None:
            return None
        try:
            version = msgspec.json.decode(data, type=_Versioned).version
            if version > VERSION:
                raise NewerVersion(f"{path} is of version {version}, this program writes {VERSION}")
            known = msgspec.json.decode(data, type=Known)
            attestation_fido2.public_of(known.attestation)
        except (msgspec.DecodeError, UnicodeDecodeError, FormatError) as error:
            raise _damaged(path) from error
        if known.digest != known.sealed().digest:
            raise _damaged(path)
        return known


def _damaged(path: Path) -> FormatError:
    return FormatError(
        f"{path} is damaged",
        hint="restore it from a backup; without one remove it, and with it what is known of a credential "
        "that the authenticator does not keep itself",
    )


class _Versioned(msgspec.Struct):
    """What every version of the file begins to be read by."""

    version: int
