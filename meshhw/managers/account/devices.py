"""The devices of an account: the catalog `MMM_Device`, encrypted to its store's key like every other.

An entry is everything that its device needs. The digests of what an administrator has signed in it stand in
the frame's header in clear, so that the catalog's tree proves when a signature was there already, also to who
cannot read the entry (`meshhw.managers.account.removed`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from meshhw.dare.envelope import Envelope
from meshhw.errors import Ambiguous, FormatError, InvalidName, KeyNotFound
from meshhw.keystore.api import OpenOptions
from meshhw.managers.account.removed import object_digest
from meshhw.managers.account.stores import Store, opened_store
from meshhw.managers.host import Host
from meshhw.schema.codec import decode
from meshhw.schema.connection import ConnectionDevice
from meshhw.schema.core import Enveloped, MeshObject
from meshhw.schema.entry import CatalogedDevice
from meshhw.udf import same_name

STORE = "MMM_Device"
_SHORTEST = 4


class DeviceCatalog:
    """The open device catalog of one account."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def devices(self) -> list[CatalogedDevice]:
        """All of them, in the order of their last change. Raises FormatError."""
        return [entry for _, entry in self.store.all(CatalogedDevice)]

    def device(self, name: str) -> CatalogedDevice:
        """The one of that UDF (or its beginning), or that local name.

        Raises KeyNotFound, Ambiguous with the candidates.
        """
        found = [entry for entry in self.devices() if is_called(entry, name)]
        if not found:
            raise KeyNotFound(
                f"no device of the account is called {name!r}", hint="`meshhw account devices` lists them"
            )
        if len(found) > 1:
            shown = tuple(f"{item.device_udf} {item.local_name or ''}".strip() for item in found)
            raise Ambiguous(f"{name!r} fits {len(found)} devices of the account", candidates=shown)
        return found[0]

    def put(self, entry: CatalogedDevice) -> None:
        """Add a device, or replace the one of that DeviceUdf."""
        self.store.put(entry.device_udf or "", entry, digests=signed_digests(entry))

    def remove(self, udf: str) -> None:
        """Delete the device of that DeviceUdf. Raises KeyNotFound."""
        self.store.delete(udf)


@contextmanager
def opened_devices(
    host: Host, options: OpenOptions, *, account: str | None = None, writable: bool = False
) -> Iterator[DeviceCatalog]:
    """The device catalog of the account of that address or UDF. Raises as `opened_store`."""
    with opened_store(host, STORE, options, account=account, writable=writable) as store:
        yield DeviceCatalog(store)


def is_called(entry: CatalogedDevice, name: str) -> bool:
    """Whether a device has that local name, or a UDF that begins so."""
    if entry.local_name and entry.local_name == name:
        return True
    plain = name.replace("-", "").upper()
    udf = entry.device_udf or ""
    if len(plain) >= _SHORTEST and udf.replace("-", "").startswith(plain):
        return True
    try:
        return bool(entry.signature_udf) and same_name(name, entry.signature_udf or "")
    except InvalidName:
        return False


def is_gone(entry: CatalogedDevice, gone: Mapping[str, datetime]) -> bool:
    """Whether a device left after it was connected, by the times at which devices did."""
    when = gone.get(entry.signature_udf or "")
    if when is None or entry.enveloped_connection_device is None:
        return False
    connected = connected_when(entry)
    return connected is None or connected <= when


def connected_when(entry: CatalogedDevice) -> datetime | None:
    """When an administrator signed the connection of an entry, where it has one."""
    found = entry.enveloped_connection_device
    return decode(Envelope.from_array(found.array).body, ConnectionDevice).updated if found else None


def roles_in(entry: CatalogedDevice) -> tuple[str, ...]:
    """The roles that an entry of the account's own catalog names. Raises FormatError."""
    found = entry.enveloped_connection_device
    if found is None:
        raise FormatError("the entry lacks its connection")
    return decode(Envelope.from_array(found.array).body, ConnectionDevice).roles


def signed_digests(entry: CatalogedDevice) -> list[bytes]:
    """The digests of what an administrator has signed in an entry."""
    signed: list[Enveloped[MeshObject] | None] = [
        entry.enveloped_connection_service,  # type: ignore[list-item]  # Enveloped is invariant
        entry.enveloped_connection_device,  # type: ignore[list-item]
        entry.enveloped_activation_account,  # type: ignore[list-item]
        entry.enveloped_activation_common,  # type: ignore[list-item]
    ]
    return [object_digest(Envelope.from_array(item.array)) for item in signed if item is not None]
