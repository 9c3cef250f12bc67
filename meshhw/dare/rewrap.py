"""Giving an envelope to more readers without touching its body (docs/formats.md, Re-wrapping).

It only adds readers: who could read before still can. Signatures cover the header and so end here; the
re-wrapper checks them first, and may sign itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from meshhw.algorithms import PublicKey
from meshhw.dare.background import KEEP, BackgroundDigest
from meshhw.dare.checks import SignatureCheck, check_signatures, gather
from meshhw.dare.digests import SHA512, digest_name
from meshhw.dare.exchange import KeyFinder, Readers, wrap_seed
from meshhw.dare.header import (
    MAX_RECIPIENTS,
    UNAUTHENTICATED,
    Binary,
    Header,
    Members,
    authenticated_octets,
    to_members,
)
from meshhw.dare.kdf import header_mac
from meshhw.dare.prepare import Cipher, Prepared
from meshhw.dare.read import Heading, open_heading
from meshhw.dare.signing import Signer
from meshhw.dare.stream import EnvelopeStream, file_end, file_start, write_body
from meshhw.errors import FormatError, UsageError
from meshhw.udf import fingerprint

_VOIDED = UNAUTHENTICATED | {"signers", "dig"}


def rewrap_stream(
    source: BinaryIO,
    target: BinaryIO,
    finder: KeyFinder,
    readers: Readers,
    *,
    signers: Sequence[Signer] = (),
    known: Sequence[PublicKey] = (),
) -> tuple[SignatureCheck, ...]:
    """Copy an envelope of our form with further `readers`, and tell who had signed it.

    The caller keeps `target` back until this returns. Raises UsageError, SignatureInvalid for a wrong
    signature on the old envelope, FormatError for other forms, and as reading and writing do.
    """
    stream = EnvelopeStream(source)
    heading = open_heading(stream.members, finder)
    if heading.cipher is not Cipher.SEGMENTED:
        raise FormatError("only envelopes of our own form can be given to more readers")
    prepared = _prepared(heading, readers, signers)
    target.write(file_start(prepared.members))
    with BackgroundDigest(digest_name(heading.header)) as digest:
        write_body(target, digest.through(stream.body(keep=KEEP)), None)
        payload_digest = digest.digest()
    claims = gather(heading.members, heading.header, heading.cipher, stream.end())
    checks, _ = check_signatures(claims, payload_digest, known)
    target.write(file_end(prepared.trailer(payload_digest)))
    return checks


def _prepared(heading: Heading, readers: Readers, signers: Sequence[Signer]) -> Prepared:
    recipients = heading.header.recipients + tuple(wrap_seed(heading.seed, reader) for reader in readers)
    if len(recipients) > MAX_RECIPIENTS:
        raise UsageError(f"an envelope has at most {MAX_RECIPIENTS} recipients")
    own = Header(
        recipients=recipients,
        dig=heading.header.dig or SHA512 if signers else None,
        signers=tuple(fingerprint(signer.public) for signer in signers),
    )
    kept: Members = {name: value for name, value in heading.members.items() if name not in _VOIDED}
    members = kept | to_members(own)
    authenticated = authenticated_octets(members)
    members |= to_members(Header(hmac=Binary(header_mac(heading.seed, heading.salt, authenticated))))
    return Prepared(members, Cipher.SEGMENTED, signers, heading.seed, heading.salt, False, authenticated)
