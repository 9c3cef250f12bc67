"""Contacts that vouch for themselves: one's own, signed by the account, and those that others hand over.

A contact carries the account's profile, which signs itself; the profile's CommonSignature key signs the
contact. Whether the account is whom it says is for the person to find out, by the profile's UDF.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from meshhw.dare.envelope import Envelope
from meshhw.dare.signing import Signer
from meshhw.errors import FormatError, IntegrityError, NotSupported
from meshhw.keystore.api import OpenOptions, Signs
from meshhw.managers.account.granted import private_key
from meshhw.managers.account.profiles import require_newer
from meshhw.managers.account.stamp import is_copy
from meshhw.managers.account.standing import standing
from meshhw.managers.account.stores import Store
from meshhw.managers.account.succession import Step, require_first, steps
from meshhw.managers.host import Host, now
from meshhw.managers.keys import opened
from meshhw.schema.assertion import open_assertion, open_profile, profile_udf, sign_assertion
from meshhw.schema.codec import decode
from meshhw.schema.contact import Anchor, ContactPerson, NetworkAddress, PersonName, TaggedSource
from meshhw.schema.core import Enveloped
from meshhw.schema.entry import CatalogedContact
from meshhw.schema.keydata import public_key
from meshhw.schema.profile import ProfileUser

SELF = "self"


@dataclass(frozen=True, slots=True)
class ReadContact:
    """A contact that was handed over: what its account has signed, and which account that is."""

    contact: ContactPerson
    envelope: Envelope
    udf: str
    address: str
    profile: ProfileUser


def own_contact(profile: Envelope, full_name: str) -> ContactPerson:
    """The contact of this account, with its profile. Raises SignatureInvalid, FormatError."""
    found = open_profile(profile, ProfileUser).value
    address = found.account_address or ""
    return ContactPerson(
        updated=now(),
        common_names=(PersonName(full_name=full_name or address),),
        anchors=(Anchor(udf=profile_udf(found), validation="self"),),
        network_addresses=(
            NetworkAddress(
                address=address,
                enveloped_profile_account=Enveloped(profile.array()),
            ),
        ),
    )


def account_profile(host: Host, account: str | None) -> Envelope:
    """The signed profile of the account on this machine. Raises KeyNotFound."""
    return standing(host, account).profile_envelope


def exported(host: Host, full_name: str, account: str | None, options: OpenOptions) -> Envelope:
    """This account's contact, signed by its CommonSignature key.

    Raises KeyNotFound when that key was not granted, and what the token raises.
    """
    contact = own_contact(account_profile(host, account), full_name)
    with _account_signer(host, account, options) as signer:
        return sign_assertion(contact, signer, contact.anchors[0].udf or "")


def read_contact(octets: bytes) -> ReadContact:
    """A contact that somebody handed over, signed by the account that it names.

    Raises FormatError, SignatureInvalid, IntegrityError.
    """
    envelope = Envelope.parse(octets)
    claimed = decode(envelope.body, ContactPerson)
    for address in claimed.network_addresses:
        if address.enveloped_profile_account is not None:
            profile = open_profile(Envelope.from_array(address.enveloped_profile_account.array), ProfileUser)
            key = public_key(profile.value.common_signature, "CommonSignature")
            contact = open_assertion(envelope, ContactPerson, [key]).value
            if profile.value.account_address != address.address:
                raise IntegrityError("the contact's address is not the one of the profile in it")
            steps(profile.value)
            return ReadContact(
                contact, envelope, profile_udf(profile.value), address.address or "", profile.value
            )
    raise FormatError("the contact holds no account's profile, so nothing vouches for it")


def succeeded_contact(store: Store, found: ReadContact) -> tuple[str, Step] | None:
    """The name of the contact whose account this one says that it succeeds, and that statement; None without
    any. A person decides whether it replaces that one.

    Raises IntegrityError when an account that is known here was succeeded by another, or this one was.
    """
    before = None
    for key, entry in store.all(CatalogedContact):
        held = _profile_in(entry)
        if held is not None and not is_copy(key):
            require_first([held], found.profile)
            said = {step.predecessor: step for step in steps(found.profile)}
            if profile_udf(held) in said:
                before = (key, said[profile_udf(held)])
    return before


def keep_contact(store: Store, found: ReadContact, name: str, *, succeeds: str | None = None) -> None:
    """Keep a contact that was read, under this name, in place of an earlier one of the same account, or of
    the one of the name `succeeds`, which a person says that it replaces.

    Raises IntegrityError when another account's contact has the name, when this one is older than what is
    held of the account, or as `succeeded_contact`.
    """
    before = succeeded_contact(store, found)
    if before is not None and before[0] != succeeds:
        raise IntegrityError(
            f"it says of {before[0]} that {before[1]}, and nobody has confirmed it",
            hint="ask them by another way, then import it and say yes",
        )
    for key, entry in list(store.all(CatalogedContact)):
        held = _profile_in(entry)
        if held is not None and profile_udf(held) == found.udf:
            require_newer(held, found.profile)
        elif key == succeeds and before is not None:
            if key != name:
                store.delete(key)
        elif key == name and held is not None:
            raise IntegrityError(
                f"{name} is the contact of another account, {profile_udf(held)}",
                hint="find out whose is right; then delete that one, or keep this one under another --name",
            )
    store.put(name, entry_of(found, name))


def _profile_in(entry: CatalogedContact) -> ProfileUser | None:
    """The account profile of a contact that is kept; it was verified when it was taken."""
    for address in entry.contact.network_addresses if entry.contact else ():
        if address.enveloped_profile_account is not None:
            body = Envelope.from_array(address.enveloped_profile_account.array).body
            return decode(body, ProfileUser)
    return None


def entry_of(found: ReadContact, name: str) -> CatalogedContact:
    """The entry under which a contact is kept, with the signed original."""
    source = TaggedSource(
        local_name=name, validation="signed", enveloped_source=Enveloped(found.envelope.array())
    )
    kept = ContactPerson(
        local=name,
        common_names=found.contact.common_names,
        anchors=found.contact.anchors,
        network_addresses=found.contact.network_addresses,
        sources=(source,),
    )
    return CatalogedContact(key=name, local_name=name, contact=kept)


@contextmanager
def _account_signer(host: Host, account: str | None, options: OpenOptions) -> Iterator[Signer]:
    found = standing(host, account)
    handle = found.record.key("signature") if found.record else None
    if handle is None or handle.public_key != public_key(found.profile.common_signature, "CommonSignature"):
        yield private_key(found.keys(options).signature, "signature", options.recorder)
        return
    with opened(handle.uri, host.home, options) as key:
        if not isinstance(key.key, Signs):
            raise NotSupported("the account's signature key does not sign")
        yield key.key
