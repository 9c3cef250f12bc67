"""Work on several things at once, handed out in their order: what is digested, encrypted, read and written
releases the interpreter, and one digest takes longer than all else that is done with a file."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

WORKERS = 2
_STARTED = WORKERS + 1
"""Started and not handed out yet: one is taken while the workers have their next."""
_PASSED = 256
"""Items in all that wait behind one which is worked on."""
Item = TypeVar("Item")
Made = TypeVar("Made")


@contextmanager
def made_ahead(
    items: Iterable[Item], worth: Callable[[Item], bool], make: Callable[[Item], Made]
) -> Iterator[Iterator[tuple[Item, Made | None]]]:
    """The items in their order, each with what `make` gives for it, on a thread, where it is `worth` that.

    At most three are made and not yet left behind. What `make` raises is raised at its item. When the context
    is left nothing works any more.
    """
    with closing(_in_order(items, worth, make)) as pairs:
        yield pairs


def _in_order(
    items: Iterable[Item], worth: Callable[[Item], bool], make: Callable[[Item], Made]
) -> Generator[tuple[Item, Made | None], None, None]:
    pool: ThreadPoolExecutor | None = None
    waiting: deque[tuple[Item, Future[Made] | None]] = deque()

    def taken() -> tuple[Item, Made | None]:
        item, future = waiting.popleft()
        return item, None if future is None else future.result()

    try:
        for item in items:
            future: Future[Made] | None = None
            if worth(item):
                while sum(future is not None for _, future in waiting) == _STARTED:
                    yield taken()
                pool = pool or _pool()
                future = pool.submit(make, item)
            waiting.append((item, future))
            while waiting and (_is_ready(waiting[0][1]) or len(waiting) > _PASSED):
                yield taken()
        while waiting:
            yield taken()
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def _is_ready(future: Future[Made] | None) -> bool:
    return future is None or future.done()


def _pool() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(WORKERS, "meshhw-ahead")
