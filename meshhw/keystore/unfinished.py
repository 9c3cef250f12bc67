"""Keys that an interrupted making left on a token, and that no listing shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from meshhw.keystore.uri import KeyURI


@runtime_checkable
class TellsUnfinished(Protocol):
    """A token that knows of keys which it was asked to make and whose public half nobody was told."""

    def unfinished(self) -> Sequence[KeyURI]:
        """Their names; `Deletes.delete` takes them, and a new key may take their place."""
        ...
