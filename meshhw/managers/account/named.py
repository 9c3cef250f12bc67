"""An account that a device of this home belongs to, as a recipient, as a signer, and among the keys that open
envelopes (`meshhw.managers.named`); `account:ADDRESS` names it where its address alone would be unclear.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from meshhw.dare.exchange import HasPublic, RecipientKey
from meshhw.dare.naming import is_named
from meshhw.dare.signing import Signer
from meshhw.errors import KeyNotFound
from meshhw.keystore.api import OpenOptions
from meshhw.managers.account.granted import private_key
from meshhw.managers.account.membership import Membership, account_encryption, membership, memberships
from meshhw.managers.host import Host
from meshhw.schema.keydata import public_key


def recipient(name: str, home: Path) -> RecipientKey:
    """The account's encryption key, which every device of the role holds. Raises KeyNotFound."""
    return RecipientKey(account_encryption(membership(Host(home), name)))


def keys(kid: str, home: Path, options: OpenOptions) -> Iterator[HasPublic]:
    """The account's key, if this device was granted it, and this device's own connected key."""
    for found in memberships(Host(home)):
        if _opens(found, kid):
            common = found.common(options)
            held = [private_key(data, "encryption") for data in common.previous_encryptions]
            yield from (key for key in held if is_named(key.public, kid))
            if is_named(account_encryption(found), kid):
                yield private_key(common.encryption, "encryption")
        if is_named(public_key(found.connection.encryption, "Encryption"), kid):
            with found.encryption(options) as key:
                yield key


def _opens(found: Membership, kid: str) -> bool:
    """Whether a recipient's name is of a key that the account has or had."""
    earlier = (public_key(data, "PreviousEncryptions") for data in found.profile.previous_encryptions)
    return any(is_named(key, kid) for key in (account_encryption(found), *earlier))


def signer(name: str, home: Path, options: OpenOptions) -> Signer:
    """The account's signature key, if this device was granted it. Raises KeyNotFound."""
    found = membership(Host(home), name)
    granted = found.common(options).signature
    if granted is None:
        raise KeyNotFound(
            f"this device was not granted the signature key of {name}", hint="sign with the device's own key"
        )
    return private_key(granted, "signature")
