"""The catalogs of an account on this machine: each encrypted to its own key, which a role grants or does not.

Opening a store asks the token once or twice, whatever the number of entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from meshhw import files
from meshhw.dare.catalog import Catalog, create_catalog
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.local import LocalKey
from meshhw.dare.policy import begin_epoch
from meshhw.dare.sequence_write import SequenceWriter
from meshhw.errors import NotSupported
from meshhw.keystore.api import OpenOptions
from meshhw.managers.account.directory import AccountDirectory
from meshhw.managers.account.stamp import Stamp, next_stamp
from meshhw.managers.account.standing import standing
from meshhw.managers.host import Host
from meshhw.schema.activation import StoreEpochs
from meshhw.schema.codec import decode, encode
from meshhw.schema.core import MeshObject
from meshhw.schema.keydata import public_key

T = TypeVar("T", bound=MeshObject)


class Store:
    """One open catalog of entries of the schema. Every write says who made it, so that the stores of several
    devices can be merged."""

    def __init__(self, catalog: Catalog, author: str) -> None:
        self._catalog = catalog
        self._author = author

    @property
    def catalog(self) -> Catalog:
        """The catalog beneath."""
        return self._catalog

    def put(self, key: str, entry: MeshObject, *, digests: Sequence[bytes] = ()) -> None:
        """Add an entry, or replace the one of that key; `digests` as in `Catalog.put`."""
        self._catalog.put(key, encode(entry), (self._stamp(key).attribute,), digests=digests)

    def carry(self, key: str, payload: bytes) -> None:
        """Take over an entry of another catalog as it is encoded there, whatever it holds."""
        self._catalog.put(key, payload, (self._stamp(key).attribute,))

    def get(self, key: str, kind: type[T]) -> T:
        """The entry of that key. Raises KeyNotFound, FormatError for another class."""
        return decode(self._catalog.get(key).payload, kind)

    def all(self, kind: type[T]) -> Iterator[tuple[str, T]]:
        """Every entry with its key, in the order of their last change."""
        for entry in self._catalog.entries():
            yield entry.key, decode(entry.payload, kind)

    def delete(self, key: str) -> None:
        """Delete an entry. Raises KeyNotFound."""
        self._catalog.delete(key, (self._stamp(key).attribute,))

    def _stamp(self, key: str) -> Stamp:
        before = self._catalog.latest(key)
        return next_stamp(self._author, Stamp.of(before.key_values) if before else None)


@contextmanager
def opened_store(
    host: Host, store: str, options: OpenOptions, *, account: str | None = None, writable: bool = False
) -> Iterator[Store]:
    """The catalog of that name in the account of that address or UDF; without one, in the only account here.

    What was written lasts when the block ends well. Raises NotSupported when no role grants the store or its
    newest key has not arrived here, KeyNotFound without an account.
    """
    found = standing(host, account)
    rings = found.store_rings(options)
    if store not in rings:
        raise found.refusal(store)
    with store_in(found.directory.path, store, rings[store], found.author, writable=writable) as opened:
        yield opened


@contextmanager
def store_in(
    directory: Path, store: str, keys: Sequence[LocalKey], author: str, *, writable: bool = False
) -> Iterator[Store]:
    """The store of that name in an account's directory, with its private keys, the newest first. It is made
    when it is not there."""
    path = store_path(directory, store)
    newest = RecipientKey(keys[0].public)
    if not path.exists():
        create_catalog(path, [newest])
        _say_epoch(directory, path, newest)
    with Catalog(path, KeyRing(keys), writable=writable, readers=[newest]) as catalog:
        _require_newest(catalog, store, keys)
        yield Store(catalog, author)
        if writable:
            catalog.flush(sync=True)


def _say_epoch(directory: Path, path: Path, newest: RecipientKey) -> None:
    """A store that is made after its key was changed says so, too: its copies are enough to recover it."""
    for said in AccountDirectory.at(directory).statements():
        if newest.public in (public_key(item.key) for item in decode(said.body, StoreEpochs).entries):
            with SequenceWriter(path) as writer:
                begin_epoch(writer, [newest], said.octets())


def store_path(directory: Path, store: str) -> Path:
    """Where a catalog of an account is; its directory is made."""
    return files.private_directory(directory / "stores") / f"{store}.dcat"


def spool_path(directory: Path, spool: str) -> Path:
    """Where a spool of an account is; its directory is made."""
    return files.private_directory(directory / "stores") / f"{spool}.dspl"


def _require_newest(catalog: Catalog, store: str, keys: Sequence[LocalKey]) -> None:
    """Never write to a key that was replaced: a device that lost its place may still hold that one."""
    current = {key.public.octets for key in catalog.current_readers()}
    if current and current.isdisjoint(key.public.octets for key in keys):
        raise NotSupported(
            f"{store} has a newer key than this device was given",
            hint="get the administrator's update: `meshhw account sync`, or `meshhw device complete FILE`",
        )
