"""The administrators of an account: their keys in the profile (rule R5), and signing the profile anew.

Every administrator has a key of its own in a token of its own. What one of them signs counts while its key is
listed; the list is changed only by the root key, and each change raises the profile's version.
"""

from __future__ import annotations

from msgspec.structs import replace

from meshhw.algorithms import PublicKey
from meshhw.dare.envelope import Envelope
from meshhw.errors import KeyNotFound, NotSupported, UsageError
from meshhw.keystore.api import OpenOptions, Signs
from meshhw.managers.account.directory import AccountDirectory
from meshhw.managers.host import Host, ProfileRecord, now
from meshhw.managers.keys import opened
from meshhw.managers.profilemaking import ROOT
from meshhw.schema.assertion import open_profile, sign_assertion
from meshhw.schema.key import KeyData
from meshhw.schema.keydata import key_data, public_key
from meshhw.schema.profile import ProfileUser
from meshhw.udf import fingerprint, same_name


def profile_of(record: ProfileRecord) -> ProfileUser:
    """The account's signed profile. Raises SignatureInvalid, FormatError."""
    return open_profile(Envelope.parse(record.envelope), ProfileUser).value


def administrators(profile: ProfileUser) -> list[PublicKey]:
    """The keys that may sign connections. Raises FormatError, IntegrityError."""
    single = [profile.administrator_signature] if profile.administrator_signature else []
    listed = profile.administrator_signatures or single
    return [public_key(data, "AdministratorSignature") for data in listed]


def add_administrator(
    host: Host, record: ProfileRecord, public: PublicKey, options: OpenOptions
) -> ProfileRecord:
    """List one more administrator, signed by the root. One that is listed already changes nothing.

    Raises NotSupported for a key that signs nothing, TokenNotFound when the root's token is away.
    """
    if not public.algorithm.signs:
        raise NotSupported(f"a key of {public.algorithm} cannot sign, so it cannot administer")
    profile = profile_of(record)
    if public in administrators(profile):
        return record
    listed = (*_listed(profile), key_data(public))
    return signed_anew(host, record, replace(profile, administrator_signatures=listed), options)


def remove_administrator(host: Host, record: ProfileRecord, udf: str, options: OpenOptions) -> ProfileRecord:
    """Take an administrator off the list, signed by the root.

    Raises KeyNotFound for one that is not listed, UsageError for the last one.
    """
    profile = profile_of(record)
    left = tuple(
        data for data in _listed(profile) if not same_name(udf, fingerprint(public_key(data, "key")))
    )
    if len(left) == len(_listed(profile)):
        raise KeyNotFound(
            f"{udf} is no administrator of this account", hint="`meshhw account admin list` shows them"
        )
    if not left:
        raise UsageError("the last administrator cannot be removed", hint="add another one first")
    changed = replace(profile, administrator_signature=left[0], administrator_signatures=left)
    return signed_anew(host, record, changed, options)


def _listed(profile: ProfileUser) -> tuple[KeyData, ...]:
    single = (profile.administrator_signature,) if profile.administrator_signature else ()
    return profile.administrator_signatures or single


def signed_anew(
    host: Host, record: ProfileRecord, profile: ProfileUser, options: OpenOptions
) -> ProfileRecord:
    """The changed profile under the next version, signed by the root and kept. Raises as the token does."""
    raised = replace(profile, updated=now(), version=(profile.version or 0) + 1)
    with opened(record.key(ROOT).uri, host.home, options) as root:
        if not isinstance(root.key, Signs):
            raise NotSupported("the root key does not sign")
        envelope = sign_assertion(raised, root.key, record.udf)
    open_profile(envelope, ProfileUser)
    changed = replace(record, envelope=envelope.octets())
    AccountDirectory(host.home, record.udf).write_profile(changed.envelope)
    host.add(changed)
    return changed
