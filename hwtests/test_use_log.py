"""What the use log hears of a key's whole life, from every driver's emulated token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

import pytest

from hwtests.families import FAMILIES
from hwtests.family import Family
from meshhw.algorithms import Operation
from meshhw.errors import KeyNotFound, MeshError, StateError
from meshhw.keystore.api import Deletes, Key, Token
from meshhw.keystore.uri import KeyURI


@dataclass
class Log:
    """A use log in memory, which can be as full as a disk."""

    lines: list[tuple[str, str, str]] = field(default_factory=list)
    full: bool = False

    def record(self, key: KeyURI, operation: Operation, result: str) -> None:
        if self.full:
            raise StateError("the use log cannot be written")
        self.lines.append((str(key), operation.value, result))


MAKING = ("software", "softhsm", "nss", "swtpm", "piv")
"""Whose tokens make keys that sign a message: one and more of each driver."""


@pytest.fixture(params=MAKING)
def family(request: pytest.FixtureRequest) -> Iterator[Family]:
    made = FAMILIES[request.param](request)
    yield made
    made.heal()


@pytest.fixture
def authenticator(request: pytest.FixtureRequest) -> Iterator[Family]:
    made = FAMILIES["ctap"](request)
    yield made
    made.heal()


def destroy(token: Token, key: Key) -> None:
    assert isinstance(token, Deletes)
    token.delete(key.uri)


def test_a_key_is_made_used_and_destroyed(family: Family) -> None:
    log = Log()
    with closing(family.open(recorder=log)) as token:
        subject = family.subject(token)
        key = subject.key
        assert key is not None
        subject.use()
        destroy(token, key)
        with pytest.raises(KeyNotFound):
            destroy(token, key)
        family.pull()
        with pytest.raises(MeshError) as caught:
            family.make_key(token)
        family.put_back()
    uri, token_uri = str(key.uri), str(token.info().uri).partition("?")[0]
    assert log.lines == [
        (uri, "generate", "ok"),
        (uri, "sign", "ok"),
        (uri, "delete", "ok"),
        (uri, "delete", "KeyNotFound"),
        (token_uri, "generate", type(caught.value).__name__),
    ]


def test_a_key_that_cannot_be_recorded_is_not_left_behind(family: Family) -> None:
    log = Log()
    with closing(family.open(recorder=log)) as token:
        before = len(token.keys())
        log.full = True
        with pytest.raises(StateError):
            family.make_key(token)
        log.full = False
        assert len(token.keys()) == before


def test_an_authenticators_key_is_made_and_used(authenticator: Family) -> None:
    log = Log()
    with closing(authenticator.open(recorder=log)) as token:
        subject = authenticator.subject(token)
        subject.use()
    assert [line[1:] for line in log.lines] == [("generate", "ok"), ("unwrap", "ok")]
    assert log.lines[0][0] == log.lines[1][0]
