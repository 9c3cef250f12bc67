"""Profiles: the self-signed roots of devices, accounts, groups and services (schema digest section 4)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from meshhw.schema.core import Enveloped, MeshObject, Tagged

if TYPE_CHECKING:
    from meshhw.schema.key import KeyData
    from meshhw.schema.roots import FurtherRoot
    from meshhw.schema.succession import Succession


class Condition(MeshObject):
    """A condition on an assertion; none is defined, so one that is present is not understood."""


class Assertion(MeshObject):
    """Anything that is signed."""

    names: tuple[str, ...] = ()
    updated: datetime | None = None
    notary_token: str | None = None
    conditions: Tagged[Condition] | None = None


class ConnectionPolicy(MeshObject):
    """Extension: what an administrator demands of a device's keys before the device is granted anything."""

    attested: bool | None = None
    """Whether every key must be attested as made inside a token, up to one of the roots."""
    roots: tuple[bytes, ...] = ()
    """Whose attestations count: certificates in DER."""
    touch: str | None = None
    """How seldom the signature key may be used without a touch: `cached` or `always`."""
    pin: str | None = None
    """How often a PIN must be asked: `once` or `always`."""
    roles: tuple[str, ...] = ()
    """For which roles this is demanded; none means for all."""
    suite: str | None = None
    """The weakest suite whose keys are taken, for every role; absent: any."""


class Profile(Assertion):
    """A self-signed description of a Mesh party; valid when signed by its ProfileSignature key."""

    ALIASES: ClassVar[dict[str, str]] = {"KeyOfflineSignature": "ProfileSignature"}

    description: str | None = None
    profile_signature: KeyData | None = None
    suite: str | None = None
    """Extension R1: `448`, `25519` or `P256`; absent: 448."""
    version: int | None = None
    """Extension: counts the signed versions of one profile; a reader takes none lower than it has seen."""


class ProfileDevice(Profile):
    """A device and its base keys; made once and never changed."""

    ALIASES: ClassVar[dict[str, str]] = {
        "KeyEncryption": "Encryption",
        "KeyAuthentication": "Authentication",
        "BaseEncryption": "Encryption",
        "BaseSignature": "Signature",
        "BaseAuthentication": "Authentication",
    }

    encryption: KeyData | None = None
    signature: KeyData | None = None
    authentication: KeyData | None = None


class AdministratorRemoved(MeshObject):
    """Extension: an administrator that was taken off the list, and the head of the device catalog then. What
    it has signed counts where a proof shows it under that head."""

    administrator_signature: KeyData | None = None
    sequence_id: bytes | None = None
    index: int | None = None
    tree_digest: bytes | None = None


class ProfileAccount(Profile):
    """What the profiles of persons and groups share."""

    ALIASES: ClassVar[dict[str, str]] = {
        "KeysOnlineSignature": "AdministratorSignatures",
        "KeyEncryption": "CommonEncryption",
        "KeyAuthentication": "CommonAuthentication",
        "AccountEncryption": "CommonEncryption",
        "AccountAuthentication": "CommonAuthentication",
    }

    account_address: str | None = None
    service_udf: str | None = None
    escrow_encryption: KeyData | None = None
    administrator_signature: KeyData | None = None
    common_encryption: KeyData | None = None
    common_authentication: KeyData | None = None
    administrator_signatures: tuple[KeyData, ...] = ()
    """Extension R5: every administrator's own key; the first is repeated in AdministratorSignature."""
    connection_policy: ConnectionPolicy | None = None
    """Extension: what devices must prove to be connected."""
    previous_encryptions: tuple[KeyData, ...] = ()
    """Extension: keys that were CommonEncryption earlier; letters to them are still read."""
    removed_administrators: tuple[AdministratorRemoved, ...] = ()
    """Extension: who may administer no more, and up to where in the device catalog their signatures count."""
    further_roots: tuple[Enveloped[FurtherRoot], ...] = ()
    """Extension: keys that sign the profile as ProfileSignature does, each named by an earlier root."""


class ProfileUser(ProfileAccount):
    """A person's account."""

    ALIASES: ClassVar[dict[str, str]] = {"AccountSignature": "CommonSignature"}

    common_signature: KeyData | None = None
    successions: tuple[Enveloped[Succession], ...] = ()
    """Extension: which accounts this one succeeds, the oldest first, each as both roots have signed it."""


class ProfileGroup(ProfileAccount):
    """An encryption group, an account of its own."""


class ProfileService(Profile):
    """An abstract Mesh service."""

    service_authentication: KeyData | None = None
    service_encryption: KeyData | None = None
    service_signature: KeyData | None = None


class ProfileHost(ProfileDevice):
    """A device that serves."""
