"""Median latency and number of calls of each warm operation. A table to read, never a pass or fail."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

from meshhw.algorithms import Algorithm, Operation
from meshhw.conformance import independent
from meshhw.conformance.key_checks import MESSAGE
from meshhw.conformance.model import Counter, Measurement, NotApplicable
from meshhw.conformance.subject import Subject
from meshhw.keystore.api import Agrees, AgreesFully, Key, Signs, SignsDigest

_RUNS = 7
_BUDGET = 0.3
"""Seconds that one row may take beyond its first call."""


def measure(subject: Subject, algorithm: Algorithm, counter: Counter | None) -> Iterator[Measurement]:
    """A row for each operation of that algorithm that the token does."""
    for operation in (Operation.SIGN, Operation.SIGN_DIGEST, Operation.AGREE, Operation.AGREE_POINT):
        tier = subject.capabilities.tier(algorithm, operation)
        if tier is None:
            continue
        use = Operation.SIGN if operation in (Operation.SIGN, Operation.SIGN_DIGEST) else Operation.AGREE
        try:
            with subject.generated(algorithm, use) as key:
                seconds, calls = _timed(_action(key, operation), counter)
        except NotApplicable:
            continue
        yield Measurement(algorithm, operation, tier, seconds, calls)


def _action(key: Key, operation: Operation) -> Callable[[], object]:
    if operation is Operation.SIGN and isinstance(key, Signs):
        return lambda: key.sign(MESSAGE)
    if operation is Operation.SIGN_DIGEST and isinstance(key, SignsDigest):
        digest = independent.digest(key.algorithm, MESSAGE)
        return lambda: key.sign_digest(digest)
    peer = independent.Partner.new(key.algorithm).public
    if operation is Operation.AGREE and isinstance(key, Agrees):
        return lambda: key.agree(peer)
    if operation is Operation.AGREE_POINT and isinstance(key, AgreesFully):
        return lambda: key.agree_point(peer)
    raise NotApplicable("the key does not do this")


def _timed(action: Callable[[], object], counter: Counter | None) -> tuple[float, int | None]:
    action()
    before = counter() if counter else 0
    action()
    calls = counter() - before if counter else None
    taken: list[float] = []
    while len(taken) < _RUNS and sum(taken) < _BUDGET:
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken), calls
