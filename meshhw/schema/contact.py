"""Contacts of persons, organisations and groups (schema digest section 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from msgspec import field

from meshhw.schema.core import Enveloped, MeshObject, Tagged
from meshhw.schema.profile import Assertion

if TYPE_CHECKING:
    from meshhw.schema.capability import CryptographicCapability
    from meshhw.schema.profile import ProfileAccount


class Anchor(MeshObject):
    """A trust anchor: the profile, and how it was validated."""

    udf: str | None = None
    validation: str | None = None


class TaggedSource(MeshObject):
    """Where a contact came from, with the signed original."""

    local_name: str | None = None
    validation: str | None = None
    binary_source: bytes | None = None
    enveloped_source: Enveloped[Contact] | None = None


class NetworkProtocol(MeshObject):
    """A protocol spoken at an address."""

    protocol: str | None = None
    capabilities: tuple[Tagged[CryptographicCapability], ...] = ()


class NetworkAddress(MeshObject):
    """An address, its account profile and what may be done there."""

    inactive: bool | None = None
    address: str | None = None
    network_capability: tuple[str, ...] = ()
    enveloped_profile_account: Enveloped[ProfileAccount] | None = None
    protocols: tuple[NetworkProtocol, ...] = ()
    capabilities: tuple[Tagged[CryptographicCapability], ...] = ()


class Location(MeshObject):
    """A postal address or a place."""

    ALIASES: ClassVar[dict[str, str]] = {"Apartment": "Appartment"}

    apartment: str | None = field(default=None, name="Appartment")
    street: str | None = None
    district: str | None = None
    locality: str | None = None
    county: str | None = None
    postcode: str | None = None
    country: str | None = None
    latitude: float | None = None
    longitude: float | None = None


class Role(MeshObject):
    """A position in an organisation."""

    organization_name: str | None = None
    titles: tuple[str, ...] = ()
    locations: tuple[Location, ...] = ()


class Bookmark(MeshObject):
    """A link that a contact shows."""

    uri: str | None = None
    title: str | None = None
    role: tuple[str, ...] = ()


class Contact(Assertion):
    """What one party tells of itself or keeps of another."""

    id: str | None = None
    local: str | None = None
    anchors: tuple[Anchor, ...] = ()
    network_addresses: tuple[NetworkAddress, ...] = ()
    locations: tuple[Location, ...] = ()
    roles: tuple[Role, ...] = ()
    bookmark: tuple[Bookmark, ...] = ()
    sources: tuple[TaggedSource, ...] = ()


class ContactGroup(Contact):
    """A contact that is a group."""


class PersonName(MeshObject):
    """A person's name."""

    inactive: bool | None = None
    full_name: str | None = None
    prefix: str | None = None
    first: str | None = None
    middle: tuple[str, ...] = ()
    last: str | None = None
    suffix: str | None = None
    post_nominal: str | None = None


class ContactPerson(Contact):
    """A contact that is a person."""

    common_names: tuple[PersonName, ...] = ()


class OrganizationName(MeshObject):
    """An organisation's name."""

    inactive: bool | None = None
    registered_name: str | None = None
    dba: str | None = field(default=None, name="DBA")


class ContactOrganization(Contact):
    """A contact that is an organisation."""

    common_names: tuple[OrganizationName, ...] = ()
