"""Writing envelopes: of octets in memory, and of streams of any length."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from typing import BinaryIO

from meshhw.dare.background import KEEP, BackgroundDigest, BackgroundWriter
from meshhw.dare.digests import digest_for, hash_name
from meshhw.dare.envelope import Envelope
from meshhw.dare.prepare import Exchange, Outline, Prepared, prepare
from meshhw.dare.stream import file_end, file_start, write_body
from meshhw.errors import UsageError
from meshhw.jsonbcd import Value


def seal(payload: bytes, outline: Outline, exchange: Exchange | None = None) -> Envelope:
    """The envelope of these octets. Raises what the keys raise, and UsageError."""
    prepared = prepare(outline, exchange)
    return finish(payload, prepared)


def finish(payload: bytes, prepared: Prepared) -> Envelope:
    """The envelope of these octets under a header that was prepared."""
    body = b"".join(prepared.body(io.BytesIO(payload)))
    digest = hashlib.sha512(body).digest() if prepared.signers else b""
    return Envelope(prepared.members, body, prepared.trailer(digest))


def write_stream(source: BinaryIO, target: BinaryIO, outline: Outline, *, length: int | None = None) -> None:
    """Write an envelope file of everything that `source` gives, in constant memory.

    With the `length` of the source the body is one binary, else it goes in chunks; a long one has the digest
    that is made quickly (`digest_for`). The caller sees to it that an unfinished target does not stay
    (`meshhw.dare.output.replacing`). Raises StateError when the source is not of that length, and what the
    keys raise.
    """
    if not outline.compat:
        outline = replace(outline, dig=digest_for(length, (signer.public for signer in outline.signers)))
    prepared = prepare(outline)
    target.write(file_start(prepared.members))
    with BackgroundDigest(hash_name(outline.dig)) as digest, BackgroundWriter(target) as writer:
        body = prepared.body(source, keep=KEEP)
        pieces = digest.through(body) if outline.signers else body
        write_body(writer, pieces, prepared.body_length(length))
        writer.join()
        payload_digest = digest.digest()
    target.write(file_end(prepared.trailer(payload_digest)))


def sign_detached(source: BinaryIO, outline: Outline) -> Envelope:
    """An envelope without a body whose signatures are over `source`, which stays where it is.

    Raises UsageError when there are readers or no signers.
    """
    if outline.readers or not outline.signers or outline.compat:
        raise UsageError("a detached signature is of our own form, has a signer, and encrypts nothing")
    extra: dict[str, Value] = {**outline.extra, "Detached": True}
    prepared = prepare(
        Outline(
            signers=outline.signers,
            content=outline.content,
            annotations=outline.annotations,
            envelope_id=outline.envelope_id,
            extra=extra,
        )
    )
    with BackgroundDigest() as digest:
        for piece in iter(lambda: source.read(1 << 20), b""):
            digest.update(piece)
        payload_digest = digest.digest()
    return Envelope(prepared.members, b"", prepared.trailer(payload_digest))
