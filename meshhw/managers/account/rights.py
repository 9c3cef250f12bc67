"""Roles: what a connected device may do, and which of the account's keys it is given for that (digest 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from meshhw.errors import UsageError
from meshhw.managers.account.roles import STORES


@dataclass(frozen=True, slots=True)
class Rights:
    """What the roles of one device add up to."""

    roles: tuple[str, ...]
    stores: frozenset[str]
    common_keys: bool
    """Whether the device is given the account's common encryption, authentication and signature keys."""
    administrator: bool
    seed: bool
    """Whether the device is given the account's seed: it may then change everything."""
    shares: bool = False
    """Whether it may ask the holders of the account's threshold keys (docs/formats.md, "Mesh objects")."""


_DEVICE = frozenset({"MMM_Network", "MMM_Application"})
_MESSAGE = _DEVICE | {"MMM_Contact", "MMM_Publication", "MMM_Inbound", "MMM_Outbound"}
_WEB = _MESSAGE | {"MMM_Credential", "MMM_Task", "MMM_Bookmark"}
_STORES = {
    "super": frozenset(STORES),
    "admin": frozenset(STORES),
    "device": _DEVICE,
    "message": _MESSAGE,
    "web": _WEB,
    "developer": _WEB,
    "threshold": _WEB,
}
ADMINISTRATORS = frozenset({"admin", "super"})
"""The roles whose devices administer, as long as the profile lists their keys."""
THRESHOLD = "threshold"
"""The role of a device that reads what `web` does, and has instead of the account's own private keys a place
among those who may ask the holders of its threshold keys."""
_WITH_COMMON_KEYS = frozenset({"message", "web", "developer"})


def rights_of(roles: Sequence[str]) -> Rights:
    """The rights of these roles together.

    Raises UsageError for an unknown role or none.
    """
    for role in roles:
        if role not in _STORES:
            raise UsageError(f"there is no role {role!r}", hint="one of " + ", ".join(_STORES))
    if not roles:
        raise UsageError("a device needs at least one role", hint="one of " + ", ".join(_STORES))
    return Rights(
        tuple(dict.fromkeys(roles)),
        frozenset().union(*(_STORES[role] for role in roles)),
        common_keys=not _WITH_COMMON_KEYS.isdisjoint(roles),
        administrator=not ADMINISTRATORS.isdisjoint(roles),
        seed="super" in roles,
        shares=THRESHOLD in roles,
    )


def without_seed(rights: Rights) -> Rights:
    """The same where no seed gives the root key: who was super administers, and uses everything."""
    roles = (("admin", "web") if role == "super" else (role,) for role in rights.roles)
    return rights_of([role for group in roles for role in group])
