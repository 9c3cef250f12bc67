"""What the frames of a sequence hold: decrypted under the exchange of their session, and checked."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import replace

from meshhw.dare.background import KEEP, BackgroundDigest
from meshhw.dare.checks import check_signatures, gather
from meshhw.dare.digests import digest_function, digest_name
from meshhw.dare.exchange import KeyFinder, KeyRing
from meshhw.dare.findings import Finding
from meshhw.dare.header import ContentMeta
from meshhw.dare.kdf import body_key
from meshhw.dare.prepare import Cipher
from meshhw.dare.read import Heading, Opened, Sink, cipher_of, open_heading, pour
from meshhw.dare.segments import STORED, decrypt_one
from meshhw.dare.sequence import Frame, SequenceFile
from meshhw.errors import FormatError, SignatureInvalid
from meshhw.jsonbcd import encode_base64url

_OF_THE_SEQUENCE = frozenset(("ChainDigest", "TreeDigest", "TreeNode"))
_DIGESTS = _OF_THE_SEQUENCE | {"PayloadDigest"}
_KEPT_SEEDS = 256


def _is_small(frame: Frame, heading: Heading) -> bool:
    header = heading.header
    special = header.signers or header.signatures or header.payload_digest or header.detached
    plain = heading.cipher is Cipher.SEGMENTED and frame.body_length <= STORED and not special
    return plain and frame.trailer_members.keys() <= _DIGESTS


class SequenceReader:
    """Opens frames. The seed of a session is unwrapped once, by one use of one key."""

    def __init__(self, sequence: SequenceFile, finder: KeyFinder | None = None) -> None:
        self.sequence = sequence
        self._finder = finder or KeyRing()
        self._seeds: dict[int, bytes] = {}

    def open(self, index: int) -> Opened:
        """A frame with its payload in memory. Raises as `stream`."""
        out = io.BytesIO()
        return replace(self.stream(self.sequence.frame(index), out.write), payload=out.getvalue())

    def heading(self, frame: Frame) -> Heading:
        """A frame's header, its MAC checked, with names and dates decrypted on demand; the trailer is not
        looked at.

        Raises KeyNotFound, DecryptionFailed, FormatError and what the keys raise.
        """
        cipher = self.require_ours(frame) if self.sequence.is_ours else cipher_of(frame.header)
        header = frame.header if frame.exact_header else None
        if cipher is Cipher.NONE:
            return open_heading(frame.members, None, header=header)
        position = self._exchange_of(frame)
        if position not in self._seeds:
            at = frame if position == frame.index else self.sequence.frame(position)
            if position != frame.index and not at.header.recipients:
                raise FormatError(f"frame {frame.index} points to frame {position}, which has no recipients")
            if len(self._seeds) >= _KEPT_SEEDS:
                self._seeds.clear()
            self._seeds[position] = open_heading(at.members, self._finder).seed
        return open_heading(frame.members, None, seed=self._seeds[position], header=header)

    def readers(self, frame: Frame) -> tuple[str, ...]:
        """The names of the keys that a frame is encrypted to. Raises FormatError."""
        position = self._exchange_of(frame)
        at = frame if position == frame.index else self.sequence.frame(position)
        return tuple(recipient.kid for recipient in at.header.recipients)

    def content(self, frame: Frame) -> ContentMeta:
        """A frame's content metadata, its header's MAC checked. Raises as `heading`."""
        return self.heading(frame).texts()[0]

    def stream(
        self, frame: Frame, sink: Sink, *, heading: Heading | None = None, beside: bool = True
    ) -> Opened:
        """A frame's payload into `sink`, which keeps it back until this returns. With the frame's `heading`
        no other frame and no key is asked for: that may be done in several threads, which then need none
        `beside` them.

        Raises as `heading`, and SignatureInvalid.
        """
        heading = heading or self.heading(frame)
        if self.sequence.is_ours:
            self.require_ours(frame, whole=True)
            if _is_small(frame, heading):
                return self._small(frame, sink, heading)
        with BackgroundDigest(digest_name(heading.header), threaded=beside) as digest:
            body = self.sequence.body(frame, keep=KEEP if beside else 1)
            failure = pour(heading, digest.through(body), sink, beside=beside)
            payload_digest = digest.digest()
        trailer = {
            name: value for name, value in frame.trailer_members.items() if name not in _OF_THE_SEQUENCE
        }
        claims = gather(heading.members, heading.header, heading.cipher, trailer)
        signatures, told = check_signatures(claims, payload_digest, (), seed=heading.seed)
        if failure:
            raise failure
        content, annotations = heading.texts()
        findings = tuple(dict.fromkeys((*heading.findings, *told)))
        return Opened(heading.header, heading.cipher, content, annotations, signatures, findings)

    def learn(self, indexes: Iterable[int]) -> None:
        """Unwrap the seeds of all sessions that these frames are of, so that no key is asked for later.

        Raises as `heading`.
        """
        before = len(self.sequence)
        for index in sorted(indexes, reverse=True):
            if index < before:
                frame = self.sequence.frame(index)
                if self.heading(frame).cipher is Cipher.NONE:
                    return
                before = self._exchange_of(frame)

    def ask_nobody(self) -> None:
        """From here on open only what the seeds at hand open."""
        self._finder = KeyRing()

    def _small(self, frame: Frame, sink: Sink, heading: Heading) -> Opened:
        """The same for one of the many frames of ours that have one segment and are not signed themselves."""
        body = b"".join(self.sequence.body(frame))
        digest = encode_base64url(digest_function(heading.header)(body).digest())
        if frame.trailer_members.get("PayloadDigest", digest) != digest:
            raise SignatureInvalid("the body is not the one that the frame's digest names")
        sink(decrypt_one(body_key(heading.seed, heading.salt), body))
        content, annotations = heading.texts()
        findings = (*heading.findings, Finding.UNSIGNED)
        return Opened(heading.header, heading.cipher, content, annotations, (), findings)

    def _exchange_of(self, frame: Frame) -> int:
        """The frame whose recipients lead to this one's seed: itself, the one it names, or in old files 0."""
        if frame.header.recipients:
            return frame.index
        info = frame.header.sequence_info
        if info is not None and info.exchange_position is not None:
            if not 0 <= info.exchange_position <= frame.index:
                raise FormatError(f"frame {frame.index} points to an exchange that is not before it")
            return info.exchange_position
        if self.sequence.is_ours:
            raise FormatError(f"frame {frame.index} has no key exchange")
        return 0

    @staticmethod
    def require_ours(frame: Frame, *, whole: bool = False) -> Cipher:
        """The form of a frame whose header, or the `whole` of it, must be spelled as ours are, and be of
        today's. Raises FormatError."""
        cipher = cipher_of(frame.header)
        if not frame.exact_header or (whole and not frame.exact) or cipher is Cipher.CBC:
            raise FormatError(f"frame {frame.index} is not spelled as ours are")
        return cipher
