"""The catalogs of an account on this machine: each encrypted to its own key, which a role grants or does not.

Opening a store asks the token once or twice, whatever the number of entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from meshhw import files
from meshhw.dare.catalog import Catalog, create_catalog
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.local import LocalKey
from meshhw.keystore.api import OpenOptions
from meshhw.managers.account.stamp import Stamp, next_stamp
from meshhw.managers.account.standing import Standing, standing
from meshhw.managers.host import Host
from meshhw.schema.codec import decode, encode
from meshhw.schema.core import MeshObject

T = TypeVar("T", bound=MeshObject)


class Store:
    """One open catalog of entries of the schema. Every write says who made it, so that the stores of several
    devices can be merged."""

    def __init__(self, catalog: Catalog, author: str) -> None:
        self._catalog = catalog
        self._author = author

    def put(self, key: str, entry: MeshObject) -> None:
        """Add an entry, or replace the one of that key."""
        self._catalog.put(key, encode(entry), (self._stamp(key).attribute,))

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

    What was written lasts when the block ends well. Raises NotSupported when no role grants the store,
    KeyNotFound without an account.
    """
    found = standing(host, account)
    keys = found.store_keys(options)
    if store not in keys:
        raise found.refusal(store)
    with Catalog(store_path(found, store, keys[store]), KeyRing([keys[store]]), writable=writable) as catalog:
        yield Store(catalog, found.author)
        if writable:
            catalog.flush(sync=True)


def store_path(found: Standing, store: str, key: LocalKey) -> Path:
    """The file of a store, which is made when there is none."""
    path = files.private_directory(found.directory.path / "stores") / f"{store}.dcat"
    if not path.exists():
        create_catalog(path, [RecipientKey(key.public)])
    return path
