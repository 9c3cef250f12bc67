"""The files in a vault's `keys/`: one private key each, encrypted, with its public side bound to it."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from meshhw import files
from meshhw.algorithms import Operation, PrivateKey
from meshhw.errors import IntegrityError
from meshhw.keystore import box
from meshhw.udf.key import fingerprint
from meshhw_software import header
from meshhw_software.header import KeyHeader
from meshhw_software.sealing import refuse_self
from meshhw_software.secret import Secret, load
from meshhw_software.vault import IDENTIFIER_OCTETS, Vault

_SEAL_PURPOSE = b"meshhw/vault-key/1"
_Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Opened:
    stamp: _Stamp
    secret: Secret
    sealed: bool


class KeyFiles:
    """Reads, writes and opens key files. An opened key is kept as long as its file is the same one."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._opened: dict[bytes, _Opened] = {}

    def headers(self) -> list[KeyHeader]:
        """The clear part of every key. Raises IntegrityError, which names the file."""
        self._vault.require_present()
        found = (self._find(bytes.fromhex(stem)) for stem in self._vault.names("keys"))
        return [self._proved(*one) for one in found if one is not None]

    def header(self, identifier: bytes) -> KeyHeader:
        """The clear part of one key. Raises KeyNotFound."""
        return self._proved(*self._require(identifier))

    def add(
        self,
        private: PrivateKey,
        label: str,
        uses: tuple[Operation, ...],
        sealed_by: str,
        identifier: bytes | None = None,
    ) -> KeyHeader:
        """Write a new key under a fresh identifier. Raises UsageError for octets that are no key."""
        public = load(private).public
        self._vault.make()
        key = self._vault.key()
        identifier = identifier or secrets.token_bytes(IDENTIFIER_OCTETS)
        blob = b""
        if sealed_by:
            sealed_by, secret, blob = self._seal(sealed_by, identifier)
            key = _both(key, secret)
        head = KeyHeader(
            vault=self._vault.header().vault,
            id=identifier,
            algorithm=private.algorithm,
            form=private.form,
            public=public.octets,
            udf=fingerprint(public),
            label=label,
            uses=uses,
            created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            sealed_by=sealed_by,
            sealed=blob,
        )
        boxed = box.pack(key, header.encode(head), private.octets)
        with self._vault.lock():
            self._vault.write(self._vault.file_of("keys", identifier.hex()), boxed)
        return head

    def delete(self, identifier: bytes) -> None:
        """Remove a key's file. Raises KeyNotFound."""
        path = self._vault.file_of("keys", identifier.hex())
        if not path.exists():
            raise self._vault.absent(identifier)
        with self._vault.lock():
            files.remove(path)
        self._opened.pop(identifier, None)

    def secret(self, head: KeyHeader, *, keep: bool) -> Secret:
        """The working private key. Raises KeyNotFound, PinIncorrect, DecryptionFailed, IntegrityError,
        TokenRemoved, TokenMismatch.
        """
        stamp = self._stamp(head.id)
        known = self._opened.get(head.id)
        if known is not None and known.stamp == stamp:
            return known.secret
        found, boxed = self._require(head.id)
        if found != head:
            raise IntegrityError(
                f"{boxed.name} is not the key that was listed", hint="list the keys again, and compare"
            )
        opened = load(PrivateKey(found.algorithm, boxed.open(self._box_key(found)), found.form))
        if not hmac.compare_digest(opened.public.octets, found.public):
            raise IntegrityError(f"{boxed.name} holds another key than it says")
        if keep:
            self._opened[head.id] = _Opened(stamp, opened, bool(found.sealed_by))
        return opened

    def forget(self) -> None:
        """Drop every opened key."""
        self._opened.clear()

    def forget_sealed(self) -> None:
        """Drop the keys that another token has to open each time."""
        self._opened = {name: one for name, one in self._opened.items() if not one.sealed}

    def _box_key(self, head: KeyHeader) -> bytes:
        key = self._vault.key()
        if not head.sealed_by:
            return key
        purpose = _SEAL_PURPOSE + head.vault + head.id
        return _both(key, self._vault.sealers.unseal(head.sealed_by, head.sealed, purpose))

    def _seal(self, sealed_by: str, identifier: bytes) -> tuple[str, bytes, bytes]:
        name = self._vault.sealers.canonical(sealed_by)
        refuse_self(name, str(self._vault.uri))
        secret = secrets.token_bytes(32)
        purpose = _SEAL_PURPOSE + self._vault.header().vault + identifier
        return name, secret, self._vault.sealers.seal(name, secret, purpose)

    def _proved(self, head: KeyHeader, boxed: box.Box) -> KeyHeader:
        if self._vault.is_open and not head.sealed_by:
            boxed.open(self._vault.key())
        return head

    def _require(self, identifier: bytes) -> tuple[KeyHeader, box.Box]:
        found = self._find(identifier)
        if found is None:
            raise self._vault.absent(identifier)
        return found

    def _find(self, identifier: bytes) -> tuple[KeyHeader, box.Box] | None:
        boxed = self._vault.read("keys", identifier.hex())
        if boxed is None:
            return None
        head = header.expect(KeyHeader, boxed.header, boxed.name)
        if head.id != identifier or head.vault != self._vault.header().vault:
            raise IntegrityError(f"{boxed.name} belongs to another vault, or bears another key's name")
        return head, boxed

    def _stamp(self, identifier: bytes) -> _Stamp:
        try:
            status = self._vault.file_of("keys", identifier.hex()).stat()
        except FileNotFoundError as error:
            raise self._vault.absent(identifier) from error
        return status.st_ino, status.st_mtime_ns, status.st_size


def _both(key: bytes, secret: bytes) -> bytes:
    """The key of a box that needs the vault's key and the other token's secret."""
    return HKDF(SHA512(), 32, salt=None, info=b"meshhw/box-of-two/1").derive(key + secret)
