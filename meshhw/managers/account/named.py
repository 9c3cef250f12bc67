"""The accounts of this home as recipients, as signers, and among the keys that open envelopes
(`meshhw.managers.named`); `account:ADDRESS` names one where its address alone would be unclear.
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
from meshhw.managers.account.membership import memberships
from meshhw.managers.account.standing import KIND, Standing, standing
from meshhw.managers.host import Host
from meshhw.schema.keydata import public_key


def recipient(name: str, home: Path) -> RecipientKey:
    """The account's encryption key, which every device of the role holds. Raises KeyNotFound."""
    profile = standing(Host(home), name).profile
    return RecipientKey(public_key(profile.common_encryption, "CommonEncryption"))


def keys(kid: str, home: Path, options: OpenOptions) -> Iterator[HasPublic]:
    """The account's key, today's or an earlier one, if this device was granted it, and this device's own
    connected key."""
    host = Host(home)
    made_here = [Standing(host, record, None) for record in host.profiles(KIND)]
    for found in [*made_here, *(Standing(host, None, item) for item in memberships(host))]:
        if _opens(found, kid):
            common = found.keys(options)
            held = (common.encryption, *common.previous_encryptions)
            ring = [private_key(data, "encryption", options.recorder) for data in held if data is not None]
            yield from (key for key in ring if is_named(key.public, kid))
        member = found.member
        if member is not None and is_named(public_key(member.connection.encryption, "Encryption"), kid):
            with member.encryption(options) as key:
                yield key


def _opens(found: Standing, kid: str) -> bool:
    """Whether a recipient's name is of a key that the account has or had, and that is in no token here."""
    profile = found.profile
    in_tokens = {handle.udf for handle in found.record.keys} if found.record else set()
    ours = (data for data in (profile.common_encryption, *profile.previous_encryptions) if data)
    return any(is_named(public_key(data, "key"), kid) for data in ours if data.udf not in in_tokens)


def signer(name: str, home: Path, options: OpenOptions) -> Signer:
    """The account's signature key, if this device was granted it. Raises KeyNotFound."""
    granted = standing(Host(home), name).keys(options).signature
    if granted is None:
        raise KeyNotFound(
            f"this device was not granted the signature key of {name}", hint="sign with the device's own key"
        )
    return private_key(granted, "signature", options.recorder)
