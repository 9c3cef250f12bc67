"""Capabilities: what a service does for an account, a device or a member (schema digest section 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshhw.schema.core import Enveloped, MeshObject

if TYPE_CHECKING:
    from meshhw.schema.entry import CatalogedDevice
    from meshhw.schema.key import KeyData


class Capability(MeshObject):
    """Something that a service does for somebody."""

    id: str | None = None
    active: bool | None = None
    issued: int | None = None
    mode: str | None = None
    udf: str | None = None
    witness: str | None = None


class NullCapability(Capability):
    """A capability that was taken away."""


class AccessCapability(Capability):
    """A device's right to use the service."""

    rights: tuple[str, ...] = ()
    enveloped_cataloged_device: Enveloped[CatalogedDevice] | None = None
    cataloged_device_digest: str | None = None


class PublicationCapability(Capability):
    """A published document."""

    identifier: str | None = None
    digest: str | None = None
    data: bytes | None = None


class CryptographicCapability(Capability):
    """A private-key operation that a service does with its share."""

    key_data: KeyData | None = None
    grantee_account: str | None = None
    grantee_udf: str | None = None
    enveloped_key_share: Enveloped[KeyData] | None = None


class CapabilityDecrypt(CryptographicCapability):
    """Decryption."""


class CapabilityDecryptPartial(CapabilityDecrypt):
    """Decryption, the member's side."""


class CapabilityDecryptServiced(CapabilityDecrypt):
    """Decryption, the service's side."""

    authentication_id: str | None = None


class CapabilitySign(CryptographicCapability):
    """Signature."""


class CapabilityKeyGenerate(CryptographicCapability):
    """Key generation."""


class CapabilityFairExchange(CryptographicCapability):
    """Fair exchange."""
