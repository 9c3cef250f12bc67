"""Disconnecting a device: everything that a lost device could use is changed, and told before and after.

What depends on a person (PINs, touches, the root's token) is done first and changes nothing. Then all that
was made is written down in one file, and carried out from there: whatever interrupts that, the next command
goes on where it ended (`meshhw.managers.account.journal`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from msgspec.structs import replace

from meshhw.algorithms import PublicKey
from meshhw.dare.envelope import Envelope
from meshhw.dare.signing import Signer
from meshhw.errors import IntegrityError, NotSupported, SignatureInvalid, UsageError
from meshhw.keystore.uri import TokenURI
from meshhw.managers.account.administrators import administrators, signed_by_root, without
from meshhw.managers.account.authority import Authority, opened_catalog
from meshhw.managers.account.devices import STORE as DEVICES
from meshhw.managers.account.devices import DeviceCatalog, connected_when, is_gone
from meshhw.managers.account.exposure import Exposed, exposed
from meshhw.managers.account.granted import merged
from meshhw.managers.account.journal import Journal
from meshhw.managers.account.listing import descriptors_for, device_key, listing, without_device
from meshhw.managers.account.rekeying import left, left_before, needed, new_keys, rotated, statement
from meshhw.managers.account.removed import is_provable, proof_of, removal, signers_for
from meshhw.managers.account.rights import Rights, rights_of
from meshhw.managers.account.updates import Given, refreshed, update_for
from meshhw.schema.activation import ActivationCommon
from meshhw.schema.assertion import open_assertion
from meshhw.schema.codec import encode
from meshhw.schema.connection import ConnectionDevice
from meshhw.schema.entry import CatalogedDevice
from meshhw.schema.keydata import public_key
from meshhw.schema.profile import ProfileUser
from meshhw.udf import fingerprint


@dataclass(frozen=True, slots=True)
class Change:
    """What gets new keys, who is out, and who gets what is new."""

    stores: frozenset[str]
    common: bool
    remaining: tuple[CatalogedDevice, ...]
    lost: CatalogedDevice | None = None
    administrator: PublicKey | None = None
    """The lost device's key, if the profile lists it."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A device that shall be disconnected, and what its place in the account gave it."""

    entry: CatalogedDevice
    rights: Rights
    administrator: PublicKey | None
    """Its key, if the profile lists it."""
    remaining: tuple[CatalogedDevice, ...]
    lists: tuple[str, ...] = ()
    """The threshold keys of this machine whose descriptors list it."""
    reads: tuple[Exposed, ...] = ()
    """What was written to the stores that it could read, under each of the keys that it holds."""

    @property
    def udf(self) -> str:
        """The device's name in the catalog."""
        return self.entry.device_udf or ""

    @property
    def needs_successor(self) -> bool:
        """Whether it held the account's seed or root key: then the account itself must be replaced."""
        return self.rights.seed

    @property
    def needs_root(self) -> bool:
        """Whether the profile must be signed anew."""
        return self.administrator is not None or self.rights.common_keys

    @property
    def case(self) -> str:
        """Which case of the drill this is, in words."""
        if self.needs_successor:
            return "it held the account's seed or root key, so the account itself must be replaced"
        if self.administrator is not None:
            return "an administrator: its key is removed, stores and common keys get new ones"
        if self.rights.common_keys:
            return "its stores and the common keys get new keys"
        return "its stores get new keys"

    @property
    def signatures(self) -> int:
        """How often the administrator's key signs: two for the new keys, two for every other device, and two
        for this one where it is a connected device itself."""
        return 2 + 2 * len(self.remaining)

    @property
    def letters(self) -> bool:
        """Whether it holds the account's encryption key: letters of before, and of senders who have not got
        the new profile yet, open with it."""
        return self.rights.common_keys or self.rights.seed

    @property
    def still_reads(self) -> tuple[str, ...]:
        """What the lost device may still read from before, in whole sentences: store by store."""
        stores = {item.store: [x for x in self.reads if x.store == item.store] for item in self.reads}
        told, empty = [], []
        for store, items in stores.items():
            parts = [f"{item} under key {item.epoch}" for item in items if item.versions]
            if parts:
                told.append(f"{store}: {', '.join(parts)}")
            else:
                empty.append(store)
        if empty:
            told.append(f"nothing in {', '.join(empty)}, where nothing was written")
        if self.letters:
            told.append("letters to the account that were encrypted until its senders have the new profile")
        return tuple(told)


def lost_device(found: Authority, held: ActivationCommon, name: str) -> Lost:
    """The device of that UDF or local name, and what it held.

    Raises KeyNotFound, Ambiguous; UsageError for the device that this machine is.
    """
    with opened_catalog(found, held) as devices:
        entry = devices.device(name)
        others = tuple(item for item in remaining(found, devices) if item.device_udf != entry.device_udf)
    connection = connection_of(found.profile, entry)
    if public_key(connection.signature, "Signature") == found.administrator_key:
        raise UsageError(
            "a device cannot disconnect itself", hint="do it from another administrator's device"
        )
    signature = public_key(connection.signature, "Signature")
    rights = rights_of(connection.roles)
    return Lost(
        entry,
        rights,
        signature if signature in administrators(found.profile) else None,
        others,
        tuple(listing(found.host, own)) if (own := device_key(entry)) is not None else (),
        tuple(exposed(found.directory.path, held, rights.stores)),
    )


def disconnect(
    found: Authority, lost: Lost, held: ActivationCommon, root_on: TokenURI | None = None
) -> Journal:
    """Everything that the disconnection needs, made but not written: `journal.commit` and `apply` do that.

    Raises NotSupported when the account itself must be replaced, UsageError for its last administrator, and
    what the tokens raise: nothing is changed then.
    """
    if lost.needs_successor:
        raise NotSupported(
            lost.case,
            hint="`meshhw account succeed DEVICE` makes the account that takes its place",
        )
    change = Change(
        lost.rights.stores, lost.rights.common_keys, lost.remaining, lost.entry, lost.administrator
    )
    return changing(found, held, change, root_on)


def rekey(
    found: Authority, held: ActivationCommon, root_on: TokenURI | None = None, *, common: bool = False
) -> Journal:
    """New keys for all stores, with `common` for the account too, though nobody leaves. Raises as
    `disconnect`."""
    with opened_catalog(found, held) as devices:
        stores = frozenset(item.resource or "" for item in held.entries)
        change = Change(stores, common, tuple(remaining(found, devices)))
    return changing(found, held, change, root_on)


def remaining(found: Authority, devices: DeviceCatalog) -> Iterator[CatalogedDevice]:
    """The connected devices, without those that an administrator has disconnected: their entries may be back,
    where another one has changed them without knowing that."""
    gone = left(found.directory)
    for entry in devices.devices():
        if entry.device_udf != found.founder_udf and not is_gone(entry, gone):
            yield entry


def changing(
    found: Authority, held: ActivationCommon, change: Change, root_on: TokenURI | None = None
) -> Journal:
    """All that a change of keys needs, made but not written."""
    lost = change.lost
    own = device_key(lost) if lost is not None else None
    unlisted, still = without_device(found.host, lost, found.options) if lost is not None else ([], {})
    keys = new_keys(held, change.stores | {DEVICES}, found.suite, common=change.common)
    after = merged(held, keys)
    with opened_catalog(found, held) as devices, found.together():
        profile = _new_profile(found, change, keys, devices, root_on)
        with found.administrator() as admin:
            escrow = public_key(found.profile.escrow_encryption, "EscrowEncryption")
            connected = {entry.signature_udf or "" for entry in remaining(found, devices)}
            gone = left_before(found.directory, connected)
            if lost is not None:
                gone.append(lost.signature_udf or "")
            since = connected_when(lost) if lost is not None else None
            said = statement(keys, found.udf, escrow, admin, gone, after=since)
            made = Given(
                profile,
                after,
                needed([*found.directory.statements(), said]),
                lambda entry: descriptors_for(found.host, entry, unlisted),
            )
            entries = list(_refreshed(made, change, found.profile, devices, admin))
            others = [item for item in entries if item.device_udf != found.device_udf]
            updates = {item.device_udf or "": update_for(item, admin).octets() for item in others}
    kept, granted = found.own(entries, after)
    return Journal(
        account=found.udf,
        removed=(lost.device_udf or "") if lost is not None else "",
        profile=profile.octets(),
        statement=said.octets(),
        entries=tuple(encode(item) for item in entries),
        updates=updates,
        own=kept,
        granted=granted,
        descriptors=tuple(unlisted),
        unlisted=fingerprint(own) if own is not None else "",
        still_listed=still,
    )


def connection_of(profile: ProfileUser, entry: CatalogedDevice) -> ConnectionDevice:
    """The connection in an entry, signed by who may. Raises SignatureInvalid, FormatError."""
    if entry.enveloped_connection_device is None:
        raise IntegrityError(f"the entry of {entry.device_udf} lacks its connection")
    envelope = Envelope.from_array(entry.enveloped_connection_device.array)
    signers = signers_for(profile, envelope, entry.proof)
    return open_assertion(envelope, ConnectionDevice, signers).value


def _new_profile(
    found: Authority,
    change: Change,
    keys: ActivationCommon,
    devices: DeviceCatalog,
    root_on: TokenURI | None,
) -> Envelope:
    """The profile with the common keys rotated and the administrator removed, where that is needed."""
    profile = rotated(found.profile, keys)
    if change.administrator is not None:
        profile = removing(profile, fingerprint(change.administrator), devices)
    if profile == found.profile:
        return found.envelope
    return signed_by_root(found, profile, root_on)


def removing(profile: ProfileUser, udf: str, devices: DeviceCatalog) -> ProfileUser:
    """The profile without that administrator, and the device catalog's head as it is now.

    Raises KeyNotFound, UsageError for the last one.
    """
    left, gone = without(profile, udf)
    _make_provable(public_key(gone, "administrator"), devices)
    removals = (*profile.removed_administrators, removal(gone, devices.store.catalog))
    return replace(left, removed_administrators=removals)


def _make_provable(removed: PublicKey, devices: DeviceCatalog) -> None:
    """Entries that came from another device's copy of the catalog may lack the digests that proofs need."""
    for entry in devices.devices():
        if _signed_by(entry, removed) and not is_provable(devices.store.catalog, entry.device_udf or ""):
            devices.put(entry)


def _refreshed(
    made: Given, change: Change, before: ProfileUser, devices: DeviceCatalog, admin: Signer
) -> Iterator[CatalogedDevice]:
    for entry in change.remaining:
        try:
            connection = connection_of(before, entry)
        except SignatureInvalid:  # by somebody who was removed before it was written: it is no device
            continue
        proven = with_proof(entry, change.administrator, devices)
        yield refreshed(proven, connection, made, admin)


def with_proof(entry: CatalogedDevice, removed: PublicKey | None, devices: DeviceCatalog) -> CatalogedDevice:
    """The entry, with the proof that it was there already if the removed administrator has signed it."""
    if removed is None or not _signed_by(entry, removed):
        return entry
    proof = proof_of(devices.store.catalog, entry.device_udf or "")
    return replace(entry, proof=proof.octets())


def _signed_by(entry: CatalogedDevice, key: PublicKey) -> bool:
    if entry.enveloped_connection_device is None:
        return False
    envelope = Envelope.from_array(entry.enveloped_connection_device.array)
    try:
        open_assertion(envelope, ConnectionDevice, [key])
    except SignatureInvalid:
        return False
    return True
