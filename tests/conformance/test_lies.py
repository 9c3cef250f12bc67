"""The conformance checks notice each lie, and find no fault in an honest token."""

from __future__ import annotations

import json

import pytest

from meshhw.conformance.model import Outcome, Promise
from meshhw.conformance.run import check_token
from tests.conformance.lying_token import LyingToken

LIES = [
    promise
    for promise in Promise
    if promise
    not in (
        Promise.PURE,
        Promise.DECRYPTS,
        Promise.ATTESTS,
        Promise.PIN,
    )  # checked on the tokens that do them
]


def test_an_honest_token_breaks_nothing() -> None:
    report = check_token(LyingToken())
    assert report.broken == []
    assert {verdict.promise for verdict in report.verdicts if verdict.outcome is Outcome.KEPT} == set(LIES)
    assert {(m.algorithm, m.operation) for m in report.measurements} == {
        pair for pair in LyingToken().capabilities().matrix if pair[1] not in ("generate", "import")
    }


@pytest.mark.parametrize("lie", LIES, ids=lambda promise: promise.name)
def test_a_lie_is_noticed(lie: Promise) -> None:
    report = check_token(LyingToken(lie))
    assert lie in {verdict.promise for verdict in report.broken}


def test_nothing_is_left_on_the_token() -> None:
    token = LyingToken()
    check_token(token)
    assert token.keys() == []
    assert token.data_names() == []


def test_a_report_is_plain_json() -> None:
    report = check_token(LyingToken(Promise.SEALS), counter=iter(range(1000)).__next__)
    told = json.loads(json.dumps(report.json()))
    assert {"promise": "seals", "subject": "token", "outcome": "broken"}.items() <= next(
        verdict for verdict in told["verdicts"] if verdict["promise"] == "seals"
    ).items()
    assert all(row["calls"] == 1 for row in told["measurements"])
