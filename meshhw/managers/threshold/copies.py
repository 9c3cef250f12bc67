"""Renewal copies: a share's scalar, sealed to its token, and that blob encrypted to the group's own key.

Opening one takes a quorum of holders and that very token.
"""

from __future__ import annotations

from meshhw.algorithms import PublicKey
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import HasPublic, KeyRing, RecipientKey
from meshhw.dare.prepare import Outline
from meshhw.dare.read import open_envelope
from meshhw.dare.write import seal


def encrypt_copy(group: PublicKey, sealed: bytes) -> bytes:
    """The copy's file."""
    return seal(sealed, Outline(readers=[RecipientKey(group)])).octets()


def decrypt_copy(key: HasPublic, octets: bytes) -> bytes:
    """The blob that only its token opens. Raises DecryptionFailed, and what the holders raise."""
    return open_envelope(Envelope.parse(octets), KeyRing([key])).payload
