"""Requests and responses of the Mesh service (schema digest section 10)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import field

from meshhw.schema.core import Enveloped, MeshObject, Tagged

if TYPE_CHECKING:
    from meshhw.schema.connection import AccountHostAssignment, CallsignBinding
    from meshhw.schema.entry import CatalogedDevice, CatalogedPublication
    from meshhw.schema.key import Key, KeyAgreement
    from meshhw.schema.message import (
        AcknowledgeConnection,
        Message,
        MessageClaim,
        RequestConnection,
        RespondConnection,
    )
    from meshhw.schema.profile import ProfileAccount, ProfileDevice, ProfileService


class MeshRequest(MeshObject):
    """Any request to a Mesh service."""


class MeshRequestUser(MeshRequest):
    """A request of a connected device."""

    account: str | None = None
    capability: str | None = None
    enveloped_profile_device: Enveloped[ProfileDevice] | None = None


class MeshResponse(MeshObject):
    """Any response; `status` is 201 for success."""

    status: int | None = None
    status_description: str | None = None


class KeyValue(MeshObject):
    """A name and a value."""

    key: str | None = None
    value: str | None = None


class ConstraintsSelect(MeshObject):
    """Which frames of a store are asked for."""

    container: str | None = None
    index_min: int | None = None
    index_max: int | None = None
    not_before: datetime | None = None
    before: datetime | None = None
    page_key: str | None = None


class ConstraintsData(MeshObject):
    """How much may be sent."""

    max_entries: int | None = None
    bytes_offset: int | None = None
    bytes_max: int | None = None
    header: bool | None = None
    payload: bool | None = None
    trailer: bool | None = None


class PolicyAccount(MeshObject):
    """What account names a service takes."""

    minimum: int | None = None
    maximum: int | None = None
    invalid_characters: str | None = None


class ContainerStatus(MeshObject):
    """How far a store has come."""

    container: str | None = None
    index: int | None = None
    digest: bytes | None = None


class ContainerUpdate(ContainerStatus):
    """Frames to be appended to a store."""

    envelopes: tuple[Enveloped[MeshObject], ...] = ()


class MeshHelloRequest(MeshRequest):
    """Who are you?"""

    callsign_binding: CallsignBinding | None = None


class MeshHelloResponse(MeshResponse):
    """What the service is and what it takes."""

    constraints_update: ConstraintsData | None = None
    constraints_post: ConstraintsData | None = None
    policy_account: PolicyAccount | None = None
    enveloped_profile_service: Enveloped[ProfileService] | None = None
    callsign_binding: CallsignBinding | None = None


class BindRequest(MeshRequest):
    """Bind an account to the service."""

    account_address: str | None = None
    enveloped_profile_account: Enveloped[ProfileAccount] | None = None
    enveloped_callsign_binding: tuple[Enveloped[CallsignBinding], ...] = ()


class BindResponse(MeshResponse):
    """Whether it was bound."""

    reason: str | None = None
    url: str | None = field(default=None, name="URL")
    enveloped_account_host_assignment: Enveloped[AccountHostAssignment] | None = None


class UnbindRequest(MeshRequestUser):
    """Release the account."""


class UnbindResponse(MeshResponse):
    """Whether it was released."""


class ConnectRequest(MeshRequest):
    """Post a connection request."""

    enveloped_request_connection: Enveloped[RequestConnection] | None = None
    rights: tuple[str, ...] = ()


class ConnectResponse(MeshResponse):
    """The witness of it."""

    enveloped_acknowledge_connection: Enveloped[AcknowledgeConnection] | None = None
    enveloped_profile_account: Enveloped[ProfileAccount] | None = None


class StatusRequest(MeshRequestUser):
    """Ask how far stores have come."""

    device_udf: str | None = field(default=None, name="DeviceUDF")
    cataloged_device_digest: str | None = None
    catalogs: tuple[str, ...] = ()
    spools: tuple[str, ...] = ()


class StatusResponse(MeshResponse):
    """How far they have come."""

    enveloped_profile_account: Enveloped[ProfileAccount] | None = None
    enveloped_cataloged_device: Enveloped[CatalogedDevice] | None = None
    cataloged_device_digest: str | None = None
    container_status: tuple[ContainerStatus, ...] = ()
    enveloped_account_host_assignment: Enveloped[AccountHostAssignment] | None = None


class CompleteRequest(StatusRequest):
    """Ask for the answer to a connection request."""

    account_address: str | None = None
    response_id: str | None = field(default=None, name="ResponseID")


class CompleteResponse(MeshResponse):
    """The answer."""

    enveloped_respond_connection: Enveloped[RespondConnection] | None = None
    enveloped_account_host_assignment: Enveloped[AccountHostAssignment] | None = None


class DownloadRequest(MeshRequestUser):
    """Ask for frames."""

    select: tuple[ConstraintsSelect, ...] = ()
    constraints_post: ConstraintsData | None = None


class DownloadResponse(MeshResponse):
    """The frames."""

    updates: tuple[ContainerUpdate, ...] = ()


class EntryResponse(MeshObject):
    """What became of one entry."""

    index_request: int | None = None
    index_container: int | None = None
    result: str | None = None
    constraints_data: ConstraintsData | None = None


class TransactRequest(MeshRequestUser):
    """Append to several stores at once, or to none."""

    updates: tuple[ContainerUpdate, ...] = ()
    accounts: tuple[str, ...] = ()
    outbound: tuple[Enveloped[Message], ...] = ()
    inbound: tuple[Enveloped[Message], ...] = ()
    local: tuple[Enveloped[Message], ...] = ()


class TransactResponse(MeshResponse):
    """What was appended."""

    entries: tuple[EntryResponse, ...] = ()
    constraints_data: ConstraintsData | None = None


class PostRequest(MeshRequest):
    """Deliver messages to accounts."""

    accounts: tuple[str, ...] = ()
    messages: tuple[Enveloped[Message], ...] = ()


class PostResponse(TransactResponse):
    """What became of them."""


class ClaimRequest(MeshRequest):
    """Claim a publication."""

    enveloped_message_claim: Enveloped[MessageClaim] | None = None


class ClaimResponse(MeshResponse):
    """The publication."""

    cataloged_publication: CatalogedPublication | None = None


class PollClaimRequest(MeshRequest):
    """Ask whether a publication was claimed."""

    publication_id: str | None = None
    target_account_address: str | None = None


class PollClaimResponse(MeshResponse):
    """The claim."""

    enveloped_message: Enveloped[Message] | None = None


class CryptographicOperation(MeshObject):
    """One private-key operation asked of a service."""

    key_id: str | None = None
    key_coefficient: bytes | None = None


class CryptographicOperationSign(CryptographicOperation):
    """A partial signature."""

    data: bytes | None = None
    partial_r: bytes | None = None


class CryptographicOperationKeyAgreement(CryptographicOperation):
    """A partial agreement."""

    public_key: Tagged[Key] | None = None


class CryptographicOperationGenerate(CryptographicOperation):
    """A new key."""


class CryptographicOperationShare(CryptographicOperation):
    """A splitting of a key."""

    threshold: int | None = None
    shares: int | None = None


class CryptographicResult(MeshObject):
    """What came of an operation."""

    error: str | None = None


class CryptographicResultKeyAgreement(CryptographicResult):
    """A partial result."""

    key_agreement: Tagged[KeyAgreement] | None = None


class CryptographicResultShare(CryptographicResult):
    """Shares."""


class OperateRequest(MeshRequest):
    """Several operations."""

    account_address: str | None = None
    operations: tuple[Tagged[CryptographicOperation], ...] = ()


class OperateResponse(MeshResponse):
    """Their results."""

    results: tuple[Tagged[CryptographicResult], ...] = ()
