"""The catalogs of an account on this machine: each encrypted to its own key, which a role grants or does not.

The machine on which the account was made has the stores' keys sealed to its token; a connected device has
those that its roles grant, encrypted to its connected key. Either way opening a store asks the token once or
twice, whatever the number of entries.
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
from meshhw.errors import KeyNotFound, NotSupported
from meshhw.keystore.api import OpenOptions
from meshhw.managers.account.directory import AccountDirectory
from meshhw.managers.account.membership import Membership, membership, private_key
from meshhw.managers.host import Host
from meshhw.schema.codec import decode, encode
from meshhw.schema.core import MeshObject

T = TypeVar("T", bound=MeshObject)
KIND = "ProfileUser"


class Store:
    """One open catalog of entries of the schema."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def put(self, key: str, entry: MeshObject) -> None:
        """Add an entry, or replace the one of that key."""
        self._catalog.put(key, encode(entry))

    def get(self, key: str, kind: type[T]) -> T:
        """The entry of that key. Raises KeyNotFound, FormatError for another class."""
        return decode(self._catalog.get(key).payload, kind)

    def all(self, kind: type[T]) -> Iterator[tuple[str, T]]:
        """Every entry with its key, in the order of their last change."""
        for entry in self._catalog.entries():
            yield entry.key, decode(entry.payload, kind)

    def delete(self, key: str) -> None:
        """Delete an entry. Raises KeyNotFound."""
        self._catalog.delete(key)


@contextmanager
def opened_store(
    host: Host, store: str, options: OpenOptions, *, account: str | None = None, writable: bool = False
) -> Iterator[Store]:
    """The catalog of that name in the account of that address or UDF; without one, in the only account here.

    What was written lasts when the block ends well. Raises NotSupported when no role grants the store,
    KeyNotFound without an account.
    """
    directory, key = _key(host, store, account, options)
    path = files.private_directory(directory / "stores") / f"{store}.dcat"
    if not path.exists():
        create_catalog(path, [RecipientKey(key.public)])
    with Catalog(path, KeyRing([key]), writable=writable) as catalog:
        yield Store(catalog)
        if writable:
            catalog.flush(sync=True)


def _key(host: Host, store: str, account: str | None, options: OpenOptions) -> tuple[Path, LocalKey]:
    """The account's directory and the store's private key."""
    made_here = [record for record in host.profiles(KIND) if account in (None, record.label, record.udf)]
    if len(made_here) == 1:
        directory = AccountDirectory(host.home, made_here[0].udf)
        return directory.path, LocalKey(directory.store_keys(options)[store])
    if made_here:
        raise KeyNotFound("several accounts are here", hint="say which with --account ADDRESS")
    found = membership(host, account)
    return AccountDirectory(host.home, found.udf).path, _granted(found, store, options)


def _granted(found: Membership, store: str, options: OpenOptions) -> LocalKey:
    for entry in found.common(options).entries:
        if entry.resource == store:
            return private_key(entry.key, store)
    roles = ", ".join(found.connection.roles)
    raise NotSupported(
        f"this device is connected as {roles}, which does not grant {store}",
        hint="an administrator grants more with `meshhw account connect --roles`",
    )
