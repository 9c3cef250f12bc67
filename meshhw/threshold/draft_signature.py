"""Signatures of the Mesh draft's own threshold protocol (threshold-sigs): read and verified, not made.

There a signer has one nonce and no binding factor, so that a co-signer who opens several sessions at once
can forge (Drijvers and others, 2019; the ROS attack, 2020). What comes out is an RFC 8032 signature, except
that the reference hashes Ed25519 under dom2 with an empty context, which no RFC 8032 verifier takes; that
form is told apart here.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum

from meshhw.curves.eddsa import verify
from meshhw.curves.edwards import ED25519, EdwardsCurve
from meshhw.curves.multiply import base_multiple, multiply
from meshhw.curves.scalar import field_of
from meshhw.errors import InvalidPublicKey, SignatureInvalid

_DOM2 = b"SigEd25519 no Ed25519 collisions\x00\x00"


class Form(StrEnum):
    """What a draft signature turned out to be."""

    RFC8032 = "rfc8032"
    """Valid for everybody."""
    EMPTY_CONTEXT = "ed25519ctx-empty"
    """Valid only for readers that hash as the reference did."""


def verify_draft(curve: EdwardsCurve, public: bytes, message: bytes, signature: bytes) -> Form:
    """Which form verifies. Raises SignatureInvalid if none does."""
    try:
        verify(curve, public, message, signature)
    except SignatureInvalid:
        if curve is not ED25519 or not _verifies_with_empty_context(public, message, signature):
            raise
        return Form.EMPTY_CONTEXT
    return Form.RFC8032


def _verifies_with_empty_context(public: bytes, message: bytes, signature: bytes) -> bool:
    try:
        key, commitment = ED25519.decode(public), ED25519.decode(signature[:32])
    except InvalidPublicKey:
        return False
    response = int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or response >= ED25519.order:
        return False
    digest = hashlib.sha512(_DOM2 + signature[:32] + public + message).digest()
    return base_multiple(ED25519, response) == commitment + multiply(key, field_of(ED25519).reduce(digest))
