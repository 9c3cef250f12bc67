"""Recovery: an account made again on a bare machine from its shares, and from what was saved beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from meshhw.dare.envelope import Envelope
from meshhw.errors import IntegrityError, KeyNotFound
from meshhw.managers.account.directory import PROFILE
from meshhw.managers.account.escrow import RecoveredSeed
from meshhw.schema.assertion import open_profile, profile_udf
from meshhw.schema.profile import ProfileUser
from meshhw.udf import same_name

_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Saved:
    """What a saved profile tells beyond the seed: the address, and the version that the next must pass."""

    address: str
    version: int


def saved_profile(path: Path, recovered: RecoveredSeed) -> Saved:
    """The profile in a file, or in a copy of the account's directory, which must be the recovered one's.

    Raises KeyNotFound when there is none, IntegrityError when it is another account's, SignatureInvalid.
    """
    file = path / PROFILE if path.is_dir() else path
    if not file.is_file():
        raise KeyNotFound(
            f"{path} holds no account profile", hint=f"give a profile, or a directory with {PROFILE}"
        )
    with file.open("rb") as source:
        profile = open_profile(Envelope.parse(source.read(_LIMIT)), ProfileUser).value
    found = profile_udf(profile)
    if not same_name(found, recovered.udf):
        raise IntegrityError(f"{file} is the profile of {found}; the shares give {recovered.udf}")
    return Saved(profile.account_address or "", profile.version or 0)
