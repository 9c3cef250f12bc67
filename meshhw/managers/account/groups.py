"""Groups without a service: a threshold key is the group's, and its holders are the members.

The published groups decrypt with a member's share and one of a service. Here every share is a member's, so
any quorum of them opens what is for the group, and no one else takes part. The group's profile is signed by
the same quorum; as an entry of the account's catalogs it has a name and a key on every device.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshhw.dare.envelope import Envelope
from meshhw.errors import KeyNotFound, UsageError
from meshhw.keystore.api import OpenOptions
from meshhw.managers.account import known
from meshhw.managers.account.known import Known, Sort
from meshhw.managers.account.manager import checked_address
from meshhw.managers.account.names import Names
from meshhw.managers.account.standing import Standing
from meshhw.managers.host import now
from meshhw.managers.threshold.named import recipient
from meshhw.managers.threshold.signer import PREFIX, open_signer, public_of, told_of
from meshhw.schema.assertion import open_profile, sign_assertion
from meshhw.schema.core import Enveloped
from meshhw.schema.entry import CatalogedGroup
from meshhw.schema.keydata import key_data
from meshhw.schema.profile import ProfileGroup
from meshhw.udf import fingerprint


@dataclass(frozen=True, slots=True)
class NewGroup:
    """A group that shall be made of a threshold key."""

    address: str
    key: str
    name: str | None
    needed: int
    members: int


class Groups:
    """The groups in the catalogs of one account."""

    def __init__(self, found: Standing, options: OpenOptions) -> None:
        self._found = found
        self._options = options
        self._names = Names.of(found, options)

    def all(self) -> list[Known]:
        """Every group that the account knows."""
        return [item for item in self._names.all() if item.sort is Sort.GROUP]

    def plan(self, address: str, key: str, name: str | None = None) -> NewGroup:
        """A group of that address whose members hold that threshold key; changes nothing.

        Raises UsageError for an address or a name that is taken or none, KeyNotFound for no such key,
        NotSupported for one that does not both decrypt and sign.
        """
        wanted = checked_address(address)
        if not wanted:
            raise UsageError("a group has an address", hint="for instance board@example.com")
        if any(wanted in item.addresses for item in self._names.all()):
            raise UsageError(f"{wanted!r} is taken in the account")
        self._names.require_free(name or wanted)
        recipient(key.removeprefix(PREFIX), self._found.host.home)
        needed, members = told_of(key, self._found.host.home)
        return NewGroup(wanted, key, name, needed, members)

    def create(self, new: NewGroup) -> Known:
        """Have the quorum sign the group's profile, and let every device of the account know it.

        Raises NotSupported when the catalog was not granted, and what the members' tokens raise.
        """
        home = self._found.host.home
        root = key_data(public_of(new.key, home))
        profile = ProfileGroup(
            updated=now(),
            version=1,
            account_address=new.address,
            profile_signature=root,
            administrator_signature=root,
            common_encryption=key_data(recipient(new.key.removeprefix(PREFIX), home).public),
        )
        signer = open_signer(new.key, home, self._options)
        envelope = sign_assertion(profile, signer, fingerprint(signer.public))
        open_profile(envelope, ProfileGroup)
        entry = CatalogedGroup(
            key=new.address, local_name=new.name, enveloped_profile_group=Enveloped(envelope.array())
        )
        self._names.add_group(entry)
        return known.group(new.address, entry)

    def profile(self, name: str) -> Envelope:
        """The signed profile of a group, to be handed to somebody. Raises KeyNotFound, Ambiguous."""
        entry = self._names.group_entry(self.find(name))
        if entry.enveloped_profile_group is None:
            raise KeyNotFound(f"the group {name} has no profile here")
        return Envelope.from_array(entry.enveloped_profile_group.array)

    def find(self, name: str) -> Known:
        """The group of that name, address or UDF. Raises KeyNotFound, Ambiguous."""
        found = self._names.find(name)
        if found.sort is not Sort.GROUP:
            raise KeyNotFound(f"{found} is no group")
        return found

    def delete(self, name: str) -> Known:
        """Forget a group; its threshold key stays. Raises as `find`, NotSupported."""
        found = self.find(name)
        self._names.drop_group(found)
        return found
