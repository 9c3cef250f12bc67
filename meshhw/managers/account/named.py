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
from meshhw.managers.account.membership import (
    account_encryption,
    membership,
    memberships,
    private_key,
)
from meshhw.managers.host import Host
from meshhw.schema.keydata import public_key


def recipient(name: str, home: Path) -> RecipientKey:
    """The account's encryption key, which every device of the role holds. Raises KeyNotFound."""
    return RecipientKey(account_encryption(membership(Host(home), name)))


def keys(kid: str, home: Path, options: OpenOptions) -> Iterator[HasPublic]:
    """The account's key, if this device was granted it, and this device's own connected key."""
    for found in memberships(Host(home)):
        if is_named(account_encryption(found), kid):
            yield private_key(found.common(options).encryption, "encryption")
        if is_named(public_key(found.connection.encryption, "Encryption"), kid):
            with found.encryption(options) as key:
                yield key


def signer(name: str, home: Path, options: OpenOptions) -> Signer:
    """The account's signature key, if this device was granted it. Raises KeyNotFound."""
    found = membership(Host(home), name)
    granted = found.common(options).signature
    if granted is None:
        raise KeyNotFound(
            f"this device was not granted the signature key of {name}", hint="sign with the device's own key"
        )
    return private_key(granted, "signature")
