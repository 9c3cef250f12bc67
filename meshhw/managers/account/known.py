"""What the catalogs of an account tell of a device, a contact or a group: its names and its public keys."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import StrEnum

from meshhw.algorithms import PublicKey
from meshhw.dare.envelope import Envelope
from meshhw.errors import InvalidName
from meshhw.schema.assertion import open_profile, profile_udf
from meshhw.schema.connection import ConnectionDevice
from meshhw.schema.entry import CatalogedApplicationDevice, CatalogedContact, CatalogedGroup
from meshhw.schema.key import KeyData
from meshhw.schema.keydata import public_key, signature_keys
from meshhw.schema.profile import ProfileAccount, ProfileUser

_LONGEST = 64
_SHORTEST_UDF = 6
_TAKEN_SIGNS = ":/\\"


class Sort(StrEnum):
    """What has a name."""

    DEVICE = "device"
    CONTACT = "contact"
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class Known:
    """A device, contact or group of the account."""

    sort: Sort
    name: str
    key: str
    """The entry's key in its catalog."""
    udf: str = ""
    addresses: tuple[str, ...] = ()
    encryption: PublicKey | None = None
    signatures: tuple[PublicKey, ...] = ()
    """The keys that it signs with, all of them together."""

    def __str__(self) -> str:
        return " ".join(filter(None, [self.sort, self.name, *self.addresses, self.udf]))

    def is_called(self, name: str) -> bool:
        """Whether that is its name, in any case of letters."""
        return folded(self.name) == folded(name)

    def fits(self, name: str) -> bool:
        """Whether that is an address of it, or its UDF or the UDF's beginning."""
        plain, udf = name.replace("-", "").upper(), self.udf.replace("-", "")
        return name.lower() in self.addresses or (len(plain) >= _SHORTEST_UDF and udf.startswith(plain))

    def is_same(self, other: Known) -> bool:
        """Whether both are of one entry."""
        return (self.sort, self.key) == (other.sort, other.key)


def device(udf: str, name: str | None, keys: ConnectionDevice | CatalogedApplicationDevice) -> Known:
    """A device under its DeviceUdf. Raises FormatError, IntegrityError for keys that do not fit."""
    return Known(
        Sort.DEVICE,
        name or "",
        udf,
        udf,
        encryption=_key(keys.encryption),
        signatures=_signing(keys.signature),
    )


def contact(key: str, entry: CatalogedContact) -> Known:
    """A contact; its keys are those of the first account profile that it holds, which signs itself.

    Raises SignatureInvalid, FormatError for one that does not.
    """
    addresses = entry.contact.network_addresses if entry.contact else ()
    known = tuple(item.address.lower() for item in addresses if item.address)
    name = entry.local_name or key
    for address in addresses:
        if address.enveloped_profile_account is not None:
            profile = open_profile(
                Envelope.from_array(address.enveloped_profile_account.array), ProfileAccount
            ).value
            return _of_profile(Known(Sort.CONTACT, name, key, profile_udf(profile), known), profile)
    anchors = entry.contact.anchors if entry.contact else ()
    return Known(Sort.CONTACT, name, key, next((item.udf for item in anchors if item.udf), ""), known)


def group(key: str, entry: CatalogedGroup) -> Known:
    """A group under its address. Raises SignatureInvalid, FormatError."""
    known = Known(Sort.GROUP, entry.local_name or key, key, addresses=(key.lower(),))
    if entry.enveloped_profile_group is None:
        return known
    profile = open_profile(Envelope.from_array(entry.enveloped_profile_group.array), ProfileAccount).value
    return _of_profile(known, profile)


def folded(name: str) -> str:
    """A name as it is compared."""
    return unicodedata.normalize("NFC", name).casefold()


def checked(name: str) -> str:
    """A name in its one spelling. Raises InvalidName for what could be mistaken for something else."""
    wanted = unicodedata.normalize("NFC", name).strip()
    bad = any(unicodedata.category(letter).startswith("C") or letter in _TAKEN_SIGNS for letter in wanted)
    if not wanted or len(wanted) > _LONGEST or bad or wanted.startswith("-"):
        raise InvalidName(
            f"{name[:_LONGEST]!r} cannot be a name",
            hint=f"1 to {_LONGEST} letters, digits, spaces and signs other than : / \\",
        )
    return wanted


def _of_profile(known: Known, profile: ProfileAccount) -> Known:
    signature = (
        profile.common_signature if isinstance(profile, ProfileUser) else profile.administrator_signature
    )
    return Known(
        known.sort,
        known.name,
        known.key,
        profile_udf(profile),
        known.addresses,
        _key(profile.common_encryption),
        _signing(signature),
    )


def _key(data: KeyData | None) -> PublicKey | None:
    return None if data is None else public_key(data)


def _signing(data: KeyData | None) -> tuple[PublicKey, ...]:
    return () if data is None else signature_keys(data)
