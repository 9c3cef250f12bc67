"""Named octets beside a vault's keys, and secrets sealed under it for others to keep."""

from __future__ import annotations

import hashlib

from meshhw import files
from meshhw.errors import DecryptionFailed, IntegrityError, UsageError
from meshhw.keystore import box
from meshhw_software import header
from meshhw_software.header import BlobHeader, DataHeader
from meshhw_software.vault import Vault

MOST_SEALED = 4096
MOST_STORED = 512 * 1024
LONGEST_NAME = 256
_PURPOSE = 1024
_OPEN_KEY = bytes(32)
"""The key of data that is not private: the box keeps it whole, not secret."""


class Drawer:
    """`StoresData` and `Seals` of one vault."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def store(self, name: str, data: bytes, *, private: bool) -> None:
        """Create or replace. Raises UsageError for a name or data beyond the limits."""
        if not 0 < len(name) <= LONGEST_NAME or len(data) > MOST_STORED:
            raise UsageError(
                f"a vault keeps {MOST_STORED} octets under a name of 1 to {LONGEST_NAME} characters"
            )
        self._vault.make()
        head = DataHeader(self._vault.header().vault, name, private)
        boxed = box.pack(self._vault.key() if private else _OPEN_KEY, header.encode(head), data)
        with self._vault.lock():
            self._vault.write(self._vault.file_of("data", _stem(name)), boxed)

    def load(self, name: str) -> bytes | None:
        """The octets, None if absent. Raises DecryptionFailed for a changed file."""
        found = self._vault.read("data", _stem(name))
        if found is None:
            self._vault.require_present()
            return None
        head = header.expect(DataHeader, found.header, found.name)
        if head.name != name or head.vault != self._vault.header().vault:
            raise IntegrityError(f"{found.name} is not {name!r} of this vault")
        return found.open(self._vault.key() if head.private else _OPEN_KEY)

    def delete(self, name: str) -> None:
        """Remove; absent is fine."""
        self._vault.require_present()
        if not self._vault.exists:
            return
        with self._vault.lock():
            files.remove(self._vault.file_of("data", _stem(name)))

    def names(self) -> list[str]:
        """The names in store, sorted."""
        found = (self._vault.read("data", stem) for stem in self._vault.names("data"))
        return sorted(header.expect(DataHeader, one.header, one.name).name for one in found if one)

    def seal(self, secret: bytes, purpose: bytes) -> bytes:
        """A box that the vault does not keep."""
        if len(secret) > MOST_SEALED or len(purpose) > _PURPOSE:
            raise UsageError(f"at most {MOST_SEALED} octets are sealed, for a purpose of at most {_PURPOSE}")
        self._vault.make()
        head = BlobHeader(self._vault.header().vault, purpose)
        return box.pack(self._vault.key(), header.encode(head), secret)

    def unseal(self, blob: bytes, purpose: bytes) -> bytes:
        """The secret. Raises DecryptionFailed, whatever is wrong with the blob."""
        try:
            parsed = box.parse(blob, "the sealed blob")
            head = header.expect(BlobHeader, parsed.header, parsed.name)
        except IntegrityError as error:
            raise DecryptionFailed(f"the sealed blob cannot be read: {error.message}") from error
        if head.bound != purpose or head.vault != self._vault.header().vault:
            raise DecryptionFailed("the sealed blob is of another vault or for another purpose")
        return parsed.open(self._vault.key())


def _stem(name: str) -> str:
    """Names are any text; a file's name is not."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]
