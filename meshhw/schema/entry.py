"""Catalog entries (schema digest section 8)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import field

from meshhw.schema.core import Enveloped, MeshObject, Tagged

if TYPE_CHECKING:
    from meshhw.schema.activation import ActivationAccount, ActivationCommon, ApplicationEntry, StoreEpochs
    from meshhw.schema.capability import Capability
    from meshhw.schema.connection import (
        CallsignBinding,
        ConnectionDevice,
        ConnectionService,
        ConnectionStripped,
    )
    from meshhw.schema.contact import Contact
    from meshhw.schema.key import KeyData
    from meshhw.schema.profile import ProfileAccount, ProfileDevice
    from meshhw.schema.threshold import ThresholdDescriptor


class CatalogedEntry(MeshObject):
    """An entry of a catalog."""

    labels: tuple[str, ...] = ()
    local_name: str | None = None
    uid: str | None = None


class CatalogedDevice(CatalogedEntry):
    """A connected device with everything that it needs to work."""

    updated: datetime | None = None
    udf: str | None = None
    device_udf: str | None = None
    signature_udf: str | None = None
    enveloped_profile_user: Enveloped[ProfileAccount] | None = None
    enveloped_profile_device: Enveloped[ProfileDevice] | None = None
    enveloped_connection_service: Enveloped[ConnectionService] | None = None
    enveloped_connection_device: Enveloped[ConnectionDevice] | None = None
    enveloped_activation_account: Enveloped[ActivationAccount] | None = None
    enveloped_activation_common: Enveloped[ActivationCommon] | None = None
    application_entries: tuple[Tagged[ApplicationEntry], ...] = ()
    enveloped_store_epochs: tuple[Enveloped[StoreEpochs], ...] = ()
    """Extension: the statements of the stores' newest keys, for the device's own copies of the stores."""
    enveloped_threshold_descriptors: tuple[Enveloped[ThresholdDescriptor], ...] = ()
    """Extension: the newest descriptors of the threshold keys whose holders the device may ask."""
    proof: bytes | None = None
    """Extension: a SequenceProof that the signed objects were in the device catalog when the administrator
    who had signed them was removed."""


class CatalogedPublication(CatalogedEntry):
    """A document published under a secret link."""

    id: str | None = None
    authenticator: str | None = None
    enveloped_data: Enveloped[MeshObject] | None = None
    not_on_or_after: datetime | None = None


class CatalogedCredential(CatalogedEntry):
    """A user name and password."""

    protocol: str | None = None
    service: str | None = None
    username: str | None = None
    password: str | None = None
    client_authentication: tuple[KeyData, ...] = ()
    host_authentication: tuple[KeyData, ...] = ()


class CatalogedNetwork(CatalogedEntry):
    """The credentials of a network."""

    protocol: str | None = None
    service: str | None = None
    username: str | None = None
    password: str | None = None


class CatalogedContact(CatalogedEntry):
    """A contact in the catalog."""

    key: str | None = None
    is_self: bool | None = field(default=None, name="Self")
    contact: Tagged[Contact] | None = None


class CatalogedAccess(CatalogedEntry):
    """A capability in the access catalog."""

    capability: Tagged[Capability] | None = None


class CatalogedBookmark(CatalogedEntry):
    """A bookmark."""

    uri: str | None = None
    title: str | None = None
    comments: tuple[str, ...] = ()


class Engagement(MeshObject):
    """An appointment or a task."""

    key: str | None = None
    start: datetime | None = None
    finish: datetime | None = None
    start_travel: str | None = None
    finish_travel: str | None = None
    time_zone: str | None = None
    title: str | None = None
    description: str | None = None
    location: str | None = None
    trigger: tuple[str, ...] = ()
    conference: tuple[str, ...] = ()
    repeat: str | None = None
    busy: bool | None = None


class CatalogedTask(CatalogedEntry):
    """A task."""

    enveloped_task: Enveloped[Engagement] | None = None
    title: str | None = None
    key: str | None = None


class CatalogedMember(CatalogedEntry):
    """A member of a group."""

    contact_address: str | None = None
    member_capability_id: str | None = None
    service_capability_id: str | None = None


class CatalogedReceipt(CatalogedEntry):
    """A receipt (no members are defined)."""


class CatalogedTicket(CatalogedEntry):
    """A ticket (no members are defined)."""


class CatalogedApplication(CatalogedEntry):
    """An application that devices may be granted."""

    default: int | None = None
    key: str | None = None
    grant: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    enveloped_capabilities: tuple[Enveloped[MeshObject], ...] = ()
    enveloped_escrow: tuple[Enveloped[KeyData], ...] = ()


class CatalogedApplicationSsh(CatalogedApplication):
    """The SSH application."""

    client_key: KeyData | None = None


class CatalogedApplicationMail(CatalogedApplication):
    """A mail account."""

    account_address: str | None = None
    inbound_connect: str | None = None
    outbound_connect: str | None = None
    smime_sign: KeyData | None = None
    smime_encrypt: KeyData | None = None
    openpgp_sign: KeyData | None = None
    openpgp_encrypt: KeyData | None = None


class CatalogedApplicationNetwork(CatalogedApplication):
    """A network application."""


class CatalogedApplicationDevice(CatalogedApplication):
    """Extension: what every device of the account may know of another one; `Key` is its DeviceUdf."""

    encryption: KeyData | None = None
    signature: KeyData | None = None


class CatalogedCallsign(CatalogedApplication):
    """A callsign held by the account."""

    canonical: str | None = None
    profile_udf: str | None = None
    enveloped_callsign_binding: Enveloped[CallsignBinding] | None = None


class CatalogedGroup(CatalogedApplication):
    """A group that the account administers or belongs to."""

    enveloped_connection_address: Enveloped[ConnectionStripped] | None = None
    enveloped_profile_group: Enveloped[ProfileAccount] | None = None
    enveloped_activation_common: Enveloped[ActivationCommon] | None = None
