"""Signatures of envelopes: what is signed, by which keys, and how it is checked (DARE section 2.6)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from meshhw.algorithms import Family, PublicKey
from meshhw.curves.check import is_valid_peer
from meshhw.dare.header import SignatureEntry, authenticated_octets
from meshhw.dare.keys import public_from_jose
from meshhw.dare.local import NIST
from meshhw.dare.naming import era_of
from meshhw.errors import NotSupported, SignatureInvalid
from meshhw.jsonbcd import Value
from meshhw.keystore.api import SignsDigest
from meshhw.pubkeys import to_cryptography
from meshhw.udf import Era, fingerprint

_PREFIX = b"meshhw/sign/1"


class SignatureForm(StrEnum):
    """What a signature covers, as its entry's `alg` says."""

    HEADER_AND_BODY = "S512H"
    """Ours: header, body and the signer's public key."""
    BODY = "S512"
    """The published form: the body's digest alone."""


class Signer(Protocol):
    """A key that signs (`meshhw.keystore.api.Signs`) and says which."""

    @property
    def public(self) -> PublicKey:
        """The key that the signature verifies under."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The signature over a message."""
        ...


def message_of(
    form: SignatureForm, public: PublicKey, members: Mapping[str, Value], payload_digest: bytes
) -> bytes:
    """The octets that are signed: 77 in our form, the digest's 64 in the published one."""
    if form is SignatureForm.BODY:
        return payload_digest
    header_digest = hashlib.sha512(authenticated_octets(members)).digest()
    return _PREFIX + hashlib.sha512(public.octets + header_digest + payload_digest).digest()


def sign(form: SignatureForm, signer: Signer, members: Mapping[str, Value], payload_digest: bytes) -> bytes:
    """A signature, verified before it is given out. Raises SignatureInvalid, NotSupported and what the key
    raises."""
    public = signer.public
    if form is SignatureForm.BODY and public.algorithm.family is not Family.EDWARDS:
        raise NotSupported(
            f"the published signature is made with Ed448 or Ed25519, not with {public.algorithm}",
            hint="leave --compat away, or sign with another key",
        )
    message = message_of(form, public, members, payload_digest)
    signature = signer.sign(message)
    verify(public, message, signature)
    return signature


def digest_signature(key: SignsDigest, public: PublicKey, message: bytes) -> bytes:
    """ECDSA over a message by a key that signs digests."""
    digest = NIST[public.algorithm][1]
    return key.sign_digest(hashlib.new(digest.name, message).digest())


def verify(public: PublicKey, message: bytes, signature: bytes) -> None:
    """Check pure EdDSA or ECDSA with s low.

    Raises SignatureInvalid, also for an EdDSA key of small order, under which one signature fits any message.
    """
    key = to_cryptography(public)
    try:
        if isinstance(key, (ed448.Ed448PublicKey, ed25519.Ed25519PublicKey)):
            key.verify(signature, message)
            _require_binding(public)
            return
        if isinstance(key, ec.EllipticCurvePublicKey):
            _verify_ecdsa(key, public, message, signature)
            return
    except InvalidSignature as error:
        raise SignatureInvalid(f"the signature of {fingerprint(public)} does not verify") from error
    raise SignatureInvalid(f"a key of {public.algorithm} signs no envelopes")


@lru_cache(64)
def _require_binding(public: PublicKey) -> None:
    """The library lets Ed25519 keys of any order and spelling pass."""
    if not is_valid_peer(public.algorithm.value, public.octets):
        raise SignatureInvalid(
            f"the key {fingerprint(public)} binds nobody to what it signs",
            hint="it is of small order, or not spelled as RFC 8032 has it; ask for a correct one",
        )


def find_signer(entry: SignatureEntry, known: Sequence[PublicKey]) -> tuple[PublicKey, Era] | None:
    """The public key that an entry's `kid` is the fingerprint of, the caller's or the entry's own, and the
    fingerprint's era; None when it is unknown. Raises SignatureInvalid when the entry's own is another."""
    embedded = [public_from_jose(entry.key)] if entry.key else []
    for public in (*known, *embedded):
        if era := era_of(public, entry.kid):
            return public, era
    if embedded:
        raise SignatureInvalid("the key beside a signature is not the one that its kid names")
    return None


def _verify_ecdsa(
    key: ec.EllipticCurvePublicKey, public: PublicKey, message: bytes, signature: bytes
) -> None:
    _, digest, order = NIST[public.algorithm]
    size = public.algorithm.field_length
    r, s = (int.from_bytes(part, "big") for part in (signature[:size], signature[size:]))
    if len(signature) != 2 * size or s > order // 2:
        raise SignatureInvalid("an ECDSA signature is not r || s of fixed length with s low")
    key.verify(encode_dss_signature(r, s), message, ec.ECDSA(digest))
