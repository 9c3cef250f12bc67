"""The co-signers of one ceremony: a process for each holder that signs, from its first signature to the end.

What fails, the process itself or its token, is that holder's fault, and it takes no further part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from meshhw.errors import Cancelled, MeshError, ShareError
from meshhw.managers.threshold.worker import Worker

Start = Callable[[int], Worker]
"""Starts the process of the holder of that index."""


class Cosigners:
    """The processes that were started, by the holders' indices; `close` ends them all."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._workers: dict[int, Worker] = {}
        self._committed: set[int] = set()
        self.failed: set[int] = set()
        """Holders that failed in this ceremony."""

    def __contains__(self, index: int) -> bool:
        """Whether that holder has signed, or is about to: its share may be open."""
        return index in self._workers

    def commitments(self, indices: Sequence[int]) -> list[bytes]:
        """New commitments of these holders, whatever their last ones were for. Raises ShareError."""
        for index in indices:
            if index not in self._workers:
                self._workers[index] = self._start(index)
        return [self._commitment(index) for index in indices]

    def answer(self, index: int, message: bytes, commitments: Sequence[bytes]) -> bytes:
        """A holder's part of the signature, for the last commitment that it has made. Raises ShareError."""
        with fault_of(index):
            worker = self._workers[index]
            worker.answer({"message": message, "commitments": list(commitments)})
            answer: bytes = worker.told()
            return answer

    def leave_out(self, index: int) -> None:
        """End a holder's process; it signs no more in this ceremony."""
        self.failed.add(index)
        self._end(index)

    def close(self) -> None:
        """End all processes, and with them what they know."""
        for index in list(self._workers):
            self._end(index)

    def _commitment(self, index: int) -> bytes:
        with fault_of(index):
            worker = self._workers[index]
            if index in self._committed:
                worker.answer(None)
            self._committed.add(index)
            told: bytes = worker.told()
            return told

    def _end(self, index: int) -> None:
        self._committed.discard(index)
        worker = self._workers.pop(index, None)
        if worker is not None:
            worker.close()


@contextmanager
def fault_of(index: int) -> Iterator[None]:
    """One step of a signer; what its token raises is that holder's fault."""
    try:
        yield
    except (Cancelled, ShareError):
        raise
    except MeshError as error:
        fault = ShareError(f"holder {index}: {error.message}", holder=str(index), hint=error.hint)
        raise fault from error
