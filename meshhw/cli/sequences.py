"""The verbs of `meshhw dare` on sequences: append, list, prove, and the check of a whole one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshhw.cli.common import context
from meshhw.cli.envelopekeys import KeyFiles, Recipients, open_keys
from meshhw.cli.heads import Older, remember
from meshhw.cli.output import unless_pipe
from meshhw.cli.streams import PIPE, naming, reading, writing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshhw.algorithms import PublicKey
    from meshhw.dare.exchange import KeyFinder
    from meshhw.dare.read import Opened
    from meshhw.dare.sequence import Frame, SequenceFile

SequencePath = Annotated[
    Path, typer.Argument(metavar="SEQUENCE", help="A file of frames: a sequence, a catalog, an archive.")
]
_FIRST_TAGS = frozenset((0xF4, 0xF5, 0xF6, 0xF7))


def append(
    *,
    sequence: SequencePath,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file, or - for stdin.")],
    encrypt: Recipients = None,
    sync: Annotated[bool, typer.Option("--sync", help="Return when it outlasts a loss of power.")] = False,
    older: Older = False,
) -> None:
    """Add a file to a sequence, which is made if it is absent; --encrypt then says for whom it is."""
    from meshhw.dare.header import ContentMeta
    from meshhw.dare.policy import readers_of, session_policy
    from meshhw.dare.prepare import Outline
    from meshhw.dare.sequence import SequenceFile
    from meshhw.dare.sequence_write import Creation, SequenceWriter, create
    from meshhw.managers.recipients import recipient

    cli = context()
    readers = [recipient(name, cli.home, cli.open_options) for name in encrypt or []]
    content = ContentMeta() if file == PIPE else ContentMeta(filename=Path(file).name)
    with reading(file) as (source, length):
        if not sequence.exists():
            create(sequence, Creation(policy=session_policy(readers)))
        with SequenceFile(sequence) as existing:
            readers = readers or readers_of(existing)
        with SequenceWriter(sequence, readers) as writer:
            if writer.repaired:
                cli.output.note(f"a torn tail of {writer.repaired} octets was cut off")
            remember(writer, older=older, writes=True)
            if length is None:
                index = writer.append(source.read(), Outline(content=content))
            else:
                index = writer.append_stream(source, length, Outline(content=content))
            writer.flush(sync=sync)
            if sync:  # what may be lost yet is not missed
                remember(writer)
    cli.output.show({"sequence": str(sequence), "index": index}, str(index))


def list_frames(
    *,
    sequence: SequencePath,
    names: Annotated[bool, typer.Option("--names", help="Decrypt the names; needs a key.")] = False,
    key: KeyFiles = None,
) -> None:
    """The frames of a sequence, for which no key is needed; with --names the files of an archive."""
    from meshhw.cli.archives import list_names
    from meshhw.dare.sequence import SequenceFile

    output = context().output
    with naming(str(sequence)), SequenceFile(sequence, keeps_positions=False) as opened:
        if opened.torn_at is not None:
            output.note(
                f"warning: the file ends inside a frame at octet {opened.torn_at}; whole frames are listed"
            )
        if names:
            with open_keys(key or []) as keys:
                rows = list_names(opened, keys)
            output.table(rows, ["name", "size", "frame"], "the archive is empty")
            return
        rows = [_row(frame) for frame in opened.frames()]
    output.table(rows, ["index", "position", "size", "form", "name"])


def prove(
    *,
    sequence: SequencePath,
    index: Annotated[int, typer.Argument(metavar="INDEX", help="The frame that is proven.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write here in place of stdout.", callback=unless_pipe),
    ] = None,
) -> None:
    """Prove that a sequence's head covers a frame, to whoever trusts the head."""
    from meshhw.cli.output import write_file
    from meshhw.dare.heads import prove_frame
    from meshhw.dare.sequence import SequenceFile

    output = context().output
    with naming(str(sequence)), SequenceFile(sequence) as opened:
        _require_frame(opened, index)
        proof = prove_frame(opened, index)
    if out is not None:
        write_file(out, proof.octets() + b"\n")
    value = {"index": index, "head": proof.head.head.index, "hashes": len(proof.hashes)}
    output.show(value, "" if out else proof.octets().decode())


def require_index(path: Path, index: int | None) -> None:
    """A frame's index is given for a sequence, and for nothing else. Raises UsageError, FormatError."""
    from meshhw.dare.sequence import SequenceFile
    from meshhw.errors import UsageError

    found = path.is_file() and is_sequence(str(path))
    if found and index is None:
        with naming(str(path)), SequenceFile(path, keeps_positions=False):
            hint = "--index says which frame; `meshhw dare list` shows them"
            raise UsageError(f"{path} is a sequence", hint=hint)
    if index is not None and not found:
        raise UsageError("only a sequence has frames", hint="leave --index away")


def decode_frame(
    path: Path, index: int, keys: KeyFinder, out: str, *, sync: bool = False, older: bool = False
) -> Opened:
    """Write the payload of one frame, the sequence's head being one that follows the last that was seen.

    Raises UsageError for a frame that is not there, IntegrityError, and what reading it raises.
    """
    from meshhw.dare.sequence import SequenceFile
    from meshhw.dare.sequence_read import SequenceReader

    with naming(str(path)), SequenceFile(path, keeps_positions=False) as opened:
        _require_frame(opened, index)
        remember(opened, older=older)
        with writing(out, private=True, sync=sync) as target:
            return SequenceReader(opened, keys).stream(opened.frame(index), target.write)


def _require_frame(sequence: SequenceFile, index: int) -> None:
    from meshhw.errors import UsageError

    if not 0 <= index < len(sequence):
        raise UsageError(f"there is no frame {index}: they go from 0 to {len(sequence) - 1}")


def is_sequence(name: str) -> bool:
    """Whether a file begins as a sequence does."""
    if name == PIPE:
        return False
    with Path(name).open("rb") as file:
        return (file.read(1) or b"\0")[0] in _FIRST_TAGS


def verify(path: Path, wanted: Sequence[PublicKey], proof: Path | None, *, older: bool = False) -> None:
    """Check a whole sequence: every frame's digest, pointers and spelling, the signed head of an archive, and
    that nothing is gone that was seen here before.

    Raises IntegrityError for a torn tail, too.
    """
    from meshhw.dare.heads import sealed_head
    from meshhw.dare.sequence import SequenceFile
    from meshhw.dare.sequence_check import DigestState, check_sequence
    from meshhw.errors import IntegrityError, SignatureInvalid
    from meshhw.udf import fingerprint

    cli = context()
    with SequenceFile(path, keeps_positions=False) as opened:
        told = cli.interaction.progress
        report = check_sequence(opened, None, lambda done, all_: told(path.name, done, all_))
        sealed = sealed_head(opened) if report.head else None
        if proof is not None:
            _check_proof(proof, opened)
    signers = sealed[1] if sealed else ()
    if wrong := report.digests[DigestState.WRONG]:
        raise IntegrityError(f"{wrong} frames of {path} have other digests than they say")
    if report.torn_at is not None:
        raise IntegrityError(
            f"{path} ends inside a frame at octet {report.torn_at}",
            hint="the next append cuts the torn tail off",
        )
    for public in wanted:
        if public not in signers:
            raise SignatureInvalid(f"{fingerprint(public)} did not sign the head of this sequence")
    with SequenceFile(path, keeps_positions=False) as opened:
        remember(opened, older=older)
    names = [fingerprint(public) for public in signers]
    value = {
        "frames": report.frames,
        "digests": {state.value: count for state, count in report.digests.items()},
        "head": report.head.index if report.head else None,
        "signers": names,
    }
    text = [f"{report.frames} frames, digests: " + ", ".join(f"{n} {s}" for s, n in report.digests.items())]
    cli.output.show(value, "\n".join(text + [f"head signed by {name}" for name in names]))


def check_proof_against_head(proof: Path, head: Path, trusted: Sequence[PublicKey]) -> None:
    """Check a proof against a signed head's file. Raises IntegrityError, SignatureInvalid."""
    from meshhw.dare.envelope import Envelope
    from meshhw.dare.heads import SequenceProof, verify_head
    from meshhw.errors import IntegrityError

    claimed = SequenceProof.parse(proof.read_bytes())
    claimed.check()
    if verify_head(Envelope.parse(head.read_bytes()), trusted) != claimed.head:
        raise IntegrityError("the proof leads to another head")


def _check_proof(file: Path, sequence: SequenceFile) -> None:
    from meshhw.dare.heads import SequenceProof
    from meshhw.errors import IntegrityError

    proof = SequenceProof.parse(file.read_bytes())
    proof.check()
    head = proof.head.head
    known = sequence.sequence_id == proof.head.sequence_id and head.index < len(sequence)
    if not known or sequence.frame(head.index).tree_digest != head.digest:
        raise IntegrityError("the proof leads to a head that this sequence never had")


def _row(frame: Frame) -> dict[str, Any]:
    from meshhw.dare.header import parse_content_meta

    content = parse_content_meta(frame.header.content_meta)
    return {
        "index": frame.index,
        "position": frame.span.position,
        "size": frame.body_length,
        "form": frame.header.enc or "clear",
        "name": content.filename or content.unique_id or content.content_type,
    }
