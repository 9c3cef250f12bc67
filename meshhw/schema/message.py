"""Messages between accounts and devices (schema digest sections 7 and 9)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import field

from meshhw.schema.core import Enveloped, MeshObject, Tagged

if TYPE_CHECKING:
    from meshhw.schema.connection import ConnectionDevice, ConnectionService
    from meshhw.schema.contact import Contact
    from meshhw.schema.entry import CatalogedDevice
    from meshhw.schema.key import Key
    from meshhw.schema.profile import ProfileDevice


class Message(MeshObject):
    """A message between accounts or devices."""

    message_id: str | None = None
    sender: str | None = None
    recipient: str | None = None


class MessageError(Message):
    """A failure told to the sender."""

    error_code: str | None = None


class Reference(MeshObject):
    """A message, and the state that another message gives it."""

    message_id: str | None = None
    response_id: str | None = None
    relationship: str | None = None


class MessageComplete(Message):
    """Sets the state of earlier messages."""

    references: tuple[Reference, ...] = ()


class MessagePinValidated(Message):
    """A message that a PIN vouches for."""

    authenticated_data: Enveloped[MeshObject] | None = None
    client_nonce: bytes | None = None
    pin_id: str | None = None
    pin_witness: bytes | None = None


class MessagePin(Message):
    """A PIN that was issued, kept by its issuer."""

    account: str | None = None
    expires: datetime | None = None
    automatic: bool | None = None
    salted_pin: str | None = None
    action: str | None = None
    roles: tuple[str, ...] = ()


class RequestConnection(MessagePinValidated):
    """A device asks to be connected."""

    account_address: str | None = None
    expires: datetime | None = None
    """Extension: when an administrator must no longer take it."""


class AcknowledgeConnection(Message):
    """A service's witness of such a request."""

    enveloped_request_connection: Enveloped[RequestConnection] | None = None
    server_nonce: bytes | None = None
    witness: str | None = None


class RespondConnection(Message):
    """The administrator's answer."""

    result: str | None = None
    cataloged_device: CatalogedDevice | None = None


class MessageContact(MessagePinValidated):
    """A contact sent to somebody, perhaps asking for theirs."""

    reply: bool | None = None
    subject: str | None = None
    pin: str | None = field(default=None, name="PIN")


class GroupInvitation(Message):
    """An invitation that carries the member's capability."""

    text: str | None = None
    contact: Tagged[Contact] | None = None


class RequestConfirmation(Message):
    """A question to be answered yes or no."""

    text: str | None = None


class ResponseConfirmation(Message):
    """The answer, with the question."""

    request: Enveloped[RequestConfirmation] | None = None
    accept: bool | None = None


class RequestTask(Message):
    """A task proposed (no members are defined)."""


class MessageClaim(Message):
    """A claim on a published device."""

    publication_id: str | None = None
    service_authenticate: str | None = None
    device_authenticate: str | None = None
    expires: datetime | None = None


class MessageInvoice(Message):
    """An invoice (no members are defined)."""


class ProcessResult(Message):
    """What came of processing a message."""

    success: bool | None = None
    error_report: str | None = None


class DevicePreconfigurationPublic(MeshObject):
    """What a maker publishes of a device that it preconfigured."""

    enveloped_profile_device: Enveloped[ProfileDevice] | None = None
    hailing: tuple[str, ...] = ()


class DevicePreconfigurationPrivate(DevicePreconfigurationPublic):
    """What a maker puts into that device."""

    enveloped_connection_device: Enveloped[ConnectionDevice] | None = None
    enveloped_connection_service: Enveloped[ConnectionService] | None = None
    private_key: Tagged[Key] | None = None
    connect_uri: str | None = None
