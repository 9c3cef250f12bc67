"""The reference's own catalog of a machine, read when its home is imported (schema digest 13)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import field

from meshhw.schema.core import Enveloped, MeshObject

if TYPE_CHECKING:
    from meshhw.schema.activation import ActivationHost
    from meshhw.schema.connection import AccountHostAssignment, ConnectionDevice, ConnectionService
    from meshhw.schema.entry import CatalogedDevice
    from meshhw.schema.message import AcknowledgeConnection
    from meshhw.schema.profile import ProfileAccount, ProfileDevice, ProfileHost, ProfileService


class CatalogedMachine(MeshObject):
    """An account or device of this machine, as the reference's host catalog has it."""

    id: str | None = None
    local: str | None = None
    default: bool | None = None
    enveloped_profile_account: Enveloped[ProfileAccount] | None = None
    cataloged_device: CatalogedDevice | None = None
    cataloged_device_digest: str | None = None
    enveloped_account_host_assignment: Enveloped[AccountHostAssignment] | None = None


class CatalogedService(CatalogedMachine):
    """A service that this machine runs."""

    enveloped_profile_service: Enveloped[ProfileService] | None = None
    enveloped_profile_host: Enveloped[ProfileHost] | None = None
    enveloped_activation_host: Enveloped[ActivationHost] | None = None
    enveloped_connection_service: Enveloped[ConnectionService] | None = None


class CatalogedStandard(CatalogedMachine):
    """An account that this machine is connected to."""


class CatalogedPending(CatalogedMachine):
    """A connection that was requested."""

    device_udf: str | None = field(default=None, name="DeviceUDF")
    enveloped_profile_device: Enveloped[ProfileDevice] | None = None
    enveloped_acknowledge_connection: Enveloped[AcknowledgeConnection] | None = None
    account_address: str | None = None


class CatalogedPreconfigured(CatalogedMachine):
    """A connection that a maker prepared."""

    enveloped_profile_device: Enveloped[ProfileDevice] | None = None
    enveloped_connection_service: Enveloped[ConnectionService] | None = None
    enveloped_connection_device: Enveloped[ConnectionDevice] | None = None
    account_address: str | None = None
    publication_id: str | None = None
    service_authenticator: str | None = None
    device_authenticator: str | None = None
