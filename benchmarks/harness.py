"""How everything here is measured.

Both sides run in turn, so that a busy machine slows both; the figure is the ratio of their medians. One has
a limit that it promises to keep (`at most`), or is reported without one.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

Run = Callable[[], object]


@dataclass(frozen=True)
class Figure:
    """One comparison. `ours` and `theirs` do the same work once; `batch` of them are timed together."""

    name: str
    ours: Run
    theirs: Run
    yardstick: str
    limit: float | None = None
    rounds: int = 15
    batch: int = 1


@dataclass(frozen=True)
class Amount:
    """One figure that needs no yardstick: an amount of memory, a rate, a length."""

    name: str
    take: Callable[[], float]
    unit: str
    limit: float
    at_least: bool = False

    @property
    def promise(self) -> str:
        return f"at {'least' if self.at_least else 'most'} {self.limit:,g} {self.unit}"


@dataclass(frozen=True)
class Taken:
    """A figure that was taken."""

    amount: Amount
    value: float

    @property
    def kept(self) -> bool:
        """Whether the figure keeps its limit."""
        return self.value >= self.amount.limit if self.amount.at_least else self.value <= self.amount.limit

    @property
    def verdict(self) -> str:
        """For whoever watches."""
        return "kept" if self.kept else "MISSED"

    def row(self) -> str:
        """A row of the table in docs/performance.md."""
        shown = f"{self.value:,.3g}" if self.value < 1000 else f"{self.value:,.0f}"
        return f"| {self.amount.name} | – | {shown} {self.amount.unit} |  | {self.amount.promise} |"


@dataclass(frozen=True)
class Result:
    """A measured figure, in seconds per piece of work."""

    figure: Figure
    ours: float
    theirs: float

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs

    @property
    def kept(self) -> bool:
        """Whether the figure keeps its limit, if it has one."""
        return self.figure.limit is None or self.ratio <= self.figure.limit

    @property
    def verdict(self) -> str:
        """For whoever watches; nothing where nothing is promised."""
        return "" if self.figure.limit is None else "kept" if self.kept else "MISSED"

    def row(self) -> str:
        """A row of the table in docs/performance.md."""
        limit = "" if self.figure.limit is None else f"at most {self.figure.limit:g}"
        times = f"{_shown(self.ours)} / {_shown(self.theirs)}"
        return f"| {self.figure.name} | {self.figure.yardstick} | {times} | {self.ratio:.2f} | {limit} |"


def measure(figure: Figure | Amount) -> Result | Taken:
    """Warm both sides up once, then time them in turn; or take the amount."""
    if isinstance(figure, Amount):
        return Taken(figure, figure.take())
    figure.ours(), figure.theirs()
    ours, theirs = [], []
    for _ in range(figure.rounds):
        ours.append(_timed(figure.ours, figure.batch))
        theirs.append(_timed(figure.theirs, figure.batch))
    return Result(figure, statistics.median(ours), statistics.median(theirs))


def _timed(work: Run, batch: int) -> float:
    start = time.perf_counter()
    for _ in range(batch):
        work()
    return (time.perf_counter() - start) / batch


def _shown(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale or unit == "µs":
            return f"{seconds / scale:.3g} {unit}"
    raise AssertionError
