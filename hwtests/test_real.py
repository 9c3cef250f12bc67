"""A real token in its owner's hands: `python -m pytest hwtests --token URI --wipe --attended --reports DIR`.

The report that comes out becomes a row of docs/compatibility.md: docs/reports/README.md says how. Without
`--attended` nobody is asked to pull or to touch the token.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from hwtests.family import signs_rightly
from hwtests.test_conformance import conform
from meshhw.algorithms import Algorithm, Operation
from meshhw.cli.terminal import Terminal
from meshhw.errors import MeshError, NotSupported, OperationTimeout, TokenBusy, TokenRemoved, TouchTimeout
from meshhw.keystore.api import Deletes, Generates, KeySpec, OpenOptions, Seals, Token, TouchPolicy
from meshhw.keystore.registry import open_token
from meshhw.keystore.uri import TokenURI

DEADLINE = 60.0
SOON = 5.0
"""Seconds within which a pulled token is noticed and a touch asked for on any machine; the report has
what it took on this one."""
PURPOSE = b"hwtests"
ALGORITHMS = (Algorithm.P256, Algorithm.ED25519, Algorithm.RSA2048)

Report = MutableMapping[str, Any]
Tell = Callable[[str], None]


@dataclass(slots=True)
class Person(Terminal):
    """The terminal's PIN sources, and somebody who is told when to touch."""

    tell_person: Tell = print
    touches: list[float] = field(default_factory=list)

    def touch(self, label: str) -> None:
        self.touches.append(time.monotonic())
        self.tell_person(f"touch {label}")


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Tell:
    """Says a line to the person, past pytest's capture."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{line}", flush=True)

    return say


@pytest.fixture
def attended(request: pytest.FixtureRequest, tell: Tell) -> Tell:
    """For what takes a person's hands."""
    if not request.config.getoption("--attended"):
        pytest.skip("nobody said that the token can be pulled and touched: --attended")
    return tell


@pytest.fixture
def opened(real_token: TokenURI, tell: Tell) -> Iterator[tuple[Token, Person]]:
    """The token, and the person whom it asks."""
    person = Person(Terminal.from_options(()).ranks, tell_person=tell)
    with closing(open_token(real_token, OpenOptions(person, deadline=DEADLINE))) as token:
        yield token, person


@pytest.fixture
def patience(request: pytest.FixtureRequest) -> float:
    """How many seconds a touch is waited for, if the token does not give up sooner."""
    seconds: float | None = request.config.getoption("--patience")
    return seconds or DEADLINE


def test_the_real_token_keeps_its_promises(opened: tuple[Token, Person], real_report: Report) -> None:
    token, _ = opened
    real_report |= {"date": datetime.now(UTC).date().isoformat(), "attended": {}}
    told = dict(conform(token).json())
    del told["uri"]  # its serial number is its owner's
    real_report |= told


def test_the_real_token_is_pulled_and_put_back(
    opened: tuple[Token, Person], attended: Tell, real_report: Report
) -> None:
    """Pulled while it works: TokenRemoved soon, and the same open token works after its return."""
    token, _ = opened
    if token.info().kind in ("tpm", "vault"):
        pytest.skip(f"a {token.info().kind} cannot be pulled")
    with using(token) as use:
        use()
        attended(f"pull {token.info().uri} now")
        noticed = again_and_again(use, TokenRemoved)
        attended(f"put {token.info().uri} back")
        wait_until(use, TokenRemoved)
    said = f"TokenRemoved within {noticed:.1f} s of a use, and it works again after its return"
    real_report.setdefault("attended", {})["pulled"] = said


def test_the_real_tokens_touch_does_not_come(
    opened: tuple[Token, Person], attended: Tell, patience: float, real_report: Report
) -> None:
    """A touch that does not come: asked for soon, waited for until the deadline, usable afterwards."""
    token, person = opened
    use = wanting_touch(token)
    attended(f"do not touch {token.info().uri} any more, whatever it asks")
    with closing(open_token(token.info().uri, OpenOptions(person, deadline=patience))) as hasty:
        said = untouched(partial(use, hasty), person)
    wait_until(partial(look, token.info().uri, person), TokenBusy)  # it may still wait by itself
    real_report.setdefault("attended", {})["touch not given"] = said


def look(uri: TokenURI, person: Person) -> None:
    """A use that wants no touch."""
    with closing(open_token(uri, OpenOptions(person, deadline=DEADLINE))) as token:
        token.capabilities()


def untouched(use: Callable[[], object], person: Person) -> str:
    """What a use without a touch ends in, and after how long; one that is touched is repeated."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        person.touches.clear()
        began = time.monotonic()
        try:
            use()
        except (TouchTimeout, OperationTimeout) as error:
            waited = time.monotonic() - began
            assert person.touches
            asked = person.touches[0] - began
            assert asked < SOON
            return f"asked for after {asked:.1f} s, {type(error).__name__} after {waited:.0f} s"
    raise AssertionError("it was touched")


class using:  # noqa: N801  (read as a word of the test's sentence)
    """A use of the token that asks nothing of a person: a signature by a key made for it, else a look."""

    def __init__(self, token: Token) -> None:
        self._token, self._key = token, None
        for algorithm in ALGORITHMS:
            if isinstance(token, Generates) and token.capabilities().can(
                algorithm, Operation.GENERATE, Operation.SIGN
            ):
                self._key = token.generate(KeySpec(algorithm, "hwtests", frozenset({Operation.SIGN})))
                break

    def __enter__(self) -> Callable[[], object]:
        key = self._key
        return self._token.capabilities if key is None else lambda: signs_rightly(key)

    def __exit__(self, *exception: object) -> None:
        if self._key is not None and isinstance(self._token, Deletes):
            self._token.delete(self._key.uri)


def again_and_again(use: Callable[[], object], awaited: type[MeshError]) -> float:
    """Use it until it fails as awaited; how many seconds that use took."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        began = time.monotonic()
        try:
            use()
        except awaited:
            taken = time.monotonic() - began
            assert taken < SOON
            return taken
    raise AssertionError("nobody pulled it")


def wait_until(use: Callable[[], object], but_for: type[MeshError]) -> None:
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        with suppress(but_for):
            use()
            return
        time.sleep(0.2)
    raise AssertionError("it did not come back")


def wanting_touch(token: Token) -> Callable[[Any], object]:
    """A use of the token, however opened, that wants a touch. Skips where there is nothing to touch."""
    if isinstance(token, Generates):
        spec = KeySpec(Algorithm.P256, "hwtests", touch_policy=TouchPolicy.ALWAYS)
        with suppress(NotSupported):
            name = token.generate(spec).uri
            return lambda opened: signs_rightly(opened.key(name))
    elif isinstance(token, Seals) and token.info().kind == "authenticator":
        blob = token.seal(b"secret", PURPOSE)
        return lambda opened: opened.unseal(blob, PURPOSE)
    pytest.skip("the token has nothing to touch")
