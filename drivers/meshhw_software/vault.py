"""A vault on disk: `vault.box` with the vault's key, `keys/` and `data/` with one box a file.

The vault's key is random. It lies in `vault.box` under a passphrase, or under a secret that another token
seals, so that a new passphrase rewrites that one file and no key is touched.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

from meshhw import files
from meshhw.errors import (
    FormatError,
    KeyNotFound,
    PinIncorrect,
    StateError,
    TokenError,
    TokenMismatch,
    TokenNotFound,
    TokenRemoved,
    UsageError,
)
from meshhw.keystore import box
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, PinRequest
from meshhw.keystore.room import room
from meshhw.keystore.uri import TokenURI
from meshhw_software import header, kdf
from meshhw_software.header import PassphraseHeader, SealedHeader
from meshhw_software.sealing import Sealers, refuse_self

IDENTIFIER_OCTETS = 8
_KEY_OCTETS = 32
_STEM = re.compile("(?:[0-9a-f]{2}){8,16}")
_SEAL_PURPOSE = b"meshhw/vault/1"


class Vault:
    """One vault: finds, makes, opens and re-wraps the vault's key. Not locked against threads."""

    def __init__(
        self, path: Path, uri: TokenURI, options: OpenOptions, cost: kdf.Cost, new_sealed_by: str = ""
    ) -> None:
        self.path = path
        self.uri = uri
        self.new_sealed_by = new_sealed_by
        self.sealers = Sealers(options)
        self._options = options
        self._cost = cost
        self._key: bytearray | None = None
        self._known: bytes | None = None
        """The identifier of the vault that was found or made at this path."""

    @property
    def file(self) -> Path:
        """Where the vault's key lies."""
        return self.path / "vault.box"

    @property
    def exists(self) -> bool:
        """Whether the vault was made."""
        return self.file.exists()

    @property
    def is_open(self) -> bool:
        """Whether the vault's key is in memory."""
        return self._key is not None

    def check(self) -> None:
        """Raises InsecurePermissions, StateError for a vault without its head, FormatError, NewerVersion."""
        for path in (self.path, self.path / "keys", self.path / "data"):
            files.check_private(path)
        if self.exists:
            self.header()
        elif any(self.names("keys")):
            raise StateError(f"{self.path} has keys but no vault.box", hint="restore it from a backup")

    def header(self) -> PassphraseHeader | SealedHeader:
        """What `vault.box` says in clear."""
        return self._read()[1]

    def key(self) -> bytes:
        """The vault's key, opened on first use. Raises PinIncorrect, PinRequired, DecryptionFailed."""
        if self._key is None:
            self._key = bytearray(self._open())
        return bytes(self._key)

    def forget(self) -> None:
        """Take the vault's key out of memory, and close the tokens that were asked."""
        if self._key is not None:
            self._key[:] = bytes(len(self._key))
            self._key = None
        self.sealers.close()

    def make(self) -> None:
        """Make the vault unless it is there: under a new passphrase, or sealed by `new_sealed_by`.

        Raises TokenRemoved where it was there already: none is made in the place of one that was taken away.
        """
        if self.exists:
            return
        self.require_present()
        self._prepare()
        sealed_by = self.new_sealed_by
        identifier, key = secrets.token_bytes(IDENTIFIER_OCTETS), secrets.token_bytes(_KEY_OCTETS)
        boxed = (
            self._sealed(identifier, key, sealed_by)
            if sealed_by
            else self._wrapped(identifier, key, first=True)
        )
        with self.lock():
            if not self.exists:  # else another process was first, and the passphrase must be that one's
                self.write(self.file, boxed)
                self._key, self._known = bytearray(key), identifier

    def change_passphrase(self) -> None:
        """Ask for the passphrase and for a new one, and put the vault's key under it, all or nothing."""
        before, head = self._read()
        if isinstance(head, SealedHeader):
            raise UsageError("this vault has no passphrase: another token opens it", hint=head.sealed_by)
        key = self._open_by_passphrase(before, head)
        boxed = self._wrapped(head.vault, key, first=False)
        with self.lock():
            if self._read()[0] != before:
                raise StateError("the vault's passphrase was changed by somebody else meanwhile")
            self.write(self.file, boxed)

    def erase(self) -> None:
        """Remove every file of it; a new vault may be made here afterwards."""
        with self.lock():
            self.file.unlink(missing_ok=True)  # first: what is left of a crash opens nothing
            for kind in ("keys", "data"):
                rmtree(self.path / kind, ignore_errors=True)
        self._known = None

    def require_present(self) -> None:
        """Raises TokenRemoved when the vault was here and is not (its disk was taken away), TokenMismatch
        when another one is in its place.
        """
        if self.exists:
            self.header()
        elif self._known is not None:
            raise TokenRemoved(f"{self.label} is gone", hint="bring its disk back and repeat the command")

    def absent(self, identifier: bytes) -> TokenError:
        """The error for a key that is not in the vault. Raises TokenRemoved, TokenMismatch."""
        self.require_present()
        return KeyNotFound(f"{self.label} has no key {identifier.hex()}")

    def write(self, path: Path, boxed: bytes) -> None:
        """Replace a file, all or nothing. Raises TokenFull where there is no room for it, StateError."""
        with room(self.label):
            files.replace(path, boxed)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from writing, and clear away what interrupted ones left."""
        with files.locked(self.file, self._options.deadline or 10.0):
            for kind in ("keys", "data"):
                files.clear_away(self.path / kind, ".*.new")
            yield

    def names(self, kind: str) -> list[str]:
        """The stems of the vault's files in `keys` or `data`, sorted; other names are nobody's."""
        stems = (name.removesuffix(".box") for name in files.names(self.path / kind, "*.box"))
        return [stem for stem in stems if _STEM.fullmatch(stem)]

    def file_of(self, kind: str, name: str) -> Path:
        """The file of that stem."""
        return self.path / kind / f"{name}.box"

    def read(self, kind: str, name: str) -> box.Box | None:
        """A parsed file of the vault; None if it is not there."""
        path = self.file_of(kind, name)
        data = files.read_private(path, box.LONGEST)
        return None if data is None else box.parse(data, str(path))

    def _prepare(self) -> None:
        if not self.path.parent.is_dir():
            raise TokenNotFound(f"there is no directory {self.path.parent} for a vault")
        for path in (self.path, self.path / "keys", self.path / "data"):
            files.private_directory(path)

    def _read(self) -> tuple[box.Box, PassphraseHeader | SealedHeader]:
        data = files.read_private(self.file, box.LONGEST)
        if data is None:
            self.require_present()
            raise TokenNotFound(f"there is no vault at {self.path}")
        parsed = box.parse(data, str(self.file))
        head = header.decode(parsed.header, parsed.name)
        if not isinstance(head, PassphraseHeader | SealedHeader):
            raise FormatError(f"{self.file} is a file of another kind")
        if self._known not in (None, head.vault):
            raise TokenMismatch(f"another vault is where {self.label} was", hint="bring the right disk back")
        self._known = head.vault
        return parsed, head

    def _open(self) -> bytes:
        boxed, head = self._read()
        if isinstance(head, SealedHeader):
            secret = self.sealers.unseal(head.sealed_by, head.sealed, _SEAL_PURPOSE + head.vault)
            return boxed.open(secret)
        return self._open_by_passphrase(boxed, head)

    def _open_by_passphrase(self, boxed: box.Box, head: PassphraseHeader) -> bytes:
        cost = kdf.Cost(head.memory_kib, head.iterations, head.lanes)
        cost.check()  # before anybody is asked
        wrapping = kdf.derive(self._ask(), head.salt, cost)
        if not boxed.fits(wrapping):
            raise PinIncorrect(
                f"the passphrase of {self.label} is wrong", hint="try again; a vault never locks"
            )
        return boxed.open(wrapping)

    def _wrapped(self, identifier: bytes, key: bytes, *, first: bool) -> bytes:
        passphrase = self._ask(new=True, first=first)
        if not passphrase:
            raise UsageError("a vault's passphrase cannot be empty")
        cost, salt = self._cost, kdf.new_salt()
        head = PassphraseHeader(identifier, cost.memory_kib, cost.iterations, cost.lanes, salt)
        return box.pack(kdf.derive(passphrase, salt, cost), header.encode(head), key)

    def _sealed(self, identifier: bytes, key: bytes, sealed_by: str) -> bytes:
        wrapping = secrets.token_bytes(_KEY_OCTETS)
        name = self.sealers.canonical(sealed_by)
        refuse_self(name, str(self.uri))
        blob = self.sealers.seal(name, wrapping, _SEAL_PURPOSE + identifier)
        return box.pack(wrapping, header.encode(SealedHeader(identifier, name, blob)), key)

    @property
    def label(self) -> str:
        """How a person is told of this vault."""
        return f"the vault {self.path}"

    def _ask(self, *, new: bool = False, first: bool = False) -> str:
        request = PinRequest(PinKind.VAULT, self.uri, self.label, new=new, first=first)
        return self._options.interaction.pin(request)
