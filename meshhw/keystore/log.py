"""The use log's seam: drivers tell a recorder of every private-key operation, whoever writes it."""

from __future__ import annotations

from typing import Protocol

from meshhw.algorithms import Operation
from meshhw.keystore.uri import KeyURI


class UseRecorder(Protocol):
    """Told once after every private-key operation, whether it succeeded or not."""

    def record(self, key: KeyURI, operation: Operation, result: str) -> None:
        """`result` is "ok" or the name of the error's class. No secret is ever passed."""
        ...


class NullRecorder:
    """Forgets everything."""

    def record(self, key: KeyURI, operation: Operation, result: str) -> None:
        return None


NULL_RECORDER: UseRecorder = NullRecorder()
