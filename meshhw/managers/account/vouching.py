"""Which statements of new store keys count when an account is made again from what was saved.

Today's administrators' do. What a removed administrator has said counts as far as the profile can vouch for
it: if it stands in the device catalog under the head that the profile names, or, to read what is old, if an
administrator of today has given the same stores newer keys. Whoever lost the place with its token could else
add a statement to a shared directory, and give the account keys that he knows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from meshhw.algorithms import PublicKey
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import KeyFinder
from meshhw.dare.heads import SequenceHead, SequenceProof, prove_frame
from meshhw.dare.links import proofs_in
from meshhw.dare.policy import epoch_frames
from meshhw.dare.sequence import SequenceFile
from meshhw.errors import MeshError, SignatureInvalid
from meshhw.managers.account.administrators import administrators
from meshhw.managers.account.devices import STORE as DEVICES
from meshhw.managers.account.granted import merged
from meshhw.managers.account.rekeying import escrowed
from meshhw.managers.account.removed import head_in
from meshhw.schema.activation import ActivationCommon, StoreEpochs
from meshhw.schema.assertion import open_assertion
from meshhw.schema.codec import decode
from meshhw.schema.keydata import public_key
from meshhw.schema.profile import ProfileUser


@dataclass(frozen=True, slots=True)
class Vouched:
    """One statement that counts, and whose signature makes it do so."""

    envelope: Envelope
    signers: Sequence[PublicKey]
    to_read: bool = False
    """Whether its keys open what is old, and nothing is written to them."""

    def added(self, keys: ActivationCommon, escrow: KeyFinder) -> ActivationCommon:
        """These keys and what the statement holds for the escrow key. Raises as `escrowed`."""
        given = escrowed(self.envelope, self.signers, escrow)
        if not self.to_read:
            return merged(keys, given)
        old = (given.encryption, *given.previous_encryptions)
        previous = tuple(item for item in old if item is not None)
        reading = ActivationCommon(entries=given.entries, previous_encryptions=previous)
        return merged(reading, keys)


def vouched(
    said: Iterable[Envelope], profile: ProfileUser, stores: Sequence[Path]
) -> tuple[list[Vouched], list[str]]:
    """Those of these statements that count, in their order, and of each other one why it does not."""
    today, removed = administrators(profile), _removed(profile)
    proven = {proof.payload_digest for path in stores for proof in _told(profile, path)}
    found: list[Vouched] = []
    others: list[Envelope] = []
    refused: list[str] = []
    for envelope in said:
        gone = removed if hashlib.sha512(envelope.octets()).digest() in proven else []
        try:
            open_assertion(envelope, StoreEpochs, [*today, *gone])
            found.append(Vouched(envelope, [*today, *gone]))
        except SignatureInvalid:
            others.append(envelope)
        except MeshError as error:
            refused.append(error.message)
    newest = _newest(item.envelope for item in found)
    for envelope in others:
        try:
            statement = open_assertion(envelope, StoreEpochs, removed).value
        except MeshError as error:
            refused.append(error.message)
            continue
        if all((item.epoch or 0) < newest.get(item.resource or "", 0) for item in statement.entries):
            found.append(Vouched(envelope, removed, to_read=True))
        else:
            refused.append("an administrator who was removed has signed them, and nothing shows that before")
    return sorted(found, key=lambda item: decode(item.envelope.body, StoreEpochs).epoch or 0), refused


def statement_proofs(profile: ProfileUser, path: Path) -> Iterator[SequenceProof]:
    """Of each statement in a device catalog that stood there when an administrator was removed, the proof of
    that: its payload digest is the statement's. A catalog that was compacted keeps those of its predecessors.

    Raises FormatError, IntegrityError for a catalog whose digests do not fit.
    """
    heads = sorted(map(head_in, profile.removed_administrators), key=lambda head: head.head.index)
    with SequenceFile(path) as sequence:
        yield from (proof for proof in proofs_in(sequence) if proof.head in heads and _holds(proof))
        ours = [head for head in heads if _is_head_of(head, sequence)]
        for frame in epoch_frames(sequence):
            covering = next((head for head in ours if frame.index <= head.head.index), None)
            if covering is not None:
                yield prove_frame(sequence, frame.index, covering)


def _is_head_of(head: SequenceHead, sequence: SequenceFile) -> bool:
    """Whether the sequence was there once; a copy that was put back may have gone on to another place."""
    if head.sequence_id != sequence.sequence_id or head.head.index >= len(sequence):
        return False
    return sequence.frame(head.head.index).tree_digest == head.head.digest


def _holds(proof: SequenceProof) -> bool:
    """Whether it is of a frame that begins an epoch, and holds."""
    with suppress(MeshError):
        proof.check()
        return bool(proof.members.get("policy"))
    return False


def _told(profile: ProfileUser, path: Path) -> Iterator[SequenceProof]:
    """The same of a saved store, which may be any and damaged."""
    if DEVICES in (path.stem, path.parent.name):
        with suppress(MeshError, OSError, IndexError):
            yield from statement_proofs(profile, path)


def _newest(said: Iterable[Envelope]) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for envelope in said:
        for item in decode(envelope.body, StoreEpochs).entries:
            name = item.resource or ""
            found[name] = max(found.get(name, 0), item.epoch or 0)
    return found


def _removed(profile: ProfileUser) -> list[PublicKey]:
    gone = (item.administrator_signature for item in profile.removed_administrators)
    return [public_key(item, "removed administrator") for item in gone]
