"""The first device of an account: the machine on which it was made, or made again from its shares.

It has no device profile; its place in the device catalog is under its administrator's key, so that it can be
disconnected like any other when it is lost. What is for it alone is encrypted to its administrator's
encryption key.
"""

from __future__ import annotations

from meshhw.dare.signing import Signer
from meshhw.managers.account.roles import ADMINISTRATOR, ADMINISTRATOR_ENCRYPTION, ESCROW
from meshhw.managers.account.rooting import root_handles
from meshhw.managers.host import ProfileRecord, now
from meshhw.managers.profilemaking import ROOT
from meshhw.schema.assertion import sign_assertion
from meshhw.schema.connection import ConnectionDevice
from meshhw.schema.core import Enveloped
from meshhw.schema.entry import CatalogedDevice
from meshhw.schema.keydata import key_data
from meshhw.udf import fingerprint


def founder_roles(record: ProfileRecord, *, seed: bool) -> tuple[str, ...]:
    """What the machine holds, as roles: `super` while it has the seed, or the root or escrow key beside its
    administrator's."""
    handles = {role: record.key(role) for role in (ROOT, ESCROW, ADMINISTRATOR)}
    if handles[ROOT].is_shared:  # no one machine holds the root
        return ("admin", "web")
    tokens = {role: handle.key_uri.token for role, handle in handles.items() if not handle.is_shared}
    apart = {tokens[ESCROW], *(handle.key_uri.token for handle in root_handles(record.keys))}
    if seed or tokens.get(ADMINISTRATOR) in apart:
        return ("super",)
    return ("admin", "web")


def founder_entry(record: ProfileRecord, admin: Signer, roles: tuple[str, ...]) -> CatalogedDevice:
    """The machine's entry in the device catalog."""
    udf = fingerprint(admin.public)
    connection = ConnectionDevice(
        profile_udf=record.udf,
        updated=now(),
        subject=udf,
        authority=udf,
        roles=roles,
        signature=key_data(admin.public),
        encryption=key_data(record.key(ADMINISTRATOR_ENCRYPTION).public_key),
    )
    signed = sign_assertion(connection, admin, udf, binary=True)
    return CatalogedDevice(
        updated=now(),
        device_udf=udf,
        signature_udf=udf,
        enveloped_connection_device=Enveloped(signed.array()),
    )
