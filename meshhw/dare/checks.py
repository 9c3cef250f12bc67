"""The signatures of an envelope against its digest, its header and the keys that are known."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from meshhw.algorithms import PublicKey
from meshhw.dare.findings import Finding
from meshhw.dare.header import (
    MAX_SIGNERS,
    Binary,
    Header,
    Members,
    SignatureEntry,
    Trailer,
    spelled,
    to_members,
    view,
)
from meshhw.dare.kdf import legacy_witness
from meshhw.dare.keys import public_to_jose
from meshhw.dare.legacy_signature import verifies_with_empty_context
from meshhw.dare.naming import is_named
from meshhw.dare.prepare import Cipher
from meshhw.dare.signing import SignatureForm, find_signer, message_of, verify
from meshhw.errors import FormatError, SignatureInvalid
from meshhw.jsonbcd import canonical
from meshhw.udf import Era, fingerprint

_TRAILER_MEMBERS = frozenset(("signatures", "PayloadDigest"))


@dataclass(frozen=True, slots=True)
class SignatureCheck:
    """One signature that was looked at. `public` is None when the signer's key is not known: then nothing is
    known of the signature."""

    kid: str
    public: PublicKey | None
    form: SignatureForm


@dataclass(frozen=True, slots=True)
class Claims:
    """What an envelope says of its body's digest and its signatures, wherever it says it."""

    members: Members
    header: Header
    cipher: Cipher
    trailer: Trailer
    entries: tuple[SignatureEntry, ...]
    digest: Binary | None

    @property
    def is_ours(self) -> bool:
        """Whether its signatures are of our form."""
        return bool(self.header.signers) or any(e.alg == SignatureForm.HEADER_AND_BODY for e in self.entries)


def gather(members: Members, header: Header, cipher: Cipher, trailer_members: Members | None) -> Claims:
    """The claims of header and trailer together. Raises FormatError for what stands in both, or too often."""
    trailer = view(trailer_members or {}, Trailer)
    if (header.signatures and trailer.signatures) or (header.payload_digest and trailer.payload_digest):
        raise FormatError("the header and the trailer both hold the signatures or the digest")
    entries = header.signatures or trailer.signatures
    if len(entries) > MAX_SIGNERS:
        raise FormatError(f"an envelope has at most {MAX_SIGNERS} signatures")
    claims = Claims(
        members, header, cipher, trailer, entries, header.payload_digest or trailer.payload_digest
    )
    if claims.is_ours or cipher is Cipher.SEGMENTED:
        _require_our_shape(claims, trailer_members or {})
    return claims


def check_signatures(
    claims: Claims, digest: bytes, known: Sequence[PublicKey], *, seed: bytes = b""
) -> tuple[tuple[SignatureCheck, ...], tuple[Finding, ...]]:
    """Every signature, and what is to be told. Raises SignatureInvalid for a wrong digest or signature, a
    listed signer without a signature, or a signer that is not listed."""
    if claims.digest is not None and not hmac.compare_digest(claims.digest, digest):
        raise SignatureInvalid("the body is not the one that the envelope's digest names")
    if claims.is_ours:
        return _check_ours(claims, digest, known), ()
    checks, findings = [], list(_unsigned(claims))
    for entry in claims.entries:
        check, told = _check_published(claims, entry, digest, known, seed)
        checks.append(check)
        findings += told
    return tuple(checks), tuple(dict.fromkeys(findings))


def _check_ours(claims: Claims, digest: bytes, known: Sequence[PublicKey]) -> tuple[SignatureCheck, ...]:
    unlisted = claims.cipher is Cipher.SEGMENTED and not claims.header.signers
    if unlisted or claims.cipher is Cipher.CBC:
        raise SignatureInvalid("the signatures and the encryption are of different forms")
    checks = tuple(_check_one(claims, entry, digest, known) for entry in claims.entries)
    listed = claims.header.signers
    signed = [check.public for check in checks if check.public is not None]
    missing = [kid for kid in listed if not any(is_named(public, kid) for public in signed)]
    if missing:
        raise SignatureInvalid(f"the signature of {missing[0]} is missing")
    several = len({public.octets for public in signed}) != len(signed)
    if several or (listed and len(signed) != len(listed)):
        raise SignatureInvalid("a signature is by a key that the header does not list")
    return checks


def _check_one(
    claims: Claims, entry: SignatureEntry, digest: bytes, known: Sequence[PublicKey]
) -> SignatureCheck:
    if entry.alg != SignatureForm.HEADER_AND_BODY:
        raise SignatureInvalid("a signature is not of the form that the header announces")
    found = find_signer(entry, known)
    if found is None or found[1] is not Era.CURRENT:
        raise SignatureInvalid(
            f"the signature of {entry.kid} cannot be checked", hint="give the signer's public key"
        )
    public = found[0]
    if entry.kid != fingerprint(public) or entry.key not in (None, spelled(public_to_jose(public))):
        raise SignatureInvalid("a signer's key or name is not spelled as this form is")
    message = message_of(SignatureForm.HEADER_AND_BODY, public, claims.members, digest)
    verify(public, message, entry.signature)
    return SignatureCheck(entry.kid, public, SignatureForm.HEADER_AND_BODY)


def _check_published(
    claims: Claims, entry: SignatureEntry, digest: bytes, known: Sequence[PublicKey], seed: bytes
) -> tuple[SignatureCheck, list[Finding]]:
    findings = [Finding.SIGNATURE_COVERS_BODY_ONLY]
    public, era = find_signer(entry, known) or (None, Era.CURRENT)
    if era is not Era.CURRENT:
        findings.append(Finding.OLDER_FINGERPRINT)
    if public is None:
        findings.append(Finding.SIGNER_UNKNOWN)
    elif verifies_with_empty_context(public, digest, entry.signature):
        findings.append(Finding.ED25519_EMPTY_CONTEXT)
    else:
        verify(public, digest, entry.signature)
    if entry.witness is not None and seed and claims.header.salt:
        expected = legacy_witness(seed, claims.header.salt, entry.signature)
        if not hmac.compare_digest(expected, entry.witness):
            findings.append(Finding.WITNESS_WRONG)
    return SignatureCheck(entry.kid, public, SignatureForm.BODY), findings


def _unsigned(claims: Claims) -> tuple[Finding, ...]:
    if claims.entries:
        return ()
    return (Finding.PLAINTEXT_UNSIGNED if claims.cipher is Cipher.NONE else Finding.UNSIGNED,)


def _require_our_shape(claims: Claims, trailer: Members) -> None:
    """Where neither the MAC nor a signature covers, nothing may stand but the signatures themselves, and
    these have one spelling."""
    stray = set(trailer) - _TRAILER_MEMBERS
    if stray:
        raise FormatError(f"{min(stray)[:40]!r} stands outside what is authenticated")
    uncovered = Trailer(signatures=claims.entries, payload_digest=claims.digest)
    found = {name: value for name, value in (claims.members | trailer).items() if name in _TRAILER_MEMBERS}
    if any(entry.witness for entry in claims.entries) or canonical(to_members(uncovered)) != canonical(found):
        raise FormatError("the signatures are not spelled as this form is")
