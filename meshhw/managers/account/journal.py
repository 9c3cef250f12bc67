"""A disconnection that was decided: everything that has to be written, in one file until all of it is.

The file appears whole; from then on the disconnection counts. Every step of carrying it out may be done
twice, so whoever comes next goes on where a crash has ended it. No secret is in it in clear.
"""

from __future__ import annotations

import msgspec

from meshhw import files
from meshhw.dare.envelope import Envelope
from meshhw.dare.heads import SequenceHead
from meshhw.dare.sequence_write import SequenceWriter
from meshhw.errors import FormatError, StateError
from meshhw.managers.account.authority import Authority, opened_catalog
from meshhw.managers.account.devices import STORE as DEVICES
from meshhw.managers.account.devices import is_gone
from meshhw.managers.account.granted import store_ring
from meshhw.managers.account.listing import settle
from meshhw.managers.account.names import APPLICATIONS, Names
from meshhw.managers.account.rekeying import left, take_statements
from meshhw.managers.account.removed import head_in
from meshhw.managers.account.replacing import take_common
from meshhw.managers.account.standing import Standing, standing
from meshhw.managers.account.stores import store_in, store_path
from meshhw.managers.account.updates import update_path
from meshhw.schema.activation import ActivationCommon
from meshhw.schema.capability import Capability, CryptographicCapability
from meshhw.schema.codec import decode
from meshhw.schema.entry import CatalogedAccess, CatalogedDevice
from meshhw.schema.profile import ProfileUser
from meshhw.udf import fingerprint

NAME = "disconnecting.json"
_ACCESS = "MMM_Access"
_LIMIT = 64 << 20


class Journal(msgspec.Struct, frozen=True, kw_only=True):
    """What a disconnection has to write."""

    version: int = 1
    account: str
    removed: str = ""
    """The device that is disconnected; none when an administrator alone is removed."""
    profile: bytes
    statement: bytes = b""
    entries: tuple[bytes, ...]
    updates: dict[str, bytes]
    own: bytes = b""
    """What this machine keeps: its sealed keys, or its own entry."""
    granted: bytes | None = None
    descriptors: tuple[bytes, ...] = ()
    """Those of threshold keys, which no longer list the device, and what they called it."""
    unlisted: str = ""
    still_listed: dict[str, str] = {}
    """The threshold keys whose descriptors could not be signed here, and why."""

    def cataloged(self) -> list[CatalogedDevice]:
        """The refreshed entries. Raises FormatError."""
        return [decode(octets, CatalogedDevice) for octets in self.entries]


def commit(found: Authority, journal: Journal) -> None:
    """Write it down: from here on the disconnection counts. Raises StateError when the device catalog was
    compacted meanwhile: what is proven under the head that the profile names could not be proven any more."""
    with SequenceWriter(store_path(found.directory.path, DEVICES)) as catalog:
        for head in _new_heads(found.profile, journal):
            if head.sequence_id != catalog.sequence_id:
                raise StateError("the device catalog was compacted meanwhile", hint="repeat")
        files.replace(found.directory.path / NAME, msgspec.json.encode(journal))


def _new_heads(before: ProfileUser, journal: Journal) -> list[SequenceHead]:
    after = profile_in(journal).removed_administrators
    return [head_in(item) for item in after if item not in before.removed_administrators]


def profile_in(journal: Journal) -> ProfileUser:
    """The profile that a disconnection makes the newest. Raises FormatError."""
    return decode(Envelope.parse(journal.profile).body, ProfileUser)


def left_over(found: Authority | Standing) -> Journal | None:
    """A disconnection that was not carried out to its end. Raises FormatError."""
    path = found.directory.path / NAME
    data = files.read_private(path, _LIMIT)
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=Journal)
    except msgspec.MsgspecError as error:
        raise FormatError(f"{path} is damaged: {error}") from error


def resume(found: Authority) -> bool:
    """Carry out what was left over; whether there was something."""
    journal = left_over(found)
    if journal is not None:
        apply(found, journal)
    return journal is not None


def apply(found: Authority, journal: Journal, held: ActivationCommon | None = None) -> None:
    """Carry it out, from whatever point it has reached. `held` are the keys after it, where they are at hand
    already; otherwise they are asked for once more."""
    if journal.own:
        found.keep_own(journal.own, journal.granted)
    profile = Envelope.parse(journal.profile)
    if profile.octets() != found.envelope.octets():
        found.take_profile(profile)
    if journal.statement:
        take_statements(found.directory, [Envelope.parse(journal.statement)])
    settle(found.host, journal.unlisted, journal.descriptors, found.options)
    keys = held or found.held(common=False)
    take_common(found, keys)
    _change_catalog(found, keys, journal)
    _write_updates(found, journal)
    (found.directory.path / NAME).unlink(missing_ok=True)
    files.sync_directory(found.directory.path)


def _change_catalog(found: Authority, keys: ActivationCommon, journal: Journal) -> None:
    """The refreshed entries in, the lost device and what a service does for it out."""
    with opened_catalog(found, keys) as devices:
        before = {item.device_udf: item for item in devices.devices()}
        for entry in journal.cataloged():
            if before.get(entry.device_udf) != entry:
                devices.put(entry)
        gone = left(found.directory)
        for udf, entry in before.items():
            # Another administrator's work, undone unknowingly.
            if is_gone(entry, gone) and udf != journal.removed:
                devices.remove(udf or "")
        lost = before.get(journal.removed) if journal.removed else None
        if lost is not None:
            _deactivate(found, keys, lost)
            if store_path(found.directory.path, APPLICATIONS).exists():
                rings = {APPLICATIONS: store_ring(keys, APPLICATIONS)}
                Names(standing(found.host, found.udf), rings).withdraw(journal.removed)
            # Last: whoever goes on after a crash sees by it what is left to do.
            devices.remove(journal.removed)
        devices.store.catalog.flush(sync=True)


def _deactivate(found: Authority, keys: ActivationCommon, lost: CatalogedDevice) -> None:
    """What a service does for the lost device ends, where the access catalog names it."""
    ring = store_ring(keys, _ACCESS)
    if not ring or not store_path(found.directory.path, _ACCESS).exists():
        return
    names = {lost.device_udf, lost.udf, lost.signature_udf} - {None}
    author = fingerprint(found.administrator_key)
    with store_in(found.directory.path, _ACCESS, ring, author, writable=True) as store:
        for key, entry in list(store.all(CatalogedAccess)):
            capability = entry.capability
            if capability is not None and capability.active is not False and _is_for(capability, names):
                ended = msgspec.structs.replace(capability, active=False)
                store.put(key, msgspec.structs.replace(entry, capability=ended))
        store.catalog.flush(sync=True)


def _is_for(capability: Capability, names: set[str | None]) -> bool:
    grantee = capability.grantee_udf if isinstance(capability, CryptographicCapability) else None
    return bool({capability.udf, capability.id, grantee} & names)


def _write_updates(found: Authority, journal: Journal) -> None:
    gone = update_path(found.directory.path, journal.removed or "nobody")
    files.private_directory(gone.parent)
    gone.unlink(missing_ok=True)
    for device, octets in journal.updates.items():
        files.replace(update_path(found.directory.path, device), octets)
