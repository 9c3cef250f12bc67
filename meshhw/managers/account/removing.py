"""Removing an administrator whose device stays: the profile says so, and what it had signed is proven."""

from __future__ import annotations

from msgspec.structs import replace

from meshhw.dare.envelope import Envelope
from meshhw.errors import SignatureInvalid
from meshhw.keystore.uri import TokenURI
from meshhw.managers.account.administrators import administrators, signed_by_root
from meshhw.managers.account.authority import Authority, opened_catalog
from meshhw.managers.account.devices import DeviceCatalog
from meshhw.managers.account.disconnecting import connection_of, removing, with_proof
from meshhw.managers.account.journal import Journal, apply, commit
from meshhw.managers.account.updates import update_for
from meshhw.schema.codec import encode
from meshhw.schema.core import Enveloped
from meshhw.schema.entry import CatalogedDevice
from meshhw.schema.profile import ProfileUser
from meshhw.udf import fingerprint, same_name


def remove_administrator(found: Authority, udf: str, root_on: TokenURI | None = None) -> ProfileUser:
    """Take an administrator off the list, signed by the root, and make updates for the devices that it had
    connected. What it signs from now on counts nothing.

    Raises KeyNotFound for one that is not listed, UsageError for the last one.
    """
    before = found.profile
    held = found.held(common=False)
    updates = {}
    with found.together():
        with opened_catalog(found, held) as devices:
            profile = signed_by_root(found, removing(before, udf, devices), root_on)
            entries = _proven(before, udf, profile, devices)
        if not same_name(udf, fingerprint(found.administrator_key)):
            with found.administrator() as admin:
                updates = {item.device_udf or "": update_for(item, admin).octets() for item in entries}
    journal = Journal(
        account=found.udf,
        profile=profile.octets(),
        entries=tuple(encode(item) for item in entries),
        updates=updates,
    )
    commit(found, journal)
    apply(found, journal, held)
    return found.profile


def _proven(
    before: ProfileUser, udf: str, profile: Envelope, devices: DeviceCatalog
) -> list[CatalogedDevice]:
    """The entries that the removed administrator has signed, with the proof and the new profile."""
    removed = next(key for key in administrators(before) if same_name(udf, fingerprint(key)))
    entries = []
    for entry in devices.devices():
        try:
            connection_of(before, entry)
        except SignatureInvalid:
            continue
        proven = with_proof(entry, removed, devices)
        if proven is not entry:
            entries.append(replace(proven, enveloped_profile_user=Enveloped(profile.array())))
    return entries
