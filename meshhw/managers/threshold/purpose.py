"""What a sealed share is bound to, and its octets."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from meshhw.curves.point import Curve, Point
from meshhw.errors import DecryptionFailed
from meshhw.jsonbcd import canonical, encode_base64url


@dataclass(frozen=True, slots=True)
class Place:
    """Which share: its index, its generation and its public point."""

    index: int
    generation: int
    share: Point


class Purpose(StrEnum):
    """What a share is sealed for. A blob opens for nothing else."""

    SIGNING = "meshhw/threshold/signing/1"
    RENEWAL = "meshhw/threshold/renewal/1"

    def octets(self, identifier: bytes, group: Point, place: Place) -> bytes:
        """The octets that the token binds to the blob: format, key, index, generation and public point."""
        return canonical(
            {
                "purpose": self.value,
                "identifier": encode_base64url(identifier),
                "algorithm": group.curve.name,
                "public": encode_base64url(group.encode()),
                "index": place.index,
                "generation": place.generation,
                "share": encode_base64url(place.share.encode()),
            }
        )


def scalar_octets(curve: Curve, scalar: int) -> bytes:
    """A share's scalar as it is sealed: little-endian, the length of the group's order."""
    return scalar.to_bytes(_length(curve), "little")


def scalar_from(curve: Curve, octets: bytes) -> int:
    """The scalar again. Raises DecryptionFailed for octets that are none."""
    scalar = int.from_bytes(octets, "little")
    if len(octets) != _length(curve) or not 0 < scalar < curve.order:
        raise DecryptionFailed("the sealed share is damaged")
    return scalar


def _length(curve: Curve) -> int:
    return -(-curve.order.bit_length() // 8)
