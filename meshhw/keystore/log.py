"""The use log's seam: drivers tell a recorder of every private-key operation, whoever writes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from meshhw.algorithms import Operation
from meshhw.errors import MeshError
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


@contextmanager
def recorded(recorder: UseRecorder, key: KeyURI, operation: Operation) -> Iterator[None]:
    """Tell the recorder how the operation in the block ended."""
    try:
        yield
    except MeshError as error:
        recorder.record(key, operation, type(error).__name__)
        raise
    recorder.record(key, operation, "ok")
