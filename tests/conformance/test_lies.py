"""The conformance checks notice each lie, and find no fault in an honest token."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from meshhw.algorithms import Algorithm, Operation
from meshhw.cli.check import as_text
from meshhw.conformance.model import SEALED, Outcome, Promise, Report
from meshhw.conformance.run import check_token
from meshhw.errors import TokenFull
from meshhw.keystore.api import Capabilities, Key, KeySpec, OpenOptions, Token
from meshhw.keystore.interaction import PinKind, Scripted
from tests.conformance.lying_pin import PIN, Counter, PinToken
from tests.conformance.lying_token import LyingToken

WAYS = {
    Promise.CONFINED: ("", "export"),
    Promise.PURE: ("context", "prehash"),
    Promise.UNWRAPS: ("info", "unchecked", "cut"),
    Promise.DECRYPTS: ("oaep-sha256", "oaep-sha1", "nothing"),
    Promise.DELETES: ("", "cached"),
    Promise.SEALS: ("purpose", "blob", "cut"),
    Promise.STORES: ("kept", "stays", "full for others", "lost", "tiny"),
    Promise.HONEST: ("", "told late", "never told"),
    Promise.ATTESTS: ("another key", "no chain"),
}
"""Promises that can be broken in several ways; the others in one."""
LIES = [
    (promise, how) for promise in Promise if promise is not Promise.PIN for how in WAYS.get(promise, ("",))
]
NOT_MEASURED = (Operation.GENERATE, Operation.IMPORT)


def test_an_honest_token_breaks_nothing() -> None:
    report = check_token(LyingToken())
    assert report.broken == []
    assert {verdict.promise for verdict in report.verdicts if verdict.outcome is Outcome.KEPT} == set(
        Promise
    ) - {Promise.PIN}  # asked where tries may be spent
    assert {(m.algorithm, m.operation) for m in report.measurements} == {
        pair for pair in LyingToken().capabilities().matrix if pair[1] not in NOT_MEASURED
    } | {(SEALED, Operation.UNWRAP)}


@pytest.mark.parametrize(("lie", "how"), LIES, ids=lambda part: getattr(part, "name", part))
def test_a_lie_is_noticed(lie: Promise, how: str) -> None:
    report = check_token(LyingToken(lie, how))
    assert lie in {verdict.promise for verdict in report.broken}


def test_a_token_that_says_it_is_full_and_is_not_is_noticed() -> None:
    report = check_token(LyingToken(how="full"))
    assert report.broken
    assert all("it said that it was full" in verdict.detail for verdict in report.broken)


class SmallToken(LyingToken):
    """Has room for so many keys."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room

    def generate(self, spec: KeySpec) -> Key:
        if len(self.keys()) == self._room:
            raise TokenFull("no room")
        return super().generate(spec)


@pytest.mark.parametrize("room", [2, 3])
def test_a_token_with_room_for_few_keys_breaks_nothing(room: int) -> None:
    assert check_token(SmallToken(room)).broken == []


class ShortToken(LyingToken):
    """Keeps few octets under a name."""

    def store_data(self, name: str, data: bytes, *, private: bool = True) -> None:
        if len(data) > 128:
            raise TokenFull("no room")
        super().store_data(name, data, private=private)


def test_a_token_with_room_for_few_octets_breaks_nothing() -> None:
    assert check_token(ShortToken()).broken == []


class SilentToken(LyingToken):
    """Tells of one algorithm only once it has a key of it, and says that its matrix is not complete."""

    def capabilities(self) -> Capabilities:
        told = super().capabilities()
        seen = any(key.algorithm is Algorithm.ED25519 for key in self.keys())
        matrix = {
            pair: tier for pair, tier in told.matrix.items() if seen or pair[0] is not Algorithm.ED25519
        }
        return replace(told, matrix=matrix, complete=False)


def test_a_token_that_tells_once_a_key_was_made_breaks_nothing() -> None:
    assert check_token(SilentToken()).broken == []


def report_of(how: str) -> Report:
    token = PinToken(how, OpenOptions(Scripted({PinKind.USER: PIN})), Counter())
    return check_token(token, wipe=True, again=token.again)


def test_an_honest_pin_costs_one_try() -> None:
    report = report_of("honestly")
    assert report.broken == []
    assert Promise.PIN in {verdict.promise for verdict in report.verdicts if verdict.outcome is Outcome.KEPT}


@pytest.mark.parametrize("how", ["asks twice", "accepts it", "spends two", "tells another number"])
def test_a_lie_about_the_pin_is_noticed(how: str) -> None:
    assert {verdict.promise for verdict in report_of(how).broken} == {Promise.PIN}


def test_nothing_is_left_on_the_token() -> None:
    token = LyingToken()
    check_token(token)
    assert token.keys() == []
    assert token.data_names() == []


class CountingToken(LyingToken):
    """Is asked once more than needed the first time that it counts."""

    def __init__(self) -> None:
        super().__init__(Promise.SEALS, "purpose")
        self._disturbed = False

    def count_calls(self, work: Callable[[], object]) -> int:
        self._disturbed = not self._disturbed
        work()
        return 1 + self._disturbed


def test_a_report_is_plain_json() -> None:
    report = check_token(CountingToken())
    told = json.loads(json.dumps(report.json()))
    assert {"promise": "seals", "subject": "token", "outcome": "broken"}.items() <= next(
        verdict for verdict in told["verdicts"] if verdict["promise"] == "seals"
    ).items()
    assert {row["calls"] for row in told["measurements"]} == {1}
    assert {row["calls"] for row in check_token(LyingToken()).json()["measurements"]} == {None}


def table_of(token: Token) -> list[list[str]]:
    return [line.split() for line in as_text(check_token(token)).rpartition("\n\n")[2].splitlines()]


def test_the_table_tells_the_calls_of_each_operation() -> None:
    head, *rows = table_of(CountingToken())
    assert head == ["algorithm", "operation", "tier", "ms", "calls"]
    assert ["P-256", "sign", "software", "1"] in [row[:3] + row[4:] for row in rows]
    assert {row[-1] for row in rows} == {"1"}
    _, *uncounted = table_of(LyingToken())
    assert {row[-1] for row in uncounted} == {"-"}
