"""Signed Mesh objects: assertions in envelopes, and profiles, which sign themselves (schema digest 1, 4).

Keys of the suites 448 and 25519 sign as was published (the body's digest), so that every reader can check;
P-256 keys sign the secure form, which covers the header, too. What an object is says its body's own class
tag, compared with the class that is expected; the header's MessageType may only agree with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

from meshhw.algorithms import Family, PublicKey
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import KeyFinder, KeyRing, RecipientKey
from meshhw.dare.findings import Finding
from meshhw.dare.header import ContentMeta
from meshhw.dare.prepare import Outline
from meshhw.dare.read import Opened, open_envelope
from meshhw.dare.signing import Signer
from meshhw.dare.write import seal
from meshhw.errors import FormatError, IntegrityError, SignatureInvalid
from meshhw.schema.codec import decode, encode, encode_binary
from meshhw.schema.core import Enveloped, MeshObject
from meshhw.schema.key import KeyData
from meshhw.schema.keydata import public_key
from meshhw.schema.profile import Profile, ProfileAccount
from meshhw.schema.roots import FurtherRoot
from meshhw.udf import fingerprint

CONTENT_TYPE = "application/mmm/object"
MAX_FURTHER_ROOTS = 4
T = TypeVar("T", bound=MeshObject)
P = TypeVar("P", bound=Profile)


@dataclass(frozen=True, slots=True)
class Verified(Generic[T]):
    """An object whose signature was checked: who signed it, and what was tolerated."""

    value: T
    signer: PublicKey
    findings: tuple[Finding, ...] = ()


Signatories = PublicKey | tuple[PublicKey, ...]
"""One key that may sign, or several that must all have signed."""


def sign_assertion(
    value: MeshObject, signer: Signer | Sequence[Signer], name: str, *, binary: bool = False
) -> Envelope:
    """The envelope of an object in clear, signed by one key or by all of several, and verified before it is
    returned.

    `name` becomes EnvelopeId and UniqueId; `binary` writes the body in JSON-B, as assertions for devices are.
    Raises SignatureInvalid, NotSupported and what the keys raise.
    """
    signers = list(signer) if isinstance(signer, Sequence) else [signer]
    published = len(signers) == 1 and signers[0].public.algorithm.family is Family.EDWARDS
    outline = Outline(signers=signers, content=_content(value, name), envelope_id=name, compat=published)
    return seal(encode_binary(value) if binary else encode(value), outline)


def enclose(value: MeshObject, signer: Signer | Sequence[Signer], reader: PublicKey, name: str) -> Envelope:
    """The envelope of an object for one reader alone: encrypted in the secure form, and signed by one key, by
    all of several, or by none where something else tells whose it is.

    Raises InvalidPublicKey for a bad reader's key, and what the signers' keys raise.
    """
    signers = list(signer) if isinstance(signer, Sequence) else [signer]
    outline = Outline(readers=[RecipientKey(reader)], signers=signers, content=_content(value, name))
    return seal(encode(value), outline)


def open_assertion(
    envelope: Envelope, expected: type[T], signers: Sequence[Signatories], keys: KeyFinder | None = None
) -> Verified[T]:
    """The object in an envelope that one of `signers` has signed, decrypted with one of `keys` if it must be.
    Where an item of `signers` is several keys, all of them must have signed.

    Raises SignatureInvalid, FormatError for another class, IntegrityError for a MessageType that lies,
    KeyNotFound and DecryptionFailed.
    """
    opened = open_envelope(envelope, keys or KeyRing(), known=_keys_of(signers))
    value = _read(opened, expected)
    return Verified(value, _signed(opened, expected, signers), opened.findings)


def open_bound(envelope: Envelope, expected: type[T], signers: Sequence[Signatories], keys: KeyFinder) -> T:
    """The object in an envelope for one of `keys` that nobody need have signed, since the caller compares
    what it gives with something that is signed. Raises as `open_assertion`; of one that is signed, too.
    """
    opened = open_envelope(envelope, keys, known=_keys_of(signers))
    value = _read(opened, expected)
    if opened.signatures:
        _signed(opened, expected, signers)
    return value


def open_profile(envelope: Envelope, expected: type[P]) -> Verified[P]:
    """The profile in an envelope, signed by the very key that it names as its ProfileSignature, or by a
    further root of an account.

    Raises SignatureInvalid, FormatError, IntegrityError.
    """
    claimed = decode(envelope.body, expected)
    roots = roots_of(claimed)
    try:
        return open_assertion(envelope, expected, roots)
    except SignatureInvalid as error:
        raise SignatureInvalid(
            f"the {type(claimed).__name__} is not signed by its own key: {error.message}"
        ) from error


def roots_of(profile: Profile) -> list[PublicKey]:
    """The keys that may sign a profile: its ProfileSignature, then an account's further roots. Raises as
    `root_keys`."""
    further = profile.further_roots if isinstance(profile, ProfileAccount) else ()
    return root_keys(profile.profile_signature, further)


def root_keys(first: KeyData | None, further: Sequence[Enveloped[FurtherRoot]]) -> list[PublicKey]:
    """A ProfileSignature and the roots that were added to it, each by one that stands before it; the added
    key has signed, too, so that nobody can claim another's.

    Raises FormatError, IntegrityError for a statement about another account, SignatureInvalid.
    """
    if len(further) > MAX_FURTHER_ROOTS:
        raise FormatError(f"the profile has more than {MAX_FURTHER_ROOTS} further roots")
    found = [public_key(first, "ProfileSignature")]
    for item in further:
        envelope = Envelope.from_array(item.array)
        said = decode(envelope.body, FurtherRoot)
        added = public_key(said.root_signature, "RootSignature")
        if said.account_udf != fingerprint(found[0]) or added in found:
            raise IntegrityError("the statement about a further root is not of this profile")
        open_assertion(envelope, FurtherRoot, [(earlier, added) for earlier in found])
        found.append(added)
    return found


def profile_udf(profile: Profile) -> str:
    """The profile's name: the fingerprint of its ProfileSignature. Raises FormatError, IntegrityError."""
    return fingerprint(public_key(profile.profile_signature, "ProfileSignature"))


def _content(value: MeshObject, name: str) -> ContentMeta:
    return ContentMeta(
        unique_id=name,
        message_type=type(value).__name__,
        content_type=CONTENT_TYPE,
        created=datetime.now(UTC).replace(microsecond=0),
    )


def _read(opened: Opened, expected: type[T]) -> T:
    value = decode(opened.payload, expected)
    told = opened.content.message_type
    if told is not None and told != type(value).__name__:
        raise IntegrityError(
            f"the envelope says that it holds a {told[:64]!r}; it holds a {type(value).__name__}",
            hint="do not rely on it: it was put together to deceive",
        )
    return value


def _keys_of(signers: Sequence[Signatories]) -> list[PublicKey]:
    return [key for item in signers for key in (item if isinstance(item, tuple) else (item,))]


def _signed(opened: Opened, expected: type[MeshObject], signers: Sequence[Signatories]) -> PublicKey:
    """The first key of those `signers` that have signed. Raises SignatureInvalid when none have."""
    for item in signers:
        choice = item if isinstance(item, tuple) else (item,)
        if choice and set(choice) <= set(opened.signers):
            return choice[0]
    raise SignatureInvalid(f"the {expected.__name__} is not signed by a key that may sign it")
