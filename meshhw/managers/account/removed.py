"""Administrators that were removed: what they had signed until then counts, and nothing after.

The profile that removes one carries the head of the device catalog at that moment. An object that it signed
counts when a proof shows a frame under that head whose header has the object's digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from meshhw.algorithms import PublicKey
from meshhw.dare import merkle
from meshhw.dare.catalog import DIGESTS, Catalog
from meshhw.dare.envelope import Envelope
from meshhw.dare.heads import SequenceHead, SequenceProof, head_of, prove_frame
from meshhw.errors import IntegrityError
from meshhw.jsonbcd import encode_base64url
from meshhw.managers.account.administrators import administrators
from meshhw.schema.key import KeyData
from meshhw.schema.keydata import public_key
from meshhw.schema.profile import AdministratorRemoved, ProfileUser


def removal(key: KeyData, catalog: Catalog) -> AdministratorRemoved:
    """What a profile says of an administrator that is removed now. Raises FormatError."""
    head = head_of(catalog.sequence)
    return AdministratorRemoved(
        administrator_signature=key,
        sequence_id=head.sequence_id,
        index=head.head.index,
        tree_digest=head.head.digest,
    )


def proof_of(catalog: Catalog, key: str) -> SequenceProof:
    """The proof that a device's entry is in the catalog now. Raises KeyNotFound, IntegrityError."""
    return prove_frame(catalog.sequence, catalog.get(key).index)


def is_provable(catalog: Catalog, key: str) -> bool:
    """Whether the frame of a device's entry names the digests of what is signed in it. Raises KeyNotFound."""
    return DIGESTS in catalog.sequence.frame(catalog.get(key).index).members


def signers_for(profile: ProfileUser, envelope: Envelope, proof: bytes | None) -> Sequence[PublicKey]:
    """The keys whose signature of this object counts: today's administrators', and a removed one's if the
    proof shows that the object was there before.

    Raises FormatError, and IntegrityError for a proof that does not hold.
    """
    found = administrators(profile)
    if proof is None or not profile.removed_administrators:
        return found
    shown = SequenceProof.parse(proof)
    shown.check()
    listed = shown.members.get(DIGESTS)
    if not isinstance(listed, list) or encode_base64url(object_digest(envelope)) not in listed:
        return found
    gone = [item for item in profile.removed_administrators if head_in(item) == shown.head]
    return [*found, *(public_key(item.administrator_signature, "removed administrator") for item in gone)]


def head_in(item: AdministratorRemoved) -> SequenceHead:
    """The head of the device catalog when an administrator was removed. Raises IntegrityError."""
    if item.sequence_id is None or item.index is None or item.tree_digest is None:
        raise IntegrityError("the profile names a removed administrator without the catalog's head")
    return SequenceHead(item.sequence_id, merkle.Head(item.index, item.tree_digest))


def object_digest(envelope: Envelope) -> bytes:
    """What stands for a signed object in a frame's header: H of the envelope's octets."""
    return hashlib.sha512(envelope.octets()).digest()
