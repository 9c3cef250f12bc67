"""Frames of a session that is under way: what their headers share is spelled once.

What is written is octet for octet what `prepare` and `canonical` give, in a third of the time.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from meshhw.dare.digests import SHA512
from meshhw.dare.eds import encrypt_eds, prefixes
from meshhw.dare.header import ContentMeta
from meshhw.dare.kdf import SALT_OCTETS, body_key, header_mac
from meshhw.dare.prepare import Exchange, Outline
from meshhw.dare.segments import SEGMENT, encrypt_one
from meshhw.dare.trees import Tree
from meshhw.jsonbcd import encode_base64url

if TYPE_CHECKING:
    from hashlib import _Hash

_PREFIX = prefixes(1)[0]
_NO_CONTENT = ContentMeta()


class Sealed(NamedTuple):
    """A frame but for the place where it comes to stand."""

    number: int
    """Its index."""
    front: bytes
    """Its header before the TreePosition."""
    back: bytes
    """And after it."""
    body: bytes
    payload_digest: bytes
    leaf: bytes

    def header(self, pointer: int) -> bytes:
        """The header, whose TreePosition is `pointer`."""
        return b'%b,"TreePosition":%d%b' % (self.front, pointer, self.back)


def pack(frames: list[Sealed]) -> bytes:
    """Sealed frames as octets, between processes of ours."""
    return _PACKER.encode(frames)


def unpack(octets: bytes) -> list[Sealed]:
    """And back."""
    return _UNPACKER.decode(octets)


_PACKER = msgspec.msgpack.Encoder()
_UNPACKER = msgspec.msgpack.Decoder(list[Sealed])


@dataclass(frozen=True, slots=True)
class RunningSession:
    """A session whose recipients stand in an earlier frame of a Merkle sequence."""

    exchange: Exchange = field(repr=False)
    exchange_index: int
    tree: Tree
    digest: Callable[..., _Hash]
    dig: str = SHA512

    @staticmethod
    def takes(outline: Outline, payload: bytes) -> bool:
        """Whether a frame is one of the many that have nothing but a small body and content metadata."""
        special = outline.signers or outline.annotations or outline.extra or outline.envelope_id is not None
        return not special and len(payload) <= SEGMENT

    def seal(self, index: int, content: ContentMeta, payload: bytes) -> Sealed:
        """The frame of this index."""
        return self._sealed(secrets.token_bytes(SALT_OCTETS), index, content, payload)

    def _sealed(self, salt: bytes, index: int, content: ContentMeta, payload: bytes) -> Sealed:
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
        body = encrypt_one(body_key(seed, salt), payload)
        digest = self.digest(body).digest()
        back = f'{back},"hmac":"{mac}","kid":"{kid}"}}'
        return Sealed(
            index, front.encode(), back.encode(), body, digest, self.tree.leaf(authenticated, digest)
        )
