"""What an account keeps on disk beside the host state: `accounts/<profile UDF>/`.

`seed.sealed` is the account's seed until it was escrowed, `keys.sealed` the private keys of its stores. Both
are sealed to a token.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from meshhw import files
from meshhw.dare.envelope import Envelope
from meshhw.errors import KeyNotFound, StateError
from meshhw.keystore.api import OpenOptions, Token
from meshhw.keystore.uri import TokenURI
from meshhw.managers.account.sealedfile import sealed, sealed_long, sealer_of, unsealed
from meshhw.schema.activation import ActivationCommon
from meshhw.schema.codec import decode, encode
from meshhw.udf import Seed

PROFILE = "profile.dare"
"""The signed profile, in a copy of the directory the way to its address after a recovery."""
CATALOGED = "cataloged.json"
"""A connected device's entry: there from the moment at which it belongs to the account."""
KEYS = "keys.sealed"
GRANTED = "granted.dare"
EPOCHS = "epochs"
_LIMIT = 1 << 20
_MARK = ".making"
_DIGITS = 16


def sweep(home: Path, known: Callable[[], Collection[str]]) -> list[str]:
    """Remove what killed processes have left of accounts that were never made: nobody knows of them, and a
    sealed seed may be in them. Their UDFs. `known` tells the accounts that are made; it is asked anew for
    each one, when whoever was making it has ended."""
    gone = []
    for mark in (home / "accounts").glob(f".*{_MARK}"):
        udf = mark.name[1 : -len(_MARK)]
        with suppress(StateError), _held(mark):
            directory = mark.with_name(udf)
            if udf not in known() and not (directory / CATALOGED).exists() and directory.exists():
                shutil.rmtree(directory)
                gone.append(udf)
            mark.unlink(missing_ok=True)
    return gone


@contextmanager
def _held(mark: Path) -> Iterator[None]:
    """The mark, locked until the end. Raises StateError while another process holds it."""
    descriptor = os.open(mark, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        files.lock(descriptor, mark, 0)
        yield
    finally:
        os.close(descriptor)


class AccountDirectory:
    """The directory of one account."""

    def __init__(self, home: Path, udf: str) -> None:
        self.path = home / "accounts" / udf
        self._udf = udf

    @classmethod
    def at(cls, path: Path) -> AccountDirectory:
        """The directory at a path."""
        return cls(path.parent.parent, path.name)

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

    @contextmanager
    def founding(self) -> Iterator[None]:
        """Make the directory of a new account. It goes again when the block raises; when the process is
        killed meanwhile, `sweep` finds it by the mark beside it, whose lock ends with the process."""
        accounts = files.private_directory(self.path.parent)
        mark = accounts / f".{self._udf}{_MARK}"
        with _held(mark):
            try:
                with self.making():
                    yield
            finally:
                mark.unlink(missing_ok=True)

    def write_profile(self, envelope: bytes) -> None:
        """Keep the signed profile."""
        files.replace(self.path / PROFILE, envelope)

    def profile(self) -> Envelope | None:
        """The signed profile that is kept here. Raises FormatError."""
        data = files.read_private(self.path / PROFILE, _LIMIT)
        return None if data is None else Envelope.parse(data)

    def write_granted(self, envelope: Envelope | None) -> None:
        """Keep what a connected device has put together of its keys after an update; None: nothing yet."""
        if envelope is None:
            (self.path / GRANTED).unlink(missing_ok=True)
        else:
            files.replace(self.path / GRANTED, envelope.octets())

    def granted(self) -> Envelope | None:
        """What a connected device has put together of its keys. Raises FormatError."""
        data = files.read_private(self.path / GRANTED, _LIMIT)
        return None if data is None else Envelope.parse(data)

    def keep_statement(self, said: Envelope, epoch: int) -> None:
        """Keep what an administrator said of new store keys, for stores that are made later."""
        files.private_directory(self.path / EPOCHS)
        first = self.path / EPOCHS / f"{epoch}.dare"
        octets = said.octets()
        if files.read_private(first, _LIMIT) not in (None, octets):  # by an administrator who did not know
            first = first.with_name(f"{epoch}.{hashlib.sha256(octets).hexdigest()[:_DIGITS]}.dare")
        files.replace(first, octets)

    def statements(self) -> list[Envelope]:
        """What administrators said of new store keys, oldest first. Raises FormatError."""
        paths = sorted((self.path / EPOCHS).glob("*.dare"), key=_epoch)
        return [Envelope.parse(files.read_private(path, _LIMIT) or b"") for path in paths]

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

    def write_keys(self, token: Token, keys: ActivationCommon) -> None:
        """Seal the keys of the stores, and the common keys where they were rotated, to a token."""
        self.replace_keys(self.sealed_keys(token, keys))

    def sealed_keys(self, token: Token, keys: ActivationCommon) -> bytes:
        """What `replace_keys` takes."""
        return sealed_long(token, encode(keys), self._purpose("keys"))

    def replace_keys(self, octets: bytes) -> None:
        """Keep sealed keys in place of the earlier ones."""
        files.replace(self.path / KEYS, octets)

    def keys_token(self) -> TokenURI:
        """The token that the keys are sealed to. Raises KeyNotFound, FormatError."""
        return sealer_of(self.path / KEYS)

    def keys(self, options: OpenOptions) -> ActivationCommon:
        """The keys of the stores, with one question to the token. Raises KeyNotFound, DecryptionFailed, and
        what the token raises."""
        secret = unsealed(self.path / KEYS, self._purpose("keys"), options)
        if secret is None:
            raise KeyNotFound("the keys of the account's stores are not here")
        return decode(secret, ActivationCommon)

    def _purpose(self, what: str) -> str:
        return f"meshhw/account/1 {what} {self._udf}"


def _epoch(path: Path) -> tuple[int, str]:
    number = path.name.partition(".")[0]
    return (int(number) if number.isdecimal() else 0), path.name
