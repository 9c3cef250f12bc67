"""Objects about threshold keys, signed by a device: writing and reading them.

Each is an S512H envelope of its own. Descriptors that one command changes together have one signature for all
of them: the device signs the list of their digests, and every descriptor's file carries that list beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TypeVar

from meshhw.algorithms import PublicKey
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.findings import Finding
from meshhw.dare.header import ContentMeta
from meshhw.dare.prepare import Outline
from meshhw.dare.read import open_envelope
from meshhw.dare.signing import Signer
from meshhw.dare.write import seal
from meshhw.errors import FormatError, SignatureInvalid
from meshhw.schema.codec import decode, encode
from meshhw.schema.core import Enveloped, MeshObject
from meshhw.schema.threshold import (
    MAX_CHANGES,
    ThresholdChanged,
    ThresholdChanges,
    ThresholdDescriptor,
)

T = TypeVar("T", bound=MeshObject)


def sign_object(value: MeshObject, signer: Signer, *, readers: Sequence[PublicKey] = ()) -> Envelope:
    """An S512H envelope of an object, encrypted if there are readers. Raises what the key raises."""
    return _sealed(value, [signer], readers)


def open_object(octets: bytes, expected: type[T], ring: KeyRing | None = None) -> tuple[T, PublicKey, bytes]:
    """The object of a signed envelope, its signer, whoever that is, and the body's octets.

    Raises FormatError, SignatureInvalid, and what decryption raises.
    """
    envelope = Envelope.parse(octets)
    if ring is None and envelope.header.recipients:
        raise FormatError(f"this is no {expected.__name__}, which is not encrypted")
    opened = open_envelope(envelope, ring)
    if Finding.SIGNATURE_COVERS_BODY_ONLY in opened.findings:
        raise SignatureInvalid(f"a {expected.__name__} is signed with its header (S512H)")
    if len(opened.signers) != 1:
        raise SignatureInvalid(f"a {expected.__name__} is signed by one key")
    return decode(opened.payload, expected), opened.signers[0], opened.payload


def sign_descriptors(values: Sequence[ThresholdDescriptor], signer: Signer) -> Iterator[bytes]:
    """The envelopes of descriptors that are changed together: one signature for up to MAX_CHANGES of them; a
    single one has its own. Raises what the key raises."""
    for first in range(0, len(values), MAX_CHANGES):
        some = values[first : first + MAX_CHANGES]
        if len(some) == 1:
            yield sign_object(some[0], signer).octets()
            return
        bodies = [encode(value) for value in some]
        changes = sign_object(ThresholdChanges(digests=tuple(map(_digest, bodies))), signer)
        for body in bodies:
            changed = ThresholdChanged(descriptor=body, enveloped_changes=Enveloped(changes.array()))
            yield _sealed(changed, [], []).octets()


def open_descriptor(octets: bytes) -> tuple[ThresholdDescriptor, PublicKey, bytes]:
    """A descriptor, the device that signed it, whoever that is, alone or with others, and its octets.

    Raises FormatError, SignatureInvalid.
    """
    envelope = Envelope.parse(octets)
    if envelope.header.recipients or not isinstance(decode(envelope.body, MeshObject), ThresholdChanged):
        return open_object(octets, ThresholdDescriptor)
    opened = open_envelope(envelope)
    if opened.signatures:
        raise FormatError("a descriptor that was changed with others is signed with them, and not by itself")
    changed = decode(opened.payload, ThresholdChanged)
    carried = Envelope.from_array(changed.enveloped_changes.array).octets()
    changes, signer, _ = open_object(carried, ThresholdChanges)
    if not len(set(changes.digests)) == len(changes.digests) <= MAX_CHANGES:
        raise FormatError(f"a device signs at most {MAX_CHANGES} different descriptors at once")
    if _digest(changed.descriptor) not in changes.digests:
        raise SignatureInvalid("the descriptor is not among those that the device has signed")
    return decode(changed.descriptor, ThresholdDescriptor), signer, changed.descriptor


def _digest(body: bytes) -> bytes:
    return hashlib.sha512(body).digest()


def _sealed(value: MeshObject, signers: Sequence[Signer], readers: Sequence[PublicKey]) -> Envelope:
    content = ContentMeta(message_type=type(value).__name__, content_type="application/mmm/object")
    outline = Outline(readers=[RecipientKey(reader) for reader in readers], signers=signers, content=content)
    return seal(encode(value), outline)
