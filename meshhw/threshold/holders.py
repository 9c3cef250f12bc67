"""Asking the holders of a threshold key: in parallel, no more of them than are needed, and naming who
fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from meshhw.algorithms import Algorithm, PublicKey
from meshhw.curves.point import Point
from meshhw.errors import MeshError, NotSupported, ShareError, TokenNotFound
from meshhw.keystore.api import Agrees, AgreesFully, Key
from meshhw.threshold.agreement import Partial, faulty, partial_from_point, partial_from_x
from meshhw.threshold.followup import FollowUp

T = TypeVar("T")


class Holder(Protocol):
    """Somebody who holds one share and answers questions about points with it."""

    @property
    def index(self) -> int:
        """The index of the share."""
        ...

    @property
    def share(self) -> Point:
        """The public point of the share, as the signed descriptor has it."""
        ...

    def partial(self, point: Point) -> Partial:
        """s * point, with or without its sign. Raises any MeshError of the token; ShareError for nonsense."""
        ...


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """A holder whose share is a key in a token on this machine."""

    index: int
    key: Key
    share: Point

    def partial(self, point: Point) -> Partial:
        """Ask the token for the whole point where it gives that, else for the coordinate."""
        curve, peer = point.curve, as_peer(point)
        if isinstance(self.key, AgreesFully):
            result = partial_from_point(curve, self.index, self.key.agree_point(peer))
            return self._relative_to_share(result, point)
        if not isinstance(self.key, Agrees):
            raise NotSupported(f"the key of holder {self.index} does not agree")
        return partial_from_x(curve, self.index, self.key.agree(peer))

    def _relative_to_share(self, result: Partial, asked: Point) -> Partial:
        """The sign that a token gives is that of its own public key and of the peer as it was encoded; both
        may be the opposite of the share's point and of the point that was meant.
        """
        curve = asked.curve
        own = curve.decode(self.key.public.octets)
        if own not in (self.share, -self.share):
            raise faulty(self.index, "holds another key than the descriptor says")
        point = result.point if own == self.share else -result.point
        meant = point if curve.decode(as_peer(asked).octets) == asked else -point
        return Partial(self.index, meant, sign_known=True)


@dataclass(frozen=True, slots=True)
class GivenHolder:
    """A holder elsewhere whose answers have come and were checked against its public share."""

    index: int
    share: Point
    asked: Point
    settled: Partial

    @classmethod
    def of(
        cls, index: int, share: Point, asked: Point, answers: tuple[bytes, bytes], follow_up: FollowUp
    ) -> GivenHolder:
        """The holder of two answers: to `asked`, and to the blinded second question. Raises ShareError."""
        first = partial_from_x(asked.curve, index, answers[0])
        return cls(index, share, asked, follow_up.settle(first, share, answers[1]))

    def partial(self, point: Point) -> Partial:
        """The answer, if it is to this question. Raises ShareError otherwise."""
        if point != self.asked:
            raise ShareError(f"holder {self.index} was not asked this", holder=str(self.index))
        return self.settled


def as_peer(point: Point) -> PublicKey:
    """The public key that a token is given for a point (X25519 loses the sign)."""
    algorithm = Algorithm(point.curve.name)
    return PublicKey(algorithm, point.x_octets() if algorithm is Algorithm.X25519 else point.encode())


@dataclass(frozen=True, slots=True)
class Fault:
    """A holder that could not be used, and why."""

    index: int
    error: MeshError


def gather(
    holders: Sequence[Holder], needed: int, ask: Callable[[Holder], T], report: Callable[[Fault], None]
) -> Iterator[tuple[Holder, T]]:
    """Ask `needed` holders at once; whenever one fails, report it and ask the next.

    Yields answers as they come, at most `needed`. Raises TokenNotFound when too few holders are left.
    """
    waiting = list(holders)
    if len(waiting) < needed:
        raise too_few(needed, len(waiting))
    with _pool(needed) as pool:
        running: dict[Future[T], Holder] = {}

        def start() -> None:
            holder = waiting.pop(0)
            running[pool.submit(ask, holder)] = holder

        for _ in range(needed):
            start()
        answered = 0
        while answered < needed:
            if len(running) + answered < needed:
                raise too_few(needed, len(running) + answered)
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                holder = running.pop(future)
                try:
                    result = future.result()
                except MeshError as error:
                    report(Fault(holder.index, error))
                    if waiting:
                        start()
                    continue
                answered += 1
                yield holder, result


def too_few(needed: int, available: int) -> TokenNotFound:
    """Fewer holders than the threshold can answer."""
    return TokenNotFound(
        f"{needed} holders are needed and {available} can answer",
        hint="insert another holder's token, or ask a holder elsewhere with `meshhw threshold request`",
    )


@contextmanager
def _pool(size: int) -> Iterator[ThreadPoolExecutor]:
    """A pool that does not wait for a token that hangs once the others have answered."""
    pool = ThreadPoolExecutor(max_workers=size, thread_name_prefix="holder")
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def indices(holders: Iterable[Holder]) -> tuple[int, ...]:
    """The indices of these holders."""
    return tuple(holder.index for holder in holders)
