"""Connections: what an administrator signs for a device, a host or a callsign (schema digest section 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from msgspec import field

from meshhw.schema.core import MeshObject
from meshhw.schema.profile import Assertion

if TYPE_CHECKING:
    from meshhw.schema.entry import CatalogedCallsign
    from meshhw.schema.key import KeyData


class Connection(Assertion):
    """A statement that a device belongs to an account."""

    subject: str | None = None
    authority: str | None = None
    authentication: KeyData | None = None


class ConnectionService(Connection):
    """A device's short credential towards a service."""

    profile_udf: str | None = None
    callsign: CatalogedCallsign | None = None


class ConnectionDevice(ConnectionService):
    """A device's full credential: roles, and the keys it has inside the account."""

    roles: tuple[str, ...] = ()
    signature: KeyData | None = None
    encryption: KeyData | None = None


class ConnectionStripped(Connection):
    """A connection to an address (being removed from the reference)."""

    account: str | None = None


class ConnectionApplication(Connection):
    """A connection of an application."""


class ConnectionGroup(Connection):
    """A connection of a group."""


class ConnectionHost(Connection):
    """A connection of a host to a service."""


class AccountHostAssignment(Assertion):
    """Where a service serves an account, and the key under which it reads the access catalog."""

    ALIASES: ClassVar[dict[str, str]] = {"AccountAddress": "AccountAddess"}

    account_address: str | None = field(default=None, name="AccountAddess")
    host_addresses: tuple[str, ...] = ()
    access_encrypt: KeyData | None = None


class NamedService(MeshObject):
    """Where a callsign answers for one protocol."""

    prefix: str | None = None
    mapping: str | None = None
    endpoint: tuple[str, ...] = ()


class CallsignBinding(Assertion):
    """Binds a callsign to a profile."""

    canonical: str | None = None
    display: str | None = None
    profile_udf: str | None = None
    services: tuple[NamedService, ...] = ()
