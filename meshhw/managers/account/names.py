"""Friendly names: what a person calls the devices, contacts and groups of an account, on every device.

A contact's name is its entry's LocalName in the contact catalog. A device's and a group's stand in the
application catalog, which every role may read; a device's in the administrators' device catalog, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace as changed
from typing import TypeVar

from msgspec.structs import replace

from meshhw.algorithms import PublicKey
from meshhw.dare.envelope import Envelope
from meshhw.dare.local import LocalKey
from meshhw.errors import Ambiguous, KeyNotFound, NotSupported, UsageError
from meshhw.keystore.api import OpenOptions
from meshhw.managers.account import known
from meshhw.managers.account.devices import STORE as DEVICES
from meshhw.managers.account.devices import DeviceCatalog
from meshhw.managers.account.known import Known, Sort
from meshhw.managers.account.stamp import is_copy
from meshhw.managers.account.standing import Standing, standings
from meshhw.managers.account.stores import Store, store_in
from meshhw.managers.host import Host
from meshhw.schema.codec import decode
from meshhw.schema.connection import ConnectionDevice
from meshhw.schema.core import MeshObject
from meshhw.schema.entry import (
    CatalogedApplication,
    CatalogedApplicationDevice,
    CatalogedContact,
    CatalogedDevice,
    CatalogedGroup,
)

APPLICATIONS, CONTACTS = "MMM_Application", "MMM_Contact"
T = TypeVar("T", bound=MeshObject)


class Names:
    """The names of one account."""

    def __init__(self, found: Standing, rings: Mapping[str, Sequence[LocalKey]]) -> None:
        self._found = found
        self._rings = rings

    @classmethod
    def of(cls, found: Standing, options: OpenOptions) -> Names:
        """Those of an account of this home, with one or two questions to the token."""
        return cls(found, found.store_rings(options))

    def all(self) -> list[Known]:
        """Everything that this device may know, devices first. Raises FormatError, SignatureInvalid."""
        devices = {item.udf: item for item in self._applications()} | {i.udf: i for i in self._devices()}
        return [*devices.values(), *self._groups(), *self._contacts()]

    def find(self, name: str) -> Known:
        """What is called so; without that, what has that address or UDF.

        Raises KeyNotFound, Ambiguous with the candidates.
        """
        everything = self.all()
        fitting = [item for item in everything if item.is_called(name)]
        fitting = fitting or [item for item in everything if item.fits(name)]
        if not fitting:
            raise KeyNotFound(
                f"nothing in the account is called {name!r}", hint="`meshhw account names` lists what is"
            )
        if len(fitting) > 1:
            raise Ambiguous(
                f"{name!r} fits {len(fitting)} in the account",
                candidates=tuple(map(str, fitting)),
                hint="give the address or the UDF, or another name with `meshhw account name`",
            )
        return fitting[0]

    def require_free(self, name: str, owner: Known | None = None) -> str:
        """The name as it is kept, when nothing else in the account has it. Raises UsageError, InvalidName."""
        wanted = known.checked(name)
        for other in self.all():
            if other.is_called(wanted) and (owner is None or not other.is_same(owner)):
                raise UsageError(f"{wanted!r} is taken: {other}", hint="names are unique in the account")
        return wanted

    def rename(self, what: Known, name: str) -> Known:
        """Call it so, on every device that synchronises.

        Raises as `require_free`, and NotSupported when the catalog that holds it was not granted.
        """
        wanted = self.require_free(name, what)
        if what.sort is Sort.CONTACT:
            self._rename_contact(what, wanted)
            return changed(what, name=wanted, key=wanted)
        if what.sort is Sort.GROUP:
            with self._store(APPLICATIONS, writable=True) as store:
                store.put(what.key, replace(store.get(what.key, CatalogedGroup), local_name=wanted))
        else:
            with self._store(DEVICES, writable=True) as store:
                entry = replace(store.get(what.key, CatalogedDevice), local_name=wanted)
                DeviceCatalog(store).put(entry)
            self.announce(entry)
        return changed(what, name=wanted)

    def announce(self, entry: CatalogedDevice) -> None:
        """Let every device of the account know this one's name and keys; nothing for one without a name."""
        shown = shown_device(entry)
        if shown is not None:
            with self._store(APPLICATIONS, writable=True) as store:
                store.put(shown.key or "", shown)

    def add_group(self, entry: CatalogedGroup) -> None:
        """Let every device of the account know this group. Raises NotSupported."""
        with self._store(APPLICATIONS, writable=True) as store:
            store.put(entry.key or "", entry)

    def group_entry(self, what: Known) -> CatalogedGroup:
        """The entry of a group that was found."""
        with self._store(APPLICATIONS) as store:
            return store.get(what.key, CatalogedGroup)

    def drop_group(self, what: Known) -> None:
        """Forget a group that was found. Raises NotSupported."""
        with self._store(APPLICATIONS, writable=True) as store:
            store.delete(what.key)

    def withdraw(self, udf: str) -> None:
        """Forget the name of a device that left the account."""
        with self._store(APPLICATIONS, writable=True) as store:
            if udf in (key for key, _ in store.all(CatalogedApplication)):
                store.delete(udf)

    def _rename_contact(self, what: Known, name: str) -> None:
        with self._store(CONTACTS, writable=True) as store:
            entry = store.get(what.key, CatalogedContact)
            person = replace(entry.contact, local=name) if entry.contact else None
            store.put(name, replace(entry, key=name, local_name=name, contact=person))
            if name != what.key:
                store.delete(what.key)

    def _store(self, store: str, *, writable: bool = False) -> AbstractContextManager[Store]:
        if not self._rings.get(store):
            raise self._found.refusal(store)
        path, ring = self._found.directory.path, self._rings[store]
        return store_in(path, store, ring, self._found.author, writable=writable)

    def _entries(self, store: str, kind: type[T]) -> Iterator[tuple[str, T]]:
        """The entries of a store; none where it is not granted."""
        if self._rings.get(store):
            with self._store(store) as opened:
                yield from opened.all(kind)

    def _devices(self) -> Iterator[Known]:
        for key, entry in self._entries(DEVICES, CatalogedDevice):
            yield known.device(key, entry.local_name, _connection(entry))

    def _applications(self) -> Iterator[Known]:
        for key, entry in self._entries(APPLICATIONS, CatalogedApplication):
            if isinstance(entry, CatalogedApplicationDevice) and not is_copy(key):
                yield known.device(key, entry.local_name, entry)

    def _groups(self) -> Iterator[Known]:
        for key, entry in self._entries(APPLICATIONS, CatalogedApplication):
            if isinstance(entry, CatalogedGroup) and not is_copy(key):
                yield known.group(key, entry)

    def _contacts(self) -> Iterator[Known]:
        """The contacts; of copies that lost a conflict only those who are somebody else than the winner."""
        found = [known.contact(*item) for item in self._entries(CONTACTS, CatalogedContact)]
        there = {(item.udf, item.addresses) for item in found if not is_copy(item.key)}
        yield from (i for i in found if not is_copy(i.key) or (i.udf, i.addresses) not in there)


def shown_device(entry: CatalogedDevice) -> CatalogedApplicationDevice | None:
    """What every device of the account may know of this one: its name and keys; None without a name."""
    if not (entry.local_name and entry.device_udf and entry.enveloped_connection_device):
        return None
    connection = _connection(entry)
    return CatalogedApplicationDevice(
        key=entry.device_udf,
        local_name=entry.local_name,
        encryption=connection.encryption,
        signature=connection.signature,
    )


def find_anywhere(host: Host, name: str, options: OpenOptions) -> Known:
    """What is called so in any account of this home.

    Raises KeyNotFound, Ambiguous with the candidates, and what opening the accounts' catalogs raises.
    """
    found: list[Known] = []
    for account in standings(host):
        with suppress(KeyNotFound):
            found.append(Names.of(account, options).find(name))
    if len(found) > 1:
        raise Ambiguous(f"{name!r} fits in {len(found)} accounts", candidates=tuple(map(str, found)))
    if not found:
        raise KeyNotFound(f"nothing in the accounts of this home is called {name!r}")
    return found[0]


def signing_keys(host: Host, name: str, options: OpenOptions) -> tuple[PublicKey, ...]:
    """The keys that a contact, device or group of this home's accounts signs with, all of them together.

    Raises as `find_anywhere`, and NotSupported for a contact whose key is not known.
    """
    found = find_anywhere(host, name, options)
    if not found.signatures:
        raise unknown_key(found, "signature")
    return found.signatures


def unknown_key(found: Known, what: str) -> NotSupported:
    """That a key of something is not known."""
    return NotSupported(
        f"no {what} key of the {found.sort} {found.name} is known",
        hint="ask them for the contact that they export, and `meshhw contact import` it",
    )


def _connection(entry: CatalogedDevice) -> ConnectionDevice:
    """The connection in an entry of the account's own catalog; an empty one where it lacks it."""
    found = entry.enveloped_connection_device
    if found is None:
        return ConnectionDevice()
    return decode(Envelope.from_array(found.array).body, ConnectionDevice)
