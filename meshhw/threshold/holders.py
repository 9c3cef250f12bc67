"""Asking the holders of a threshold key: in parallel, no more than are needed, and naming who fails.

Where a token keeps everybody waiting, a spare one is asked beside it, if neither needs a person: a prompt
that was shown for nothing, or that nobody waits for any more, would be worse than the wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, Protocol, TypeVar, runtime_checkable

from meshhw.algorithms import Algorithm, PublicKey
from meshhw.curves.point import Point
from meshhw.errors import MeshError, NotSupported, ShareError, TokenNotFound
from meshhw.keystore.api import Agrees, AgreesFully, Key
from meshhw.threshold.agreement import Partial, faulty, partial_from_point, partial_from_x
from meshhw.threshold.followup import FollowUp

T = TypeVar("T")
PATIENCE = 3.0
"""Seconds without any answer after which a spare holder is asked."""


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


@runtime_checkable
class Unattended(Protocol):
    """Holders that say whether they answer all by themselves."""

    def is_unattended(self) -> bool:
        """Whether no PIN and no touch is needed for the next answer. Asks nobody, nor the token."""
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
    holders: Sequence[Holder],
    needed: int,
    ask: Callable[[Holder], T],
    report: Callable[[Fault], None],
    patience: float = PATIENCE,
) -> Iterator[tuple[Holder, T]]:
    """Ask `needed` holders at once; whenever one fails, report it and ask the next. After `patience` seconds
    in which nobody answered, a spare holder is asked as well, if it and one that is awaited are unattended.

    Yields answers as they come, at most `needed`. Raises TokenNotFound when too few holders are left.
    """
    if len(holders) < needed:
        raise too_few(needed, len(holders))
    asking = _Asking(holders, needed, ask)
    while asking.needed:
        if len(asking.running) < asking.needed:
            raise too_few(needed, needed - asking.needed + len(asking.running))
        holder, answer = asking.next(patience)
        try:
            result = answer.result()
        except MeshError as error:
            report(Fault(holder.index, error))
            asking.refill()
            continue
        asking.needed -= 1
        yield holder, result


class _Asking(Generic[T]):
    """Holders that are asked, each on a thread of its own, and those that are left."""

    def __init__(self, holders: Sequence[Holder], needed: int, ask: Callable[[Holder], T]) -> None:
        self.needed = needed
        self.running: dict[int, Holder] = {}
        self._waiting = list(holders)
        self._ask = ask
        self._answers: SimpleQueue[tuple[Holder, Future[T]]] = SimpleQueue()
        self.refill()

    def refill(self) -> None:
        """Ask as many as are needed still."""
        while self._waiting and len(self.running) < self.needed:
            self._start(self._waiting[0])

    def next(self, patience: float) -> tuple[Holder, Future[T]]:
        """The next answer of any."""
        while True:
            spare = self._spare()
            try:
                holder, answer = self._answers.get(timeout=None if spare is None else patience)
            except Empty:
                assert spare is not None  # without one there is no time limit
                self._start(spare)
                continue
            del self.running[holder.index]
            return holder, answer

    def _spare(self) -> Holder | None:
        """Who could be asked beside those that are awaited; one for each that needs no person."""
        late = sum(map(_is_unattended, self.running.values()))
        if late <= len(self.running) - self.needed:
            return None
        return next(filter(_is_unattended, self._waiting), None)

    def _start(self, holder: Holder) -> None:
        """A token that hangs must not keep the program from ending; a prompt that somebody sees must."""
        self._waiting.remove(holder)
        self.running[holder.index] = holder
        Thread(target=self._run, args=(holder,), name="holder", daemon=_is_unattended(holder)).start()

    def _run(self, holder: Holder) -> None:
        answer: Future[T] = Future()
        try:
            answer.set_result(self._ask(holder))
        except BaseException as error:
            answer.set_exception(error)
        self._answers.put((holder, answer))


def _is_unattended(holder: Holder) -> bool:
    return isinstance(holder, Unattended) and holder.is_unattended()


def too_few(needed: int, available: int) -> TokenNotFound:
    """Fewer holders than the threshold can answer."""
    return TokenNotFound(
        f"{needed} holders are needed and {available} can answer",
        hint="insert another holder's token, or ask a holder elsewhere with `meshhw threshold request`",
    )


def indices(holders: Iterable[Holder]) -> tuple[int, ...]:
    """The indices of these holders."""
    return tuple(holder.index for holder in holders)
