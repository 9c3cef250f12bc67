"""Median latency and number of calls of each warm operation. A table to read, never a pass or fail."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

from meshhw.algorithms import Algorithm, Operation, Tier
from meshhw.conformance import independent
from meshhw.conformance.key_checks import INFO, MESSAGE, PADDINGS
from meshhw.conformance.model import SEALED, Measurement, NotApplicable
from meshhw.conformance.subject import Subject
from meshhw.errors import DecryptionFailed, NotSupported, TokenFault
from meshhw.keystore.api import (
    Agrees,
    AgreesFully,
    CountsCalls,
    Decrypts,
    Key,
    Seals,
    Signs,
    SignsDigest,
    Token,
    UnwrapsAgreed,
)

_RUNS = 7
_BUDGET = 0.3
"""Seconds that one row may take beyond its first calls."""
_COUNTS = 2
"""How often calls are counted: the fewest count, since a token that others use too may be asked once more."""
_USES = {
    Operation.SIGN: Operation.SIGN,
    Operation.SIGN_DIGEST: Operation.SIGN,
    Operation.AGREE: Operation.AGREE,
    Operation.AGREE_POINT: Operation.AGREE,
    Operation.UNWRAP: Operation.UNWRAP,
    Operation.DECRYPT: Operation.DECRYPT,
}
"""What is measured of keys, and the use that a key is made for then."""


def measure(subject: Subject, algorithm: Algorithm) -> Iterator[Measurement]:
    """A row for each operation of that algorithm that the token does."""
    for operation, use in _USES.items():
        tier = subject.capabilities.tier(algorithm, operation)
        if tier is None:
            continue
        try:
            with subject.generated(algorithm, use) as key:
                seconds, calls = _timed(_action(key, operation), subject.token)
        except NotApplicable:
            continue
        except (DecryptionFailed, NotSupported, TokenFault):  # broken promises, which their verdicts tell
            continue
        yield Measurement(algorithm.value, operation, tier, seconds, calls)


def measure_unsealing(subject: Subject) -> Iterator[Measurement]:
    """A row for opening what a token that seals has sealed; the secret is in memory then."""
    token = subject.token
    if not isinstance(token, Seals):
        return
    blob, purpose = token.seal(MESSAGE, b"conformance"), b"conformance"
    tier = Tier.SOFTWARE if token.info().kind == "vault" else Tier.SEALED
    yield Measurement(SEALED, Operation.UNWRAP, tier, *_timed(lambda: token.unseal(blob, purpose), token))


def _action(key: Key, operation: Operation) -> Callable[[], object]:
    if operation is Operation.SIGN and isinstance(key, Signs):
        return lambda: key.sign(MESSAGE)
    if operation is Operation.SIGN_DIGEST and isinstance(key, SignsDigest):
        digest = independent.digest(key.algorithm, MESSAGE)
        return lambda: key.sign_digest(digest)
    if operation is Operation.DECRYPT and isinstance(key, Decrypts):
        return _decryption(key, key)
    partner = independent.Partner.new(key.algorithm)
    peer = partner.public
    if operation is Operation.UNWRAP and isinstance(key, UnwrapsAgreed):
        wrapped = partner.wrap(key.public, INFO, bytes(32))
        return lambda: key.unwrap(peer, INFO, wrapped)
    if operation is Operation.AGREE and isinstance(key, Agrees):
        return lambda: key.agree(peer)
    if operation is Operation.AGREE_POINT and isinstance(key, AgreesFully):
        return lambda: key.agree_point(peer)
    raise NotApplicable("the key does not do this")


def _decryption(key: Key, holder: Decrypts) -> Callable[[], object]:
    for padding in PADDINGS:
        ciphertext = independent.encrypt(key.public, MESSAGE, padding)
        try:
            holder.decrypt(ciphertext, padding)
        except NotSupported:
            continue
        return lambda: holder.decrypt(ciphertext, padding)
    raise NotApplicable("no padding works")


def _timed(action: Callable[[], object], token: Token) -> tuple[float, int | None]:
    action()
    calls = min(token.count_calls(action) for _ in range(_COUNTS)) if isinstance(token, CountsCalls) else None
    taken: list[float] = []
    while len(taken) < _RUNS and sum(taken) < _BUDGET:
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken), calls
