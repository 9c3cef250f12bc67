"""The account's profile in a shared directory: the newest version is taken, and none lower than was seen."""

from __future__ import annotations

from msgspec.structs import replace

from meshhw.dare.envelope import Envelope
from meshhw.errors import IntegrityError, MeshError, SignatureInvalid
from meshhw.managers.account.directory import PROFILE
from meshhw.managers.account.profiles import two_of
from meshhw.managers.account.removed import signers_for
from meshhw.managers.account.standing import Standing
from meshhw.managers.sync.folder import Folder
from meshhw.schema.assertion import open_assertion, open_profile, profile_udf
from meshhw.schema.connection import ConnectionDevice
from meshhw.schema.profile import ProfileUser

_LIMIT = 1 << 20


def exchange_profile(found: Standing, folder: Folder) -> str:
    """Take a newer profile, write a newer one; what was done.

    Raises IntegrityError for another profile of the same version, or of another account, SignatureInvalid.
    """
    best: tuple[Envelope, ProfileUser] | None = None
    for name in folder.names("", PROFILE.removesuffix(".dare")):
        try:
            envelope = Envelope.parse(folder.read(name, _LIMIT) or b"")
            offered = open_profile(envelope, ProfileUser).value
            if profile_udf(offered) != found.udf:
                raise IntegrityError(f"{folder.path / name} is the profile of another account")
        except MeshError:
            if name == PROFILE:
                raise
            continue  # a synchroniser's copy of a file that it had not whole
        if best is None or (offered.version or 0) > (best[1].version or 0):
            best = envelope, offered
    held = found.profile
    if best is not None and (best[1].version or 0) > (held.version or 0):
        if not _still_connected(found, best[1]):
            return "not taken yet: this device waits for an administrator's update"
        _keep(found, best[0])
        return "taken"
    if best is not None and best[1].version == held.version:
        if best[1] != held:
            raise two_of(held)
        return ""
    folder.write(PROFILE, found.profile_envelope.octets())
    return "written"


def _still_connected(found: Standing, profile: ProfileUser) -> bool:
    """Whether this device's connection counts under that profile, too. It may be signed by an administrator
    who was removed; then the update that brings a proof comes first."""
    if found.member is None or found.connection is None:
        return True
    signers = signers_for(profile, found.connection, found.member.entry.proof)
    try:
        open_assertion(found.connection, ConnectionDevice, signers)
    except SignatureInvalid:
        return False
    return True


def _keep(found: Standing, envelope: Envelope) -> None:
    found.directory.write_profile(envelope.octets())
    if found.record is not None:
        found.host.add(replace(found.record, envelope=envelope.octets()))
