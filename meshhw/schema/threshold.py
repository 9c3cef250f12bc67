"""The public descriptor of a threshold key: who holds which share of what, signed by a device.

It is this project's own object (docs/formats.md), carried in an S512H envelope. Points are in the complete
form of their curve: 33 or 57 octets on Montgomery curves, SEC 1 uncompressed on NIST curves, RFC 8032 on
Edwards curves.
"""

from __future__ import annotations

from datetime import datetime

from meshhw.errors import FormatError
from meshhw.schema.core import Enveloped, MeshObject
from meshhw.schema.key import KeyData

FORMAT = 1
MAX_HOLDERS = 15
MAX_CHANGES = 64
"""Descriptors under one signature."""


class ThresholdHolder(MeshObject):
    """One holder: the index of its share, the share's public point, and where it lies."""

    index: int
    share: bytes
    token: str
    """The URI of the token."""
    key: str | None = None
    """The URI of a native share; absent for a share that is sealed to the token."""
    tier: str | None = None


class ThresholdKey(MeshObject):
    """One key in shares. Shares of different generations do not combine."""

    algorithm: str
    udf: str
    public: bytes
    threshold: int
    generation: int
    commitments: tuple[bytes, ...] = ()
    """Of the polynomial's coefficients, lowest first: the first is `public`. None for a dealerless key."""
    holders: tuple[ThresholdHolder, ...] = ()

    def holder(self, index: int) -> ThresholdHolder:
        """The holder of a share. Raises FormatError."""
        for holder in self.holders:
            if holder.index == index:
                return holder
        raise FormatError(f"the descriptor has no holder {index}")


class RetiredShare(MeshObject):
    """A share of an earlier generation and whether its destruction was confirmed."""

    index: int
    generation: int
    token: str
    key: str
    destroyed: bool


class ThresholdDescriptor(MeshObject):
    """Everything public about a threshold key of some name. `version` grows with every change."""

    format: int
    name: str
    identifier: bytes
    """16 random octets that no other key of this name has."""
    version: int
    created: datetime
    suite: str
    renewable: bool
    dealerless: bool
    devices: tuple[KeyData, ...]
    """The signature keys of the devices that may change this descriptor and ask holders."""
    decryption: ThresholdKey | None = None
    signing: ThresholdKey | None = None
    retired: tuple[RetiredShare, ...] = ()


class ThresholdChanges(MeshObject):
    """Descriptors that a device changes together: what it signs in their place."""

    digests: tuple[bytes, ...] = ()
    """H of each one's octets."""


class ThresholdChanged(MeshObject):
    """One of them. Nobody signs this itself."""

    descriptor: bytes
    """The octets of the tagged ThresholdDescriptor."""
    enveloped_changes: Enveloped[ThresholdChanges]


class ThresholdRequest(MeshObject):
    """A device asks holders elsewhere for their part in one decryption."""

    id: bytes
    """16 random octets. A holder answers an id once."""
    name: str
    identifier: bytes
    generation: int
    purpose: str
    header: bytes
    """The envelope's header as JSON; its `epk` for the group is the point that is asked about."""
    epk: bytes
    verification: bytes
    """A second point, blinded, whose answer shows that the first is right."""
    response_key: bytes
    """The X25519 public key, used once, that the answer is encrypted to."""
    created: datetime
    expires: datetime
    descriptor: bytes
    """The signed descriptor's envelope."""


class ThresholdAnswer(MeshObject):
    """One holder's answers to the two points: x-coordinates as its token gives them."""

    index: int
    epk: bytes
    verification: bytes


class ThresholdResponse(MeshObject):
    """What holders on one machine answer to a request."""

    id: bytes
    generation: int
    answers: tuple[ThresholdAnswer, ...]
