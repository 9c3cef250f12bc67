"""Succession: an account that takes the place of another, because the earlier one's seed or root is in wrong
hands.

The successor's profile carries a statement that the root keys of both have signed. Whoever stole the earlier
root can make one too, so it convinces nobody by itself: a person says yes, and from then on another successor
of the same account is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from meshhw.algorithms import PublicKey
from meshhw.dare.envelope import Envelope
from meshhw.dare.signing import Signer
from meshhw.errors import FormatError, IntegrityError, SignatureInvalid
from meshhw.managers.account.administrators import profile_of
from meshhw.managers.account.directory import CATALOGED, AccountDirectory
from meshhw.managers.host import Host, ProfileRecord, now
from meshhw.schema.assertion import open_assertion, profile_udf, root_keys, roots_of, sign_assertion
from meshhw.schema.codec import decode
from meshhw.schema.keydata import key_data, public_key
from meshhw.schema.profile import ProfileUser
from meshhw.schema.succession import Succession
from meshhw.udf import fingerprint

KIND = "ProfileUser"
_MOST = 16


@dataclass(frozen=True, slots=True)
class Step:
    """One account that took the place of another, as both have signed it."""

    predecessor: str
    successor: str
    version: int
    """Of the predecessor's profile, which it follows."""
    updated: datetime | None

    def __str__(self) -> str:
        return f"{self.successor} succeeds {self.predecessor}"


def statement(
    old: ProfileUser, old_root: Signer, new_root: Signer, administrator: Signer | None = None
) -> Envelope:
    """What the roots of both accounts say, and the earlier account's administrator whom its devices know.

    Raises what their tokens raise, IntegrityError for another root than the earlier profile's.
    """
    roots = roots_of(old)
    if old_root.public not in roots:
        raise IntegrityError("this is not the root key of the account that shall be succeeded")
    said = Succession(
        updated=now(),
        account_address=old.account_address,
        predecessor_udf=profile_udf(old),
        predecessor_version=old.version or 0,
        predecessor_signature=key_data(roots[0]),
        predecessor_roots=() if old_root.public == roots[0] else old.further_roots,
        successor_udf=fingerprint(new_root.public),
        successor_signature=key_data(new_root.public),
    )
    signers = [old_root, new_root]
    if administrator is not None:
        signers.append(administrator)
    return sign_assertion(said, signers, said.successor_udf or "")


def steps(profile: ProfileUser) -> tuple[Step, ...]:
    """The accounts that a profile's account succeeds, the oldest first; every statement's two signatures are
    checked, and that each one follows the one before, down to this profile.

    Raises SignatureInvalid, FormatError, IntegrityError.
    """
    if len(profile.successions) > _MOST:
        raise FormatError(f"the profile succeeds more than {_MOST} accounts")
    found = tuple(_step(Envelope.from_array(item.array)) for item in profile.successions)
    following = [*(step.predecessor for step in found[1:]), profile_udf(profile)]
    if [step.successor for step in found] != (following if found else []):
        raise IntegrityError("the profile holds statements of succession that do not lead to it")
    return found


def is_vouched(profile: ProfileUser, administrators: Sequence[PublicKey]) -> bool:
    """Whether one of these, too, has signed the last statement of a profile that holds some. Raises as
    `steps`."""
    envelope = Envelope.from_array(profile.successions[-1].array)
    said = decode(envelope.body, Succession)
    new = public_key(said.successor_signature, "key")
    old = root_keys(said.predecessor_signature, said.predecessor_roots)
    try:
        open_assertion(envelope, Succession, [(root, new, key) for root in old for key in administrators])
    except SignatureInvalid:
        return False
    return True


def heirs(profile: ProfileUser) -> Mapping[str, str]:
    """By each account that this profile's account has succeeded, directly or not, who took its place."""
    return {step.predecessor: step.successor for step in steps(profile)}


def require_first(held: Iterable[ProfileUser], offered: ProfileUser) -> None:
    """Raise IntegrityError when one of these profiles says of an account that another one succeeded it than
    `offered` says: whoever stole its root key can sign that, so the first counts that a person has taken."""
    said = heirs(offered)
    for profile in held:
        for old, heir in heirs(profile).items():
            if said.get(old, heir) != heir:
                raise IntegrityError(
                    f"{old} was succeeded by {heir}, and this says that it was by {said[old]}",
                    hint="one of them is whoever stole its root key: ask the person by another way",
                )
            if profile_udf(offered) == old:
                raise IntegrityError(
                    f"{old} was succeeded by {heir}: what it signs now counts nothing",
                    hint="ask the person for the contact of the newer account",
                )


def is_meant(udf: str, address: str, name: str | None, gone: frozenset[str]) -> bool:
    """Whether `name` means this account; one that was succeeded is meant by its UDF alone."""
    return udf == name or (name in (None, address) and udf not in gone)


def made_on(host: Host, name: str | None) -> list[ProfileRecord]:
    """The accounts of that address or UDF that were made in this home, without those that were succeeded."""
    gone = succeeded_here(host)
    return [item for item in host.profiles(KIND) if is_meant(item.udf, item.label, name, gone)]


def account_record(host: Host, name: str | None) -> ProfileRecord:
    """The account of that address or UDF (or its beginning) that was made in this home.

    Raises KeyNotFound, Ambiguous.
    """
    meant = made_on(host, name)
    return meant[0] if len(meant) == 1 else host.profile(name, KIND)


def profiles_here(host: Host) -> list[ProfileUser]:
    """The profiles of all accounts that were made in this home, or that it belongs to."""
    made = [profile_of(record) for record in host.profiles(KIND)]
    paths = (host.home / "accounts").glob(f"*/{CATALOGED}")
    kept = (AccountDirectory.at(path.parent).profile() for path in sorted(paths))
    return made + [decode(envelope.body, ProfileUser) for envelope in kept if envelope is not None]


def succeeded_here(host: Host) -> frozenset[str]:
    """The accounts whose place another account of this home has taken."""
    joined = sum(1 for _ in (host.home / "accounts").glob(f"*/{CATALOGED}"))
    if joined + len(host.profiles(KIND)) < 2:
        return frozenset()
    return frozenset(old for profile in profiles_here(host) for old in heirs(profile))


def _step(envelope: Envelope) -> Step:
    said = decode(envelope.body, Succession)
    roots = root_keys(said.predecessor_signature, said.predecessor_roots)
    old = roots[0]
    new = public_key(said.successor_signature, "SuccessorSignature")
    if (said.predecessor_udf, said.successor_udf) != (fingerprint(old), fingerprint(new)) or old == new:
        raise IntegrityError("the statement of succession names other accounts than its keys do")
    open_assertion(envelope, Succession, [(root, new) for root in roots])
    return Step(fingerprint(old), fingerprint(new), said.predecessor_version or 0, said.updated)
