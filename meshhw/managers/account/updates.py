"""What a remaining device needs from an administrator after a change: its refreshed entry, in an envelope for
it alone (docs/formats.md, "Updates").

The refreshed entry carries the newest profile and the new keys; activation and connection stay as they were.
Updates wait in `accounts/UDF/updates/` until a person or `account sync` brings them to their devices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from msgspec.structs import replace

from meshhw import files
from meshhw.algorithms import PublicKey
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import KeyRing
from meshhw.dare.signing import Signer
from meshhw.errors import FormatError, IntegrityError, KeyNotFound, Replayed, SignatureInvalid
from meshhw.keystore.api import OpenOptions
from meshhw.managers.account.administrators import administrators
from meshhw.managers.account.authority import Founder
from meshhw.managers.account.directory import CATALOGED, AccountDirectory
from meshhw.managers.account.granted import merged, within
from meshhw.managers.account.listing import take_brought
from meshhw.managers.account.membership import Membership, install
from meshhw.managers.account.profiles import newest
from meshhw.managers.account.rekeying import statements_of, take_statements
from meshhw.managers.account.replacing import take_common
from meshhw.managers.account.rights import rights_of
from meshhw.managers.account.roles import ADMINISTRATOR, ADMINISTRATOR_ENCRYPTION
from meshhw.managers.host import Host, ProfileRecord, now
from meshhw.managers.keys import opened
from meshhw.schema.activation import ActivationCommon
from meshhw.schema.assertion import enclose, open_assertion, open_profile, profile_udf
from meshhw.schema.codec import decode
from meshhw.schema.connection import ConnectionDevice
from meshhw.schema.core import Enveloped
from meshhw.schema.entry import CatalogedDevice
from meshhw.schema.keydata import public_key
from meshhw.schema.message import RespondConnection
from meshhw.schema.profile import ProfileDevice, ProfileUser
from meshhw.schema.threshold import ThresholdDescriptor
from meshhw.udf.secret import nonce

UPDATE = "Update"
_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Given:
    """What every remaining device is given, as far as its roles go."""

    profile: Envelope
    keys: ActivationCommon
    statements: Sequence[Envelope]
    descriptors: Callable[[CatalogedDevice], Sequence[Enveloped[ThresholdDescriptor]]] = attrgetter(
        "enveloped_threshold_descriptors"
    )
    """The newest ones that list the device of an entry; unless told, those that it has."""


def refreshed(
    entry: CatalogedDevice,
    connection: ConnectionDevice,
    given: Given,
    admin: Signer,
) -> CatalogedDevice:
    """The entry with the newest profile and what of these keys the device's roles may have; one signature."""
    reader = public_key(connection.encryption, "Encryption")
    portion = within(given.keys, rights_of(connection.roles))
    return replace(
        entry,
        updated=now(),
        enveloped_profile_user=Enveloped(given.profile.array()),
        enveloped_store_epochs=tuple(Enveloped(said.array()) for said in given.statements),
        enveloped_threshold_descriptors=tuple(given.descriptors(entry)),
        enveloped_activation_common=Enveloped(
            enclose(portion, admin, reader, entry.device_udf or "").array()
        ),
    )


def update_for(entry: CatalogedDevice, admin: Signer, *, result: str = UPDATE) -> Envelope:
    """The envelope that brings an entry to its device; one signature. Raises FormatError."""
    name = nonce().text
    answer = RespondConnection(message_id=name, result=result, cataloged_device=entry)
    return enclose(answer, admin, _base_key(entry), name)


def update_path(account: Path, device: str) -> Path:
    """Where the update of a device waits, in the account's directory."""
    return account / "updates" / f"{device}.dare"


def pending_updates(home: Path, account: str) -> dict[str, bytes]:
    """What waits for the devices of an account, by device."""
    paths = sorted((AccountDirectory(home, account).path / "updates").glob("*.dare"))
    return {path.stem: files.read_private(path, _LIMIT) or b"" for path in paths}


def take_update(
    host: Host, answer: RespondConnection, signers: Sequence[PublicKey], options: OpenOptions
) -> tuple[str, ConnectionDevice]:
    """Install an update on the device that it is for; the account's UDF and the device's connection.

    Everything is checked before anything is kept: a removed administrator, whom an earlier profile lists,
    could else bring stores keys of his own. What brings an earlier profile than is held, and comes from who
    still administers, was overtaken on its way: its keys are taken, the profile stays.

    Raises KeyNotFound when it is for no device here, SignatureInvalid when no administrator of the newest
    profile signed it, Replayed for one that is older than what is held, IntegrityError for another profile of
    the same version.
    """
    entry = answer.cataloged_device
    if entry is None or entry.enveloped_profile_user is None:
        raise FormatError("the update brings nothing")
    offered = open_profile(Envelope.from_array(entry.enveloped_profile_user.array), ProfileUser).value
    founder = _founder(host, offered, entry)
    if founder is not None:
        return founder.udf, _adopt(Founder(host, founder, options), offered, entry, signers)
    found = Membership(host, entry)
    held = _held(host, found)
    _require_listed(newest(held.profile, offered), signers)
    there, brought = held.entry.updated or now(), entry.updated or now()
    overtaken = (held.profile.version or 0) > (offered.version or 0)
    if there > brought or (overtaken and there == brought):
        return _take_beside(host, held, found, options)
    kept = held.merged_envelope(found, options, overtaken=overtaken)
    take_statements(AccountDirectory(host.home, found.udf), statements_of(entry))
    take_brought(host, entry, options)
    install(host, found, kept)
    return found.udf, found.connection


def _take_beside(
    host: Host, held: Membership, earlier: Membership, options: OpenOptions
) -> tuple[str, ConnectionDevice]:
    """Of an update that is earlier than what is held, the keys alone that are not here: those of an
    administrator who did not know of the other's. Raises Replayed when there are none."""
    keys = held.common(options)
    both = merged(earlier.brought(options), keys)
    if len(both.entries) == len(merged(keys, keys).entries):
        raise Replayed("a later update of this device was installed already")
    take_statements(AccountDirectory(host.home, held.udf), statements_of(earlier.entry))
    install(host, held, held.kept_envelope(both, options))
    return held.udf, held.connection


def _adopt(
    founder: Founder, offered: ProfileUser, entry: CatalogedDevice, signers: Sequence[PublicKey]
) -> ConnectionDevice:
    """The same where the account was made: its administrator's encryption key opens what is for it."""
    if (
        entry.enveloped_activation_common is None
        or entry.enveloped_connection_device is None
        or entry.enveloped_profile_user is None
    ):
        raise FormatError("the update brings no keys")
    held = founder.profile
    profile = newest(held, offered)
    _require_listed(profile, signers)
    listed = administrators(profile)
    inner = Envelope.from_array(entry.enveloped_activation_common.array)
    with opened(
        founder.record.key(ADMINISTRATOR_ENCRYPTION).uri, founder.host.home, founder.options
    ) as own_key:
        given = open_assertion(inner, ActivationCommon, listed, KeyRing([own_key.key])).value
    own = [*listed, founder.administrator_key]
    connection = Envelope.from_array(entry.enveloped_connection_device.array)
    connected = open_assertion(connection, ConnectionDevice, own).value
    take_statements(founder.directory, statements_of(entry))
    before = founder.held(common=False)
    keys = merged(given, before) if profile is held else merged(before, given)
    founder.keep(keys)
    if profile is not held:
        founder.take_profile(Envelope.from_array(entry.enveloped_profile_user.array))
    take_common(founder, keys)
    return connected


def _require_listed(profile: ProfileUser, signers: Sequence[PublicKey]) -> None:
    if not set(signers) & set(administrators(profile)):
        raise SignatureInvalid("the update is not signed by an administrator of the account")


def _founder(host: Host, profile: ProfileUser, entry: CatalogedDevice) -> ProfileRecord | None:
    for record in host.profiles("ProfileUser"):
        if record.udf == profile_udf(profile) and record.key(ADMINISTRATOR).udf == entry.device_udf:
            return record
    return None


def _held(host: Host, found: Membership) -> Membership:
    data = files.read_private(host.home / "accounts" / found.udf / CATALOGED, _LIMIT)
    if data is None:
        raise KeyNotFound("the update is of an account that no device here was connected to")
    held = Membership(host, decode(data, CatalogedDevice), held=True)
    if held.device.udf != found.device.udf:
        raise IntegrityError("the update is for another device than the one that was connected")
    return held


def _base_key(entry: CatalogedDevice) -> PublicKey:
    """The key that only the device itself has, whatever becomes of the account."""
    if entry.enveloped_profile_device is not None:
        device = open_profile(Envelope.from_array(entry.enveloped_profile_device.array), ProfileDevice)
        return public_key(device.value.encryption, "Encryption")
    if entry.enveloped_connection_device is None:
        raise FormatError("the entry lacks its connection")
    body = Envelope.from_array(entry.enveloped_connection_device.array).body
    return public_key(decode(body, ConnectionDevice).encryption, "Encryption")
