"""Envelopes of one threshold key, given to another as well: file by file, each replaced whole or not at all.

The old key's holders unwrap each envelope's seed, and a further recipient is written into the header; the
body stays as it is (`meshhw.dare.rewrap`). A file that the new key can read is left alone, so an interrupted
run is repeated. Sequences and archives are named, and left as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.header import Header, parse_header
from meshhw.dare.naming import same_kid
from meshhw.dare.output import replacing
from meshhw.dare.rewrap import rewrap_stream
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.signing import Signer
from meshhw.dare.stream import EnvelopeStream
from meshhw.errors import Cancelled, FormatError, MeshError, TokenError
from meshhw.keystore.api import OpenOptions
from meshhw.managers.threshold import descriptor
from meshhw.managers.threshold.descriptor import Loaded
from meshhw.managers.threshold.tokens import OpenTokens
from meshhw.managers.threshold.use import ThresholdPrivateKey, saying
from meshhw.udf import fingerprint

_UNFINISHED = ".part"
_RECORDS = (b"\xf4", b"\xf5", b"\xf6", b"\xf7")
"""What a sequence's first frame begins with (DARE section 3)."""


class Result(StrEnum):
    """What became of a file."""

    REWRAPPED = "re-wrapped"
    ALREADY = "readable already"
    OTHER = "not for this key"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A file, what became of it, and whose signatures ended because the header is another."""

    path: Path
    result: Result
    reason: str = ""
    signed_by: tuple[str, ...] = ()


def rewrap_files(
    old: Loaded, new: Loaded, paths: Sequence[Path], options: OpenOptions, *, signers: Sequence[Signer] = ()
) -> Iterator[Outcome]:
    """Every envelope in these files, and in the files of these directories, that is for the old key.

    What is wrong with one file is its outcome and stops no other. Raises Cancelled, TokenError when the
    holders cannot help: then they cannot with the next file either.
    """
    with OpenTokens(options) as tokens:
        key = ThresholdPrivateKey(old, tokens, say=saying(options))
        work = _Rewrapping(key, old, new, signers)
        for path, named in _files(paths):
            outcome = work.file(path)
            if named or outcome.result is not Result.OTHER:
                yield outcome


@dataclass(frozen=True)
class _Rewrapping:
    key: ThresholdPrivateKey
    old: Loaded
    new: Loaded
    signers: Sequence[Signer]

    def file(self, path: Path) -> Outcome:
        try:
            if _is_sequence(path):
                return self._sequence(path)
            header = _header(path)
            if header is None or not _is_for(header, self.old):
                return Outcome(path, Result.OTHER)
            if _is_for(header, self.new):
                return Outcome(path, Result.ALREADY)
            return Outcome(path, Result.REWRAPPED, signed_by=self._rewrap(path))
        except (Cancelled, TokenError):
            raise
        except MeshError as error:
            return Outcome(path, Result.FAILED, error.message)
        except OSError as error:
            return Outcome(path, Result.FAILED, error.strerror or str(error))

    def _sequence(self, path: Path) -> Outcome:
        """Frames are never changed: a sequence is for whom it was."""
        try:
            with SequenceFile(path, keeps_positions=False) as sequence:
                ours = any(_is_for(frame.header, self.old) for frame in sequence.frames())
        except FormatError:
            ours = False  # another program's file that begins like one
        if not ours:
            return Outcome(path, Result.OTHER)
        name = self.new.value.name
        return Outcome(
            path, Result.FAILED, f"a sequence gets no more readers: write it anew for threshold:{name}"
        )

    def _rewrap(self, path: Path) -> tuple[str, ...]:
        reader = RecipientKey(descriptor.group_public(self.new.key("decryption")))
        mode = path.stat().st_mode & 0o777
        with path.open("rb") as source, replacing(path, private=True, sync=True) as target:
            checks = rewrap_stream(source, target, KeyRing([self.key]), [reader], signers=self.signers)
            Path(target.name).chmod(mode)
        return tuple(fingerprint(check.public) if check.public else check.kid for check in checks)


def _files(paths: Iterable[Path]) -> Iterator[tuple[Path, bool]]:
    """The files, and whether a person named each; links in a directory are not followed."""
    for path in paths:
        if not path.is_dir():
            yield path.resolve(), True
            continue
        for found in sorted(path.rglob("*")):
            if found.is_file() and not found.is_symlink() and found.suffix != _UNFINISHED:
                yield found, False


def _is_sequence(path: Path) -> bool:
    with path.open("rb") as source:
        return source.read(1) in _RECORDS


def _header(path: Path) -> Header | None:
    """The header of an envelope; None for a file that is none."""
    with path.open("rb") as source:
        try:
            return parse_header(EnvelopeStream(source).members)
        except FormatError:
            return None


def _is_for(header: Header, loaded: Loaded) -> bool:
    udf = loaded.key("decryption").udf
    return any(same_kid(recipient.kid, udf) for recipient in header.recipients)
