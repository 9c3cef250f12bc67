"""The trees that Merkle sequences of ours have, by the name in their first frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from meshhw.dare import apextree, merkle
from meshhw.dare.merkle import Digests, Head


class Growth(Protocol):
    """What a tree's next frame needs of those before it."""

    def grow(self, value: bytes) -> Growth:
        """With one leaf more."""

    @property
    def head(self) -> Head:
        """The head of the frames so far."""

    def trailer(self) -> dict[str, bytes]:
        """The digests in the trailer of the last frame so far."""


class Tree(Protocol):
    """One way to hash frames. The modules `merkle` and `apextree` are the two there are."""

    @property
    def NAME(self) -> str: ...  # noqa: N802  # a module's constant

    @property
    def MAX_PROOF(self) -> int: ...  # noqa: N802

    def leaf(self, header: bytes, payload_digest: bytes) -> bytes: ...

    def begin(self) -> Growth: ...

    def resume(self, index: int, digests: Digests) -> Growth: ...

    def prove(self, index: int, head: int, digests: Digests) -> list[bytes]: ...

    def prove_consistency(self, old: int, head: int, digests: Digests) -> list[bytes]: ...

    def check_inclusion(self, index: int, value: bytes, head: Head, proof: Sequence[bytes]) -> None: ...

    def check_consistency(self, old: Head, head: Head, proof: Sequence[bytes]) -> None: ...


CURRENT: Tree = merkle
TREES: dict[str, Tree] = {merkle.NAME: merkle, apextree.NAME: apextree}
