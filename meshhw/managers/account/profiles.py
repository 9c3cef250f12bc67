"""The versions of a profile: none lower than was seen is taken, nor another at the same value."""

from __future__ import annotations

from meshhw.errors import IntegrityError
from meshhw.schema.assertion import profile_udf
from meshhw.schema.profile import ProfileAccount


def require_newer(held: ProfileAccount, offered: ProfileAccount) -> None:
    """Raise IntegrityError unless `offered` is the held profile, or a later version of it."""
    if profile_udf(held) != profile_udf(offered):
        raise IntegrityError("these are the profiles of two accounts")
    if (held.version or 0) > (offered.version or 0):
        raise IntegrityError(
            f"the account's profile has version {offered.version or 0}, version {held.version} was seen here"
        )
    if held.version == offered.version and held != offered:
        raise IntegrityError(f"two different profiles of the account have version {held.version or 0}")
