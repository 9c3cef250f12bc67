"""The conformance checks notice each lie, and find no fault in an honest token."""

from __future__ import annotations

import json

import pytest

from meshhw.algorithms import Operation
from meshhw.conformance.model import Outcome, Promise, Report
from meshhw.conformance.run import check_token
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, Scripted
from tests.conformance.lying_pin import PIN, Counter, PinToken
from tests.conformance.lying_token import LyingToken

WAYS = {
    Promise.CONFINED: ("", "export"),
    Promise.PURE: ("context", "prehash"),
    Promise.DECRYPTS: ("oaep-sha256", "oaep-sha1", "nothing"),
    Promise.DELETES: ("", "cached"),
    Promise.SEALS: ("purpose", "blob", "cut"),
    Promise.STORES: ("kept", "stays"),
    Promise.ATTESTS: ("another key", "no chain"),
}
"""Promises that can be broken in several ways; the others in one."""
LIES = [
    (promise, how) for promise in Promise if promise is not Promise.PIN for how in WAYS.get(promise, ("",))
]
NOT_MEASURED = (Operation.GENERATE, Operation.IMPORT, Operation.DECRYPT)


def test_an_honest_token_breaks_nothing() -> None:
    report = check_token(LyingToken())
    assert report.broken == []
    assert {verdict.promise for verdict in report.verdicts if verdict.outcome is Outcome.KEPT} == set(
        Promise
    ) - {Promise.PIN}  # asked where tries may be spent
    assert {(m.algorithm, m.operation) for m in report.measurements} == {
        pair for pair in LyingToken().capabilities().matrix if pair[1] not in NOT_MEASURED
    }


@pytest.mark.parametrize(("lie", "how"), LIES, ids=lambda part: getattr(part, "name", part))
def test_a_lie_is_noticed(lie: Promise, how: str) -> None:
    report = check_token(LyingToken(lie, how))
    assert lie in {verdict.promise for verdict in report.broken}


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


def test_a_report_is_plain_json() -> None:
    report = check_token(LyingToken(Promise.SEALS, "purpose"), counter=iter(range(1000)).__next__)
    told = json.loads(json.dumps(report.json()))
    assert {"promise": "seals", "subject": "token", "outcome": "broken"}.items() <= next(
        verdict for verdict in told["verdicts"] if verdict["promise"] == "seals"
    ).items()
    assert all(row["calls"] == 1 for row in told["measurements"])
