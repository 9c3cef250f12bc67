"""What a device says of its stores in a directory that devices share (docs/formats.md, Synchronised stores).

These classes are this project's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshhw.schema.core import Enveloped, MeshObject

if TYPE_CHECKING:
    from meshhw.schema.connection import ConnectionDevice


class StoreHead(MeshObject):
    """The head of one store's sequence."""

    store: str | None = None
    sequence_id: bytes | None = None
    index: int | None = None
    tree_digest: bytes | None = None


class StoreHeads(MeshObject):
    """All heads of one device, signed by its connected key or by an administrator's."""

    profile_udf: str | None = None
    author: str | None = None
    """The fingerprint of the key that signs."""
    number: int | None = None
    """Grows with every statement of one author."""
    heads: tuple[StoreHead, ...] = ()
    enveloped_connection_device: Enveloped[ConnectionDevice] | None = None
    """The author's connection; absent when the key is an administrator's."""
    proof: bytes | None = None
    """That the connection was there before the administrator who signed it was removed."""
