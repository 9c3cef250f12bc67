"""Frames of a session that is under way: what their headers share is spelled once.

What is written is octet for octet what `prepare` and `canonical` give, in a third of the time.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import NamedTuple

from meshhw.dare.digests import SHA512
from meshhw.dare.eds import encrypt_eds, prefixes
from meshhw.dare.header import ContentMeta
from meshhw.dare.kdf import SALT_OCTETS, body_key, header_mac
from meshhw.dare.prepare import Exchange, Outline
from meshhw.dare.segments import SEGMENT, encrypt_one
from meshhw.jsonbcd import encode_base64url

_PREFIX = prefixes(1)[0]
_NO_CONTENT = ContentMeta()


class Sealed(NamedTuple):
    """The first two records of a frame, and what its trailer is formed over."""

    header: bytes
    authenticated: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class RunningSession:
    """A session whose recipients stand in an earlier frame of a Merkle sequence."""

    exchange: Exchange = field(repr=False)
    exchange_index: int
    dig: str = SHA512

    @staticmethod
    def takes(outline: Outline, payload: bytes) -> bool:
        """Whether a frame is one of the many that have nothing but a small body and content metadata."""
        special = outline.signers or outline.annotations or outline.extra or outline.envelope_id is not None
        return not special and len(payload) <= SEGMENT

    def seal(self, index: int, pointer: int, content: ContentMeta, payload: bytes) -> Sealed:
        """The frame of this index, whose TreePosition is `pointer`."""
        return self._sealed(secrets.token_bytes(SALT_OCTETS), index, pointer, content, payload)

    def _sealed(self, salt: bytes, index: int, pointer: int, content: ContentMeta, payload: bytes) -> Sealed:
        seed, kid = self.exchange.seed, self.exchange.kid
        cloaked = ""
        if content != _NO_CONTENT:
            cloaked = f',"cloaked":"{encode_base64url(encrypt_eds(seed, salt, _PREFIX, content.octets()))}"'
        front = (
            f'{{"Salt":"{encode_base64url(salt)}",'
            f'"SequenceInfo":{{"ExchangePosition":{self.exchange_index},"Index":{index}'
        )
        back = f'}}{cloaked},"dig":"{self.dig}","enc":"A256GCM-S"'
        authenticated = f'{front}{back},"kid":"{kid}"}}'.encode()
        mac = encode_base64url(header_mac(seed, salt, authenticated))
        header = f'{front},"TreePosition":{pointer}{back},"hmac":"{mac}","kid":"{kid}"}}'.encode()
        return Sealed(header, authenticated, encrypt_one(body_key(seed, salt), payload))
