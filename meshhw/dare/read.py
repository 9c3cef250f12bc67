"""Reading envelopes of every form: decrypting, checking, and telling what was accepted."""

from __future__ import annotations

import hmac
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from meshhw.algorithms import PublicKey
from meshhw.dare import cbc, eds, segments
from meshhw.dare.background import KEEP, BackgroundDigest, Beside
from meshhw.dare.checks import SignatureCheck, check_signatures, gather
from meshhw.dare.digests import digest_name
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import KeyFinder, KeyRing, unwrap_seed
from meshhw.dare.findings import Finding
from meshhw.dare.header import (
    ContentMeta,
    Header,
    Members,
    authenticated_octets,
    parse_content_meta,
    parse_header,
    spelled,
)
from meshhw.dare.kdf import SALT_OCTETS, body_key, header_mac, legacy_key_and_iv
from meshhw.dare.legacy import today
from meshhw.dare.prepare import Cipher
from meshhw.dare.segments import Octets
from meshhw.dare.stream import EnvelopeStream
from meshhw.errors import DecryptionFailed, FormatError
from meshhw.jsonbcd import encode_base64url

Sink = Callable[[Octets], object]
"""What takes a payload. It copies what it keeps, since the memory of a piece is used again."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An envelope that was read. `payload` is filled by `open_envelope` alone."""

    header: Header
    cipher: Cipher
    content: ContentMeta
    annotations: tuple[bytes, ...]
    signatures: tuple[SignatureCheck, ...]
    findings: tuple[Finding, ...]
    payload: bytes = field(default=b"", repr=False)

    @property
    def signers(self) -> tuple[PublicKey, ...]:
        """The keys whose signatures were verified."""
        return tuple(check.public for check in self.signatures if check.public is not None)


@dataclass(frozen=True, slots=True)
class Heading:
    """A header that was understood, and checked as far as the seed allows."""

    members: Members
    header: Header
    cipher: Cipher
    findings: tuple[Finding, ...] = ()
    seed: bytes = field(default=b"", repr=False)

    @property
    def salt(self) -> bytes:
        """The body's salt."""
        return self.header.salt or b""

    def plain(self, pieces: Iterator[Octets], *, keep: int | None = None) -> Iterator[Octets]:
        """The payload of a stored body, in pieces, of which each is good while `keep` more are taken.

        Raises DecryptionFailed.
        """
        if self.cipher is Cipher.SEGMENTED:
            return segments.decrypt_stream(body_key(self.seed, self.salt), pieces, keep=keep)
        if self.cipher is Cipher.CBC:
            return cbc.decrypt_stream(*legacy_key_and_iv(self.seed, self.salt), pieces)
        return pieces

    def plain_length(self, stored: int) -> int:
        """Octets of the payload of a stored body; of the form of 2022 at most. Raises FormatError."""
        return segments.plain_length(stored) if self.cipher is Cipher.SEGMENTED else stored

    def texts(self) -> tuple[ContentMeta, tuple[bytes, ...]]:
        """Content metadata and annotations, decrypted where they are encrypted."""
        hidden = self.header.annotations
        if self.header.cloaked:
            hidden = (self.header.cloaked, *hidden)
        if self.cipher is Cipher.NONE:
            texts = tuple(eds.read_eds(text)[1] for text in hidden)
        elif not self.seed:
            texts = ()
        else:
            decrypt = eds.decrypt_all if self.cipher is Cipher.SEGMENTED else eds.decrypt_legacy
            texts = decrypt(self.seed, self.salt, hidden)
        if self.header.cloaked and texts:
            return parse_content_meta(texts[0]), texts[1:]
        return parse_content_meta(self.header.content_meta), texts


def open_heading(
    members: Members, ring: KeyFinder | None, *, seed: bytes | None = None, header: Header | None = None
) -> Heading:
    """Understand a header; with a ring, or the `seed` of an exchange elsewhere, unwrap and check its MAC.

    `header` is the typed view of one that is spelled as ours are, where it is at hand. Raises FormatError,
    KeyNotFound, DecryptionFailed and what the keys raise.
    """
    if header is not None and seed is not None and cipher_of(header) is Cipher.SEGMENTED:
        _check_mac(members, header, seed)  # what a catalog asks of each of its frames
        return Heading(members, header, Cipher.SEGMENTED, (), seed)
    members, older = (members, False) if header else today(members)
    header = header or parse_header(members)
    cipher = cipher_of(header)
    findings = [Finding.OLDER_NAMES] if older else []
    if cipher is Cipher.SEGMENTED and older:
        raise FormatError("the header mixes today's form with the names of older drafts")
    if cipher is Cipher.CBC:
        findings += [Finding.BODY_WITHOUT_MAC, Finding.HEADER_UNPROTECTED]
    if cipher is Cipher.NONE:
        return Heading(members, header, cipher, tuple(findings))
    if seed is None and ring is None:
        findings += [Finding.HEADER_NOT_CHECKED] if cipher is Cipher.SEGMENTED else []
        return Heading(members, header, cipher, tuple(findings))
    if seed is None:
        assert ring is not None  # both None was answered above
        seed, told = unwrap_seed(header.recipients, ring, legacy=cipher is Cipher.CBC)
        findings += told
    if cipher is Cipher.SEGMENTED:
        _check_mac(members, header, seed)
    return Heading(members, header, cipher, tuple(findings), seed)


def cipher_of(header: Header) -> Cipher:
    """The form, which follows from `enc` alone. Raises FormatError for mixed and unknown ones."""
    if header.enc in (None, "none"):
        if header.hmac or header.recipients:
            raise FormatError("the header has a MAC or recipients, but names no cipher")
        return Cipher.NONE
    if header.enc == Cipher.CBC:
        if header.hmac is not None or header.signers:
            raise FormatError("the header mixes the form of 2022 with today's")
        if header.salt is None:
            raise FormatError("the header has no Salt")
        return Cipher.CBC
    if header.enc != Cipher.SEGMENTED:
        raise FormatError(f"the cipher {str(header.enc)[:20]!r} is not known here")
    if header.hmac is None or len(header.hmac) != 32:
        raise FormatError("the header has no MAC")
    if header.salt is None or len(header.salt) != SALT_OCTETS:
        raise FormatError(f"the header's Salt does not have {SALT_OCTETS} octets")
    if header.content_meta is not None:
        raise FormatError("the content metadata of an encrypted envelope must not be in clear")
    return Cipher.SEGMENTED


def read_stream(
    source: BinaryIO,
    sink: Sink | None,
    ring: KeyFinder | None = None,
    *,
    known: Sequence[PublicKey] = (),
    detached: BinaryIO | None = None,
) -> Opened:
    """Read an envelope file in constant memory. The payload goes to `sink`, which must keep it back until
    this returns: only then the last segment and every signature have been checked. Without a sink the
    signatures are checked and nothing is decrypted. `detached` is what a detached signature is over.

    Raises FormatError, SignatureInvalid, DecryptionFailed, KeyNotFound and what the keys raise.
    """
    stream = EnvelopeStream(source)
    heading = open_heading(stream.members, ring if sink else None)
    if heading.cipher is Cipher.SEGMENTED and not stream.has_body:
        raise FormatError("an encrypted envelope has no body")
    with BackgroundDigest(digest_name(heading.header)) as digest:
        pieces = _stored(stream, heading, detached)
        if heading.cipher is not Cipher.SEGMENTED or heading.header.signers or heading.header.dig:
            pieces = digest.through(pieces)
        failure = pour(heading, pieces, sink)
        trailer = stream.end()
        payload_digest = digest.digest()
    claims = gather(heading.members, heading.header, heading.cipher, trailer)
    if (claims.is_ours or heading.cipher is Cipher.SEGMENTED) and not stream.is_exact:
        raise FormatError("the file is not spelled as this form is")
    signatures, told = check_signatures(claims, payload_digest, known, seed=heading.seed)
    if failure:
        raise failure
    content, annotations = heading.texts()
    findings = tuple(dict.fromkeys((*heading.findings, *told)))
    if claims.is_ours:  # the signatures cover the header, too
        findings = tuple(finding for finding in findings if finding is not Finding.HEADER_NOT_CHECKED)
    return Opened(heading.header, heading.cipher, content, annotations, signatures, findings)


def open_envelope(
    envelope: Envelope, ring: KeyFinder | None = None, *, known: Sequence[PublicKey] = ()
) -> Opened:
    """Read an envelope in memory: its payload is in the result. Raises as `read_stream`."""
    out = io.BytesIO()
    opened = read_stream(io.BytesIO(envelope.octets()), out.write, ring or KeyRing(), known=known)
    return replace(opened, payload=out.getvalue())


def verify_envelope(envelope: Envelope, *, known: Sequence[PublicKey] = ()) -> Opened:
    """Check the signatures of an envelope in memory without decrypting. Raises as `read_stream`."""
    return read_stream(io.BytesIO(envelope.octets()), None, known=known)


def _check_mac(members: Members, header: Header, seed: bytes) -> None:
    expected = header_mac(seed, header.salt or b"", authenticated_octets(members))
    said = members.get("hmac")  # as it is spelled, since another spelling must not pass unnoticed
    text = said if type(said) is str else str(spelled(said))
    if not hmac.compare_digest(encode_base64url(expected), text):
        raise DecryptionFailed("the header was changed, or belongs to another key")


def _stored(stream: EnvelopeStream, heading: Heading, detached: BinaryIO | None) -> Iterator[Octets]:
    body = stream.body(keep=KEEP)
    if not heading.header.detached:
        if detached is not None:
            raise FormatError("this is not a detached signature")
        yield from body
        return
    if any(body):
        raise FormatError("a detached signature has a body")
    if detached is None:
        raise FormatError("this is a detached signature", hint="give the file that it is over")
    yield from iter(lambda: detached.read(1 << 20), b"")


def pour(
    heading: Heading, pieces: Iterator[Octets], sink: Sink | None, *, beside: bool = True
) -> DecryptionFailed | None:
    """Decrypt into the sink. A fault of the form without a MAC is kept back until the signatures were
    checked: told first, it would answer a forger's questions about the padding."""
    if sink is None:
        for _ in pieces:
            pass
        return None
    try:
        with Beside(sink, threaded=beside) as writer:
            for plain in heading.plain(pieces, keep=KEEP if beside else 0):
                writer.hand_over(plain)
            writer.join()
    except DecryptionFailed as error:
        if heading.cipher is not Cipher.CBC:
            raise
        for _ in pieces:
            pass
        return error
    return None
