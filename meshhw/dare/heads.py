"""Heads of sequences: signed, proven to cover a frame or an older head, and remembered.

A head names a sequence, its last frame and that frame's TreeDigest, and so stands for everything in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from meshhw import files
from meshhw.algorithms import PublicKey
from meshhw.dare import apextree, merkle
from meshhw.dare.ending import FrameDigests
from meshhw.dare.envelope import Envelope
from meshhw.dare.header import (
    Binary,
    ContentMeta,
    authenticated_octets,
    parse_content_meta,
    parse_header,
    timestamp,
    to_members,
    view,
)
from meshhw.dare.prepare import Outline
from meshhw.dare.read import verify_envelope
from meshhw.dare.sequence import SequenceFile, octets_in
from meshhw.dare.sequence_write import SequenceWriter
from meshhw.dare.signing import SignatureForm, Signer
from meshhw.dare.trees import TREES, Tree
from meshhw.dare.write import seal
from meshhw.errors import FormatError, IntegrityError, SignatureInvalid, StateError
from meshhw.jsonbcd import Limits, Value, decode, encode_base64url, to_json

_LIMITS = Limits(depth=16, token=1 << 20, items=1 << 12, total=2 << 20)
HEAD_TYPE = "application/mmm/sequence-head"
MEMORY = "heads.json"
"""The file of a home in which `HeadMemory` is kept."""
_MEMORY_LIMIT = 16 << 20


@dataclass(frozen=True, slots=True)
class SequenceHead:
    """The head of one sequence."""

    sequence_id: bytes
    head: merkle.Head


@dataclass(frozen=True, slots=True)
class SequenceProof:
    """That a head covers a frame: what the frame's leaf is made of, and the hashes that lead to the head."""

    head: SequenceHead
    index: int
    members: Mapping[str, Value]
    payload_digest: bytes
    hashes: tuple[bytes, ...]
    tree: Tree = merkle

    def check(self) -> None:
        """Raise IntegrityError unless it holds."""
        info = parse_header(self.members).sequence_info
        if info is None or info.index != self.index:
            raise IntegrityError("the proof's header is of another frame")
        leaf = self.tree.leaf(authenticated_octets(self.members), self.payload_digest)
        self.tree.check_inclusion(self.index, leaf, self.head.head, self.hashes)

    def octets(self) -> bytes:
        """The JSON file form."""
        return to_json(
            {
                "SequenceProof": {
                    "Tree": self.tree.NAME,
                    "SequenceId": self.head.sequence_id,
                    "HeadIndex": self.head.head.index,
                    "TreeDigest": self.head.head.digest,
                    "Index": self.index,
                    "Header": dict(self.members),
                    "PayloadDigest": self.payload_digest,
                    "Hashes": list(self.hashes),
                }
            }
        )

    @classmethod
    def parse(cls, octets: bytes) -> SequenceProof:
        """Read the file form. Raises FormatError."""
        wire = view(_tagged(octets, "SequenceProof"), _ProofWire)
        head = SequenceHead(wire.sequence_id, merkle.Head(wire.head_index, wire.tree_digest))
        tree = TREES.get(wire.tree)
        if tree is None:
            raise FormatError(f"the tree {wire.tree[:20]!r} is not known here")
        if len(wire.hashes) > tree.MAX_PROOF:
            raise FormatError("the proof is longer than any tree is high")
        return cls(head, wire.index, wire.header, wire.payload_digest, tuple(wire.hashes), tree)


class _ProofWire(msgspec.Struct, rename="pascal"):
    sequence_id: Binary
    head_index: int
    tree_digest: Binary
    index: int
    header: dict[str, Any]
    payload_digest: Binary
    hashes: list[Binary]
    tree: str = apextree.NAME


class _HeadWire(msgspec.Struct, rename="pascal"):
    sequence_id: Binary
    index: int
    tree_digest: Binary
    created: datetime


def head_of(sequence: SequenceFile) -> SequenceHead:
    """The head that the file says; `check_sequence` tells whether that is true. Raises FormatError."""
    _tree_of(sequence)
    last = sequence.frame(len(sequence) - 1)
    return SequenceHead(sequence.sequence_id, merkle.Head(last.index, last.tree_digest))


def prove_frame(sequence: SequenceFile, index: int, earlier: SequenceHead | None = None) -> SequenceProof:
    """The proof that the sequence's head, or an `earlier` one, covers a frame.

    Raises FormatError, IndexError; IntegrityError where the digests in the frames do not fit."""
    head, tree = earlier or head_of(sequence), _tree_of(sequence)
    frame = sequence.frame(index)
    hashes = tree.prove(index, head.head.index, FrameDigests(sequence))
    payload_digest = octets_in(frame.trailer_members, "PayloadDigest") or b""
    proof = SequenceProof(head, index, frame.members, payload_digest, tuple(hashes), tree)
    proof.check()
    return proof


def prove_extension(sequence: SequenceFile, old: merkle.Head) -> list[bytes]:
    """The hashes that show the sequence's head to extend an older one. Raises FormatError, IndexError."""
    return _tree_of(sequence).prove_consistency(old.index, len(sequence) - 1, FrameDigests(sequence))


def check_extension(
    sequence: SequenceFile, old: merkle.Head, head: merkle.Head, proof: Sequence[bytes]
) -> None:
    """Raise IntegrityError unless `proof` shows that `head` extends the older one, both of this sequence."""
    _tree_of(sequence).check_consistency(old, head, proof)


def sign_head(head: SequenceHead, signers: Sequence[Signer], *, at: datetime | None = None) -> Envelope:
    """The signed head, an S512H envelope. Raises what the keys raise."""
    created = timestamp(at or datetime.now(UTC))
    body: dict[str, Value] = {
        "SequenceId": head.sequence_id,
        "Index": head.head.index,
        "TreeDigest": head.head.digest,
        "Created": created,
    }
    return seal(to_json({"SequenceHead": body}), Outline(signers=signers))


def verify_head(envelope: Envelope, trusted: Sequence[PublicKey]) -> SequenceHead:
    """The head in an envelope that one of `trusted` signed. Raises SignatureInvalid, FormatError."""
    opened = verify_envelope(envelope, known=trusted)
    ours = (check for check in opened.signatures if check.form is SignatureForm.HEADER_AND_BODY)
    if not any(check.public in trusted for check in ours):
        raise SignatureInvalid("the head is not signed by a key that is trusted here")
    return claimed_head(envelope)


def claimed_head(envelope: Envelope) -> SequenceHead:
    """The head in an envelope, whoever has signed it. Raises FormatError."""
    wire = view(_tagged(envelope.body, "SequenceHead"), _HeadWire)
    return SequenceHead(wire.sequence_id, merkle.Head(wire.index, wire.tree_digest))


def seal_head(writer: SequenceWriter, signers: Sequence[Signer]) -> int:
    """Append the signed head of everything so far as a frame in clear, and return that frame's index."""
    writer.flush()
    envelope = sign_head(head_of(writer), signers)
    content = ContentMeta(content_type=HEAD_TYPE)
    return writer.append(envelope.octets(), Outline(content=content), in_clear=True)


def sealed_head(sequence: SequenceFile) -> tuple[SequenceHead, tuple[PublicKey, ...]] | None:
    """The head that the last frame holds, and who signed it; None when the last frame holds none.

    Raises SignatureInvalid, FormatError; IntegrityError when it is not the head of what is before it.
    """
    last = sequence.frame(len(sequence) - 1)
    if parse_content_meta(last.header.content_meta).content_type != HEAD_TYPE:
        return None
    envelope = Envelope.parse(b"".join(sequence.body(last)))
    signers = verify_envelope(envelope).signers
    head = verify_head(envelope, signers)
    before = sequence.frame(last.index - 1)
    expected = SequenceHead(sequence.sequence_id, merkle.Head(before.index, before.tree_digest))
    if head != expected:
        raise IntegrityError("the signed head is not that of the frames before it")
    return head, signers


class HeadMemory:
    """The last head that was accepted of each sequence; a sequence may only grow from there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def last(self, sequence_id: bytes) -> merkle.Head | None:
        """The head accepted last. Raises FormatError, InsecurePermissions."""
        entry = self._read().get(encode_base64url(sequence_id))
        return merkle.Head(entry.index, entry.tree_digest) if entry else None

    def accept(self, sequence: SequenceFile, *, anew: bool = False) -> SequenceHead:
        """Check that the sequence is the remembered one or extends it, unless it begins `anew`, and remember
        its head.

        Raises IntegrityError for one that is shorter or has diverged.
        """
        with files.locked(self._path):
            head = head_of(sequence)
            old = self.last(head.sequence_id)
            if old is not None and not anew:
                _require_extension(sequence, old, head.head)
            entries = self._read()
            entries[encode_base64url(head.sequence_id)] = _Entry(head.head.index, Binary(head.head.digest))
            members = {name: to_members(entry) for name, entry in entries.items()}
            files.replace(self._path, to_json({"HeadMemory": members}) + b"\n")
        return head

    def _read(self) -> dict[str, _Entry]:
        octets = files.read_private(self._path, _MEMORY_LIMIT)
        if octets is None:
            return {}
        members = _tagged(octets, "HeadMemory", Limits(items=1 << 20))
        if not all(isinstance(entry, Mapping) for entry in members.values()):
            raise StateError(f"{self._path} is damaged")
        return {name: view(entry, _Entry) for name, entry in members.items() if isinstance(entry, Mapping)}


class _Entry(msgspec.Struct, frozen=True, rename="pascal"):
    index: int
    tree_digest: Binary


def _require_extension(sequence: SequenceFile, old: merkle.Head, head: merkle.Head) -> None:
    if head.index < old.index:
        raise IntegrityError(
            f"the sequence ended at frame {old.index}, now at {head.index}: somebody took frames away",
            hint="or an old copy was put back: get the newest one, or take this one with --older",
        )
    try:
        check_extension(sequence, old, head, prove_extension(sequence, old))
    except IntegrityError as error:
        raise IntegrityError(
            f"the sequence is not the one that was seen up to frame {old.index}: it has diverged",
            hint="two writers disagree, or somebody rewrote it: get the sequence from another place",
        ) from error


def _tree_of(sequence: SequenceFile) -> Tree:
    if sequence.tree is None:
        raise FormatError("only a Merkle sequence of ours has heads and proofs")
    return sequence.tree


def _tagged(octets: bytes, tag: str, limits: Limits = _LIMITS) -> Mapping[str, Value]:
    value = decode(octets, limits)
    inner = value.get(tag) if isinstance(value, Mapping) and len(value) == 1 else None
    if not isinstance(inner, Mapping):
        raise FormatError(f"this is not a {tag}")
    return inner
