"""Activations: the private contributions and keys a device receives, encrypted (schema digest section 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshhw.schema.core import Enveloped, MeshObject
from meshhw.schema.profile import Assertion

if TYPE_CHECKING:
    from meshhw.schema.connection import ConnectionService
    from meshhw.schema.key import KeyData


class ActivationEntry(MeshObject):
    """The key of one store."""

    resource: str | None = None
    key: KeyData | None = None
    service_id: str | None = None
    service_address: str | None = None
    epoch: int | None = None
    """Extension: which of the store's keys; absent or 0: the first. What is written goes to the highest."""


class Activation(Assertion):
    """Private contributions to the keys of a device; only ever inside an encrypted envelope."""

    activation_key: str | None = None
    entries: tuple[ActivationEntry, ...] = ()


class ActivationAccount(Activation):
    """The seed that is added to the base keys of a device inside an account."""

    account_udf: str | None = None


class ActivationHost(ActivationAccount):
    """The same for a host inside a service."""


class ActivationCommon(Activation):
    """The private keys of the account that a role grants."""

    profile_signature: KeyData | None = None
    administrator_signature: KeyData | None = None
    encryption: KeyData | None = None
    authentication: KeyData | None = None
    signature: KeyData | None = None
    previous_encryptions: tuple[KeyData, ...] = ()
    """Extension: encryption keys that the profile named earlier, for letters of that time."""


class StoreEpochs(Assertion):
    """Extension: new keys of stores, and of the account where those were changed too (docs/formats.md). It
    stands in every store that it is about."""

    account_udf: str | None = None
    epoch: int | None = None
    entries: tuple[ActivationEntry, ...] = ()
    """The stores' public keys."""
    enveloped_escrow: Enveloped[ActivationCommon] | None = None
    """All the private keys, for the account's EscrowEncryption: who recovers the account finds them here."""
    removed: tuple[str, ...] = ()
    """The fingerprints of signature keys of devices that left: what they write from now on counts nothing."""


class ActivationApplication(Activation):
    """The private keys of one application."""


class ActivationApplicationSsh(ActivationApplication):
    """An SSH client's key."""

    client_key: KeyData | None = None


class ActivationApplicationMail(ActivationApplication):
    """S/MIME and OpenPGP keys."""

    smime_sign: KeyData | None = None
    smime_encrypt: KeyData | None = None
    openpgp_sign: KeyData | None = None
    openpgp_encrypt: KeyData | None = None


class ActivationApplicationGroup(ActivationApplication):
    """A group's keys."""

    account_encryption: KeyData | None = None
    administrator_signature: KeyData | None = None
    account_authentication: KeyData | None = None
    enveloped_connection_service: Enveloped[ConnectionService] | None = None


class ActivationApplicationCallsign(ActivationApplication):
    """Nothing beyond the base yet."""


class ApplicationEntry(MeshObject):
    """An activation of an application, as the device catalog carries it."""

    identifier: str | None = None


class ApplicationEntrySsh(ApplicationEntry):
    """For SSH."""

    enveloped_activation: Enveloped[ActivationApplicationSsh] | None = None


class ApplicationEntryGroup(ApplicationEntry):
    """For a group."""

    enveloped_activation: Enveloped[ActivationApplicationGroup] | None = None


class ApplicationEntryMail(ApplicationEntry):
    """For mail."""

    enveloped_activation: Enveloped[ActivationApplicationMail] | None = None


class ApplicationEntryCallsign(ApplicationEntry):
    """For a callsign."""

    enveloped_activation: Enveloped[ActivationApplicationCallsign] | None = None
