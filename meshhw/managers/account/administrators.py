"""The administrators of an account: their keys in the profile (rule R5), and signing the profile anew.

Every administrator has a key of its own in a token of its own. What one of them signs counts while its key is
listed; the list is changed only by the root key, and each change raises the profile's version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from meshhw.algorithms import PublicKey
from meshhw.dare.envelope import Envelope
from meshhw.errors import KeyNotFound, NotSupported, UsageError
from meshhw.keystore.uri import TokenURI
from meshhw.managers.account.floor import require_floor
from meshhw.managers.host import ProfileRecord, now
from meshhw.schema.assertion import open_profile, sign_assertion
from meshhw.schema.key import KeyData
from meshhw.schema.keydata import key_data, public_key
from meshhw.schema.profile import ProfileUser
from meshhw.udf import fingerprint, same_name

if TYPE_CHECKING:
    from meshhw.managers.account.authority import Authority


def profile_of(record: ProfileRecord) -> ProfileUser:
    """The account's signed profile. Raises SignatureInvalid, FormatError."""
    return open_profile(Envelope.parse(record.envelope), ProfileUser).value


def administrators(profile: ProfileUser) -> list[PublicKey]:
    """The keys that may sign connections. Raises FormatError, IntegrityError."""
    return [public_key(data, "AdministratorSignature") for data in listed(profile)]


def listed(profile: ProfileUser) -> tuple[KeyData, ...]:
    """The administrators' keys as the profile has them."""
    single = (profile.administrator_signature,) if profile.administrator_signature else ()
    return profile.administrator_signatures or single


def add_administrator(
    authority: Authority, public: PublicKey, root_on: TokenURI | None = None
) -> ProfileUser:
    """List one more administrator, signed by the root. One that is listed already changes nothing.

    Raises NotSupported for a key that signs nothing, TokenNotFound when the root's token is away.
    """
    added = with_administrator(authority.profile, public)
    return authority.profile if added == authority.profile else signed_anew(authority, added, root_on)


def with_administrator(profile: ProfileUser, public: PublicKey) -> ProfileUser:
    """The profile with that key on the list. Raises NotSupported for a key that signs nothing, SuiteRefused
    for one that is weaker than the account takes."""
    if not public.algorithm.signs:
        raise NotSupported(f"a key of {public.algorithm} cannot sign, so it cannot administer")
    if public in administrators(profile):
        return profile
    require_floor(profile.connection_policy, {"AdministratorSignature": public})
    return replace(profile, administrator_signatures=(*listed(profile), key_data(public)))


def signed_anew(authority: Authority, profile: ProfileUser, root_on: TokenURI | None = None) -> ProfileUser:
    """The profile under its next version, signed by the root and kept. Raises what the token raises."""
    authority.take_profile(signed_by_root(authority, profile, root_on))
    return authority.profile


def signed_by_root(authority: Authority, profile: ProfileUser, root_on: TokenURI | None = None) -> Envelope:
    """The profile under its next version, signed by the root. Raises what the token raises."""
    raised = replace(profile, updated=now(), version=(profile.version or 0) + 1)
    with authority.root(root_on) as root:
        envelope = sign_assertion(raised, root, authority.udf)
    open_profile(envelope, ProfileUser)
    return envelope


def without(profile: ProfileUser, udf: str) -> tuple[ProfileUser, KeyData]:
    """The profile with that administrator taken off the list, and the key that was.

    Raises KeyNotFound for one that is not listed, UsageError for the last one.
    """
    gone = [data for data in listed(profile) if same_name(udf, fingerprint(public_key(data, "key")))]
    if not gone:
        raise KeyNotFound(
            f"{udf} is no administrator of this account", hint="`meshhw account admin list` shows them"
        )
    left = tuple(data for data in listed(profile) if data not in gone)
    if not left:
        raise UsageError("the last administrator cannot be removed", hint="add another one first")
    return replace(profile, administrator_signature=left[0], administrator_signatures=left), gone[0]
