"""The versions of a profile: none lower than was seen is taken, nor another at the same value."""

from __future__ import annotations

from typing import TypeVar

from meshhw.errors import IntegrityError
from meshhw.schema.assertion import profile_udf
from meshhw.schema.profile import ProfileAccount

P = TypeVar("P", bound=ProfileAccount)


def require_newer(held: ProfileAccount, offered: ProfileAccount) -> None:
    """Raise IntegrityError unless `offered` is the held profile, or a later version of it."""
    if profile_udf(held) != profile_udf(offered):
        raise IntegrityError("these are the profiles of two accounts")
    if (held.version or 0) > (offered.version or 0):
        raise IntegrityError(
            f"the account's profile has version {offered.version or 0}, version {held.version} was seen here"
        )
    if held.version == offered.version and held != offered:
        raise two_of(held)


def newest(held: P, offered: P) -> P:
    """The later of two versions of one profile, whichever that is. Raises IntegrityError for the profiles of
    two accounts, and for two different ones of the same version."""
    if profile_udf(held) == profile_udf(offered) and (held.version or 0) > (offered.version or 0):
        return held
    require_newer(held, offered)
    return offered


def two_of(held: ProfileAccount) -> IntegrityError:
    """What is told of two different profiles of one version."""
    return IntegrityError(
        f"two different profiles of the account have version {held.version or 0}",
        hint="two administrators changed the account without having met: repeat on one machine what was "
        "done on the other, and synchronise",
    )
