"""What an account keeps on disk beside the host state: `accounts/<profile UDF>/`.

`seed.sealed` is the account's seed until it was escrowed, `stores.sealed` the private keys of its stores, and
`stores.json` their public keys. Both secrets are sealed to a token.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from meshhw import files
from meshhw.algorithms import Algorithm, PrivateKey, PublicKey
from meshhw.dare.envelope import Envelope
from meshhw.errors import DecryptionFailed, FormatError
from meshhw.keystore.api import OpenOptions, Token
from meshhw.managers.account.sealedfile import sealed, unsealed
from meshhw.privkeys import public_key_of
from meshhw.udf import Seed

PROFILE = "profile.dare"
"""The signed profile, in a copy of the directory the way to its address after a recovery."""
_LIMIT = 1 << 16


class StoreKey(msgspec.Struct, frozen=True):
    """The public key of a store."""

    name: str
    algorithm: Algorithm
    public: bytes

    @property
    def public_key(self) -> PublicKey:
        """The key that the store's entries are encrypted to."""
        return PublicKey(self.algorithm, self.public)


class AccountDirectory:
    """The directory of one account."""

    def __init__(self, home: Path, udf: str) -> None:
        self.path = home / "accounts" / udf
        self._udf = udf

    @contextmanager
    def making(self) -> Iterator[None]:
        """Make the directory; it goes again when the block raises."""
        files.private_directory(self.path.parent)
        fresh = not self.path.exists()
        files.private_directory(self.path)
        try:
            yield
        except BaseException:
            if fresh:
                shutil.rmtree(self.path, ignore_errors=True)
            raise

    def write_profile(self, envelope: bytes) -> None:
        """Keep the signed profile."""
        files.replace(self.path / PROFILE, envelope)

    def profile(self) -> Envelope | None:
        """The signed profile that is kept here. Raises FormatError."""
        data = files.read_private(self.path / PROFILE, _LIMIT)
        return None if data is None else Envelope.parse(data)

    def write_seed(self, token: Token, seed: Seed) -> None:
        """Seal the seed to a token."""
        files.replace(self.path / "seed.sealed", sealed(token, seed.data, self._purpose("seed")))

    def seed(self, options: OpenOptions) -> Seed | None:
        """The seed; None when it was erased or never was. Raises what the token raises."""
        data = unsealed(self.path / "seed.sealed", self._purpose("seed"), options)
        return None if data is None else Seed.from_data(data)

    @property
    def has_seed(self) -> bool:
        """Whether the seed is still here."""
        return (self.path / "seed.sealed").exists()

    def erase_seed(self) -> None:
        """Forget the seed. Its token's key still opens copies of the file: there must be none."""
        (self.path / "seed.sealed").unlink(missing_ok=True)
        files.sync_directory(self.path)

    def write_stores(self, token: Token, keys: Mapping[str, PrivateKey]) -> None:
        """Seal the stores' private keys to a token, and publish the others."""
        public = {name: public_key_of(key) for name, key in keys.items()}
        listed = [StoreKey(name, key.algorithm, key.octets) for name, key in public.items()]
        secret = b"".join(key.octets for key in keys.values())
        files.replace(self.path / "stores.sealed", sealed(token, secret, self._purpose("stores")))
        files.replace(self.path / "stores.json", msgspec.json.encode(listed) + b"\n")

    def stores(self) -> tuple[StoreKey, ...]:
        """The stores' public keys. Raises FormatError."""
        data = files.read_private(self.path / "stores.json", _LIMIT)
        try:
            return msgspec.json.decode(data or b"[]", type=tuple[StoreKey, ...])
        except msgspec.MsgspecError as error:
            raise FormatError(f"{self.path / 'stores.json'} is damaged: {error}") from error

    def store_keys(self, options: OpenOptions) -> dict[str, PrivateKey]:
        """The stores' private keys, with one question to the token, each checked against its public key.

        Raises DecryptionFailed, and what the token raises.
        """
        listed = self.stores()
        secret = unsealed(self.path / "stores.sealed", self._purpose("stores"), options) or b""
        size = len(secret) // len(listed) if listed else 0
        found = {
            item.name: PrivateKey(item.algorithm, secret[i * size : (i + 1) * size])
            for i, item in enumerate(listed)
        }
        for item in listed:
            if public_key_of(found[item.name]) != item.public_key:
                raise DecryptionFailed(f"the sealed key of {item.name} is not that of its public key")
        return found

    def _purpose(self, what: str) -> str:
        return f"meshhw/account/1 {what} {self._udf}"
