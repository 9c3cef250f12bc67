"""From what a caller wants to the finished header, before an octet of the body is read."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from io import BytesIO
from typing import BinaryIO

from meshhw.dare import cbc, eds, segments
from meshhw.dare.digests import SHA512
from meshhw.dare.exchange import Readers, wrap_seed
from meshhw.dare.header import (
    MAX_RECIPIENTS,
    MAX_SIGNERS,
    Binary,
    ContentMeta,
    Header,
    Members,
    Recipient,
    SignatureEntry,
    Trailer,
    authenticated_octets,
    to_members,
)
from meshhw.dare.kdf import (
    SALT_OCTETS,
    SEED_OCTETS,
    body_key,
    header_mac,
    legacy_key_and_iv,
    legacy_witness,
    seed_kid,
)
from meshhw.dare.keys import public_to_jose
from meshhw.dare.segments import Octets
from meshhw.dare.signing import SignatureForm, Signer, sign
from meshhw.errors import UsageError
from meshhw.jsonbcd import Value, encode_base64url
from meshhw.udf import fingerprint


class Cipher(StrEnum):
    """The header's `enc`."""

    NONE = "none"
    SEGMENTED = "A256GCM-S"
    CBC = "A256CBC"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A seed and the entries that give it to readers; none in frames that point to an earlier exchange."""

    seed: bytes = field(repr=False)
    kid: str
    recipients: tuple[Recipient, ...] = ()

    @classmethod
    def fresh(cls, readers: Readers, *, compat: bool = False) -> Exchange:
        """A new seed for these readers. Raises UsageError, InvalidPublicKey, NotSupported."""
        if len(readers) > MAX_RECIPIENTS:
            raise UsageError(f"an envelope has at most {MAX_RECIPIENTS} recipients")
        seed = secrets.token_bytes(SEED_OCTETS)
        recipients = tuple(wrap_seed(seed, reader, compat=compat) for reader in readers)
        return cls(seed, seed_kid(seed), recipients)

    def continued(self) -> Exchange:
        """The same exchange for a header that points to the one with the recipients."""
        return Exchange(self.seed, self.kid)


@dataclass(frozen=True, slots=True)
class Outline:
    """What an envelope shall be. Without readers it is not encrypted; without signers not signed.

    `compat` writes what the reference of 2022 reads: AES-256-CBC, and signatures over the body alone. It is
    also the form of plain Mesh objects that others must verify.
    """

    readers: Readers = ()
    signers: Sequence[Signer] = ()
    content: ContentMeta = field(default_factory=ContentMeta)
    annotations: Sequence[bytes] = ()
    envelope_id: str | None = None
    compat: bool = False
    dig: str = SHA512
    """The digest of the body where it is signed; of `compat` the one that there is."""
    extra: Mapping[str, Value] = field(default_factory=dict)
    """Further header members, covered like all others."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A finished header, and what is needed to write the body and the trailer under it."""

    members: Members
    cipher: Cipher
    signers: Sequence[Signer]
    seed: bytes = field(default=b"", repr=False)
    salt: bytes = b""
    compat: bool = False
    authenticated: bytes = b""
    """canonical(header) of an encrypted header of our form."""

    def body(self, source: BinaryIO, *, keep: int | None = None) -> Iterator[Octets]:
        """The stored body of a payload, in pieces, of which each is good while `keep` more are taken."""
        if self.cipher is Cipher.SEGMENTED:
            return segments.encrypt_stream(body_key(self.seed, self.salt), source, keep=keep)
        if self.cipher is Cipher.CBC:
            return cbc.encrypt_stream(*legacy_key_and_iv(self.seed, self.salt), source)
        return iter(lambda: source.read(1 << 20), b"")

    def small_body(self, payload: bytes) -> bytes:
        """The stored body of a payload in memory."""
        if self.cipher is Cipher.SEGMENTED and len(payload) <= segments.SEGMENT:
            return segments.encrypt_one(body_key(self.seed, self.salt), payload)
        return b"".join(self.body(BytesIO(payload)))

    def body_length(self, plain: int | None) -> int | None:
        """Octets of the stored body."""
        if plain is None or self.cipher is Cipher.NONE:
            return plain
        if self.cipher is Cipher.SEGMENTED:
            return segments.stored_length(plain)
        return cbc.stored_length(plain)

    def trailer(self, payload_digest: bytes) -> Members | None:
        """The trailer with every signer's signature; None when nobody signs."""
        if not self.signers:
            return None
        entries = tuple(self._entry(signer, payload_digest) for signer in self.signers)
        return to_members(Trailer(signatures=entries, payload_digest=Binary(payload_digest)))

    def _entry(self, signer: Signer, payload_digest: bytes) -> SignatureEntry:
        form = SignatureForm.BODY if self.compat else SignatureForm.HEADER_AND_BODY
        signature = sign(form, signer, self.members, payload_digest)
        kid = fingerprint(signer.public)
        if not self.compat:
            key = public_to_jose(signer.public)
            return SignatureEntry(alg=form, kid=kid, key=key, signature=Binary(signature))
        witness = Binary(legacy_witness(self.seed, self.salt, signature)) if self.seed else None
        return SignatureEntry(alg=form, kid=kid, signature=Binary(signature), witness=witness)


def prepare(outline: Outline, exchange: Exchange | None = None, *, salt: bytes = b"") -> Prepared:
    """The header of an envelope; `exchange` when the seed was agreed before, `salt` when the body was made
    before. Raises UsageError, InvalidPublicKey, NotSupported."""
    if len(outline.signers) > MAX_SIGNERS:
        raise UsageError(f"an envelope has at most {MAX_SIGNERS} signers")
    if exchange is None and not outline.readers:
        members = _plain_members(outline)
        return Prepared(members, Cipher.NONE, outline.signers, compat=outline.compat)
    if outline.compat and not outline.signers:
        raise UsageError(
            "the form of 2022 protects nothing unless it is signed", hint="sign it, or leave --compat away"
        )
    exchange = exchange or Exchange.fresh(outline.readers, compat=outline.compat)
    salt = salt or secrets.token_bytes(SALT_OCTETS)
    cipher = Cipher.CBC if outline.compat else Cipher.SEGMENTED
    members = _encrypted_members(outline, exchange, salt, cipher)
    authenticated = b""
    if cipher is Cipher.SEGMENTED:
        authenticated = authenticated_octets(members)
        members["hmac"] = encode_base64url(header_mac(exchange.seed, salt, authenticated))
    return Prepared(members, cipher, outline.signers, exchange.seed, salt, outline.compat, authenticated)


def _common(outline: Outline) -> Members:
    if not outline.signers and outline.envelope_id is None:
        return {}
    common = Header(
        envelope_id=outline.envelope_id,
        dig=outline.dig if outline.signers else None,
        signers=() if outline.compat else tuple(fingerprint(signer.public) for signer in outline.signers),
    )
    return to_members(common)


def _plain_members(outline: Outline) -> Members:
    annotations = zip(eds.prefixes(len(outline.annotations)), outline.annotations, strict=True)
    own = Header(
        content_meta=_content(outline),
        annotations=tuple(Binary(eds.write_eds(prefix, data)) for prefix, data in annotations),
    )
    return _common(outline) | to_members(own) | dict(outline.extra)


def _encrypted_members(outline: Outline, exchange: Exchange, salt: bytes, cipher: Cipher) -> Members:
    encrypt = eds.encrypt_legacy if outline.compat else eds.encrypt_eds
    content = _content(outline)
    texts = ([content] if content else []) + list(outline.annotations)
    pairs = zip(eds.prefixes(len(texts)), texts, strict=True)
    sequences = [encode_base64url(encrypt(exchange.seed, salt, prefix, data)) for prefix, data in pairs]
    members = _common(outline)  # by hand, since every file of an archive passes here
    members |= {"enc": cipher.value, "kid": exchange.kid, "Salt": encode_base64url(salt)}
    if exchange.recipients:
        members |= to_members(Header(recipients=exchange.recipients))
    if content:
        members["cloaked"] = sequences.pop(0)
    if sequences:
        members["annotations"] = list(sequences)
    return members | dict(outline.extra)


def _content(outline: Outline) -> Binary | None:
    return None if outline.content == ContentMeta() else Binary(outline.content.octets())
