"""Making the account that succeeds another one, whose seed, root or escrow key a lost device held.

Everything is made in the new account's own directory: its profile with the statement of succession, its
stores with the earlier entries under new keys, the remaining devices' connections. It counts from the moment
at which the account stands in the host's state, the last step; whatever is interrupted before leaves the
earlier account in force, and is simply done again. The earlier account stays here, to read what is old.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain

from msgspec.structs import replace

from meshhw import files
from meshhw.algorithms import Suite
from meshhw.dare.envelope import Envelope
from meshhw.dare.local import LocalKey
from meshhw.dare.signing import Signer
from meshhw.errors import IntegrityError, SignatureInvalid
from meshhw.keystore.uri import TokenURI
from meshhw.managers.account.administrators import listed
from meshhw.managers.account.authority import Authority, common_of, opened_catalog
from meshhw.managers.account.connect import Grant, cataloged
from meshhw.managers.account.connected import connected_keys
from meshhw.managers.account.contacts import SELF, own_contact
from meshhw.managers.account.devices import STORE as DEVICES
from meshhw.managers.account.devices import DeviceCatalog
from meshhw.managers.account.directory import AccountDirectory
from meshhw.managers.account.disconnecting import Lost, connection_of, lost_device
from meshhw.managers.account.floor import floor_of, require_own
from meshhw.managers.account.following import SUCCESSOR
from meshhw.managers.account.granted import merged, store_ring, within
from meshhw.managers.account.listing import descriptors_for
from meshhw.managers.account.names import APPLICATIONS, CONTACTS, shown_device
from meshhw.managers.account.rights import Rights, rights_of, without_seed
from meshhw.managers.account.roles import STORES
from meshhw.managers.account.stores import Store, store_in, store_path
from meshhw.managers.account.succession import statement, steps
from meshhw.managers.account.updates import update_for, update_path
from meshhw.managers.host import ProfileRecord
from meshhw.managers.profilemaking import ROOT
from meshhw.schema.activation import ActivationCommon
from meshhw.schema.assertion import open_profile
from meshhw.schema.codec import decode
from meshhw.schema.core import Enveloped
from meshhw.schema.entry import (
    CatalogedApplication,
    CatalogedApplicationDevice,
    CatalogedContact,
    CatalogedDevice,
)
from meshhw.schema.keydata import key_data
from meshhw.schema.profile import ProfileDevice, ProfileUser
from meshhw.udf import Seed, Specifier, fingerprint

_NOT_CARRIED = frozenset({DEVICES, "MMM_Inbound", "MMM_Outbound", "MMM_Local", "MMM_Archive"})
"""The devices are connected anew; spools stay with the earlier account, whose keys their messages are for."""


@dataclass(frozen=True, slots=True)
class Remaining:
    """A device that the new account takes over, and the keys that it will have there."""

    entry: CatalogedDevice
    profile: ProfileDevice
    rights: Rights
    activation: Seed


class Succession:
    """What passes from an account to the one that succeeds it. Reads; changes nothing of the earlier one."""

    def __init__(self, found: Authority, lost: Sequence[str], root_on: TokenURI | None = None) -> None:
        """`lost` names the devices that are left out. Raises KeyNotFound, Ambiguous, UsageError for this
        machine itself."""
        self._found = found
        self._root_on = root_on
        self._said: Envelope | None = None
        self._held = found.held(common=False)
        self.lost: list[Lost] = [lost_device(found, self._held, name) for name in lost]
        with opened_catalog(found, self._held) as devices:
            everyone = devices.devices()
        out = {item.udf for item in self.lost}
        self._mine = found.founder_udf or found.device_udf
        others = [item for item in everyone if item.device_udf not in {*out, self._mine}]
        self._name = next((item.local_name for item in everyone if item.device_udf == self._mine), None)
        self.remaining = [item for entry in others for item in self._remaining(entry)]
        taken = {item.entry.device_udf for item in self.remaining}
        self.left_out = [item for item in others if item.device_udf not in taken]

    @property
    def address(self) -> str:
        """The address, which stays."""
        return self._found.address

    @property
    def predecessor(self) -> str:
        """The earlier account's UDF."""
        return self._found.udf

    def state(self, root: Signer) -> None:
        """Make the statement, before the new keys' tokens are held: the earlier root and this administrator
        may be on the same ones. Raises what these tokens raise."""
        found = self._found
        with found.together(), found.root(self._root_on) as old_root, found.administrator() as admin:
            self._said = statement(found.profile, old_root, root, admin)

    def profile(self, made: ProfileUser) -> ProfileUser:
        """The new account's profile with the statement, and the administrators that remain.

        Raises IntegrityError when the statement is not of its root, UsageError when the new suite is weaker
        than the account takes.
        """
        before = self._found.profile
        require_own(Suite(made.suite or Suite.S448), floor_of(before.connection_policy))
        if self._said is None:
            raise IntegrityError("the succession was not stated")
        administrators = (
            key_data(connected_keys(item.profile, item.activation).signature)
            for item in self.remaining
            if item.rights.administrator
        )
        profile = replace(
            made,
            administrator_signatures=(*listed(made), *administrators),
            connection_policy=before.connection_policy,
            successions=(*before.successions, Enveloped(self._said.array())),
        )
        steps(profile)
        return profile

    def furnish(
        self,
        directory: AccountDirectory,
        record: ProfileRecord,
        keys: ActivationCommon,
        seed: Seed,
        admin: Signer,
    ) -> None:
        """Fill the new account's directory: stores, devices, and what the devices must get."""
        common = ActivationCommon(**common_of(seed, record.suite))  # type: ignore[arg-type]  # its own members
        shared = record.key(ROOT).is_shared  # the seed gives no root then, and nobody is super by it
        given = replace(merged(common, keys), activation_key=None if shared else seed.text)
        author = fingerprint(admin.public)
        for name in STORES:
            self._carry(name, directory, store_ring(keys, name), author)
        entries = [self._entry(item, record, given, admin) for item in self.remaining]
        with _opened(directory, DEVICES, keys, author) as store:
            devices = DeviceCatalog(store)
            devices.put(replace(devices.device(author), local_name=self._name))
            founder = devices.device(author)
            for entry in entries:
                devices.put(entry)
        with _opened(directory, APPLICATIONS, keys, author) as store:
            for shown in filter(None, map(shown_device, [founder, *entries])):
                store.put(shown.key or "", shown)
        self._own_contact(directory, record, keys, author)
        self._write_updates(directory, entries, admin)

    def _remaining(self, entry: CatalogedDevice) -> list[Remaining]:
        """The device as it will be connected; nothing for one that must ask for that itself."""
        if entry.enveloped_profile_device is None:
            return []
        try:
            connection = connection_of(self._found.profile, entry)
        except SignatureInvalid:  # by somebody who had no right to: it is no device
            return []
        device = open_profile(Envelope.from_array(entry.enveloped_profile_device.array), ProfileDevice)
        seed = Seed.generate(Specifier.ACTIVATION_ACCOUNT)
        return [Remaining(entry, device.value, rights_of(connection.roles), seed)]

    def _carry(self, name: str, directory: AccountDirectory, ring: Sequence[LocalKey], author: str) -> None:
        """The live entries of an earlier store, under the new store's key."""
        old = store_ring(self._held, name)
        path = self._found.directory.path
        if name in _NOT_CARRIED or not old or not store_path(path, name).exists():
            return
        with (
            store_in(path, name, old, author) as source,
            store_in(directory.path, name, ring, author, writable=True) as target,
        ):
            for entry in source.catalog.entries():
                if name == APPLICATIONS and _is_device(entry.payload):
                    continue
                target.carry(entry.key, entry.payload)

    def _entry(
        self, item: Remaining, record: ProfileRecord, keys: ActivationCommon, admin: Signer
    ) -> CatalogedDevice:
        profile, enveloped = Envelope.parse(record.envelope), item.entry.enveloped_profile_device
        if enveloped is None:
            raise AssertionError("`_remaining` takes devices with a profile alone")
        rights = without_seed(item.rights) if record.key(ROOT).is_shared else item.rights
        grant = Grant(
            record.udf,
            profile,
            item.profile,
            enveloped,
            rights,
            item.activation,
            connected_keys(item.profile, item.activation),
            item.entry.local_name,
            descriptors=descriptors_for(self._found.host, item.entry),
        )
        return cataloged(grant, within(keys, rights), admin)

    def _own_contact(
        self, directory: AccountDirectory, record: ProfileRecord, keys: ActivationCommon, author: str
    ) -> None:
        """The person's own contact, where it was kept, tells of the new account."""
        with _opened(directory, CONTACTS, keys, author) as store:
            if store.catalog.latest(SELF) is None:
                return
            before = store.get(SELF, CatalogedContact)
            names = getattr(before.contact, "common_names", ())
            full_name = next((item.full_name for item in names if item.full_name), "")
            person = own_contact(Envelope.parse(record.envelope), full_name)
            store.put(SELF, replace(before, contact=person))

    def _write_updates(
        self, directory: AccountDirectory, entries: Sequence[CatalogedDevice], admin: Signer
    ) -> None:
        """What each device must get."""
        files.private_directory(update_path(directory.path, "any").parent)
        for entry in entries:
            envelope = update_for(entry, admin, result=SUCCESSOR)
            files.replace(update_path(directory.path, entry.device_udf or ""), envelope.octets())


def still_reads(succession: Succession) -> tuple[str, ...]:
    """What the lost devices may still read from before, in whole sentences, each once."""
    return tuple(dict.fromkeys(chain.from_iterable(item.still_reads for item in succession.lost)))


def _opened(
    directory: AccountDirectory, name: str, keys: ActivationCommon, author: str
) -> AbstractContextManager[Store]:
    return store_in(directory.path, name, store_ring(keys, name), author, writable=True)


def _is_device(payload: bytes) -> bool:
    return isinstance(decode(payload, CatalogedApplication), CatalogedApplicationDevice)
