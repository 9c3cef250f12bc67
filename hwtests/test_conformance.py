"""One body of promises over every emulated token; test_real.py asks a real one.

With `--reports DIR` the reports are kept there; docs/compatibility.md is made from them.
"""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from hwtests.candidates import CANDIDATES, PKCS11_OVER_CARDS, Candidate
from meshhw.conformance.model import Outcome, Promise, Report
from meshhw.conformance.run import check_token
from meshhw.keystore.api import CountsCalls, Token

ALWAYS = {Promise.SIGNS, Promise.CONFINED, Promise.HONEST}
"""Promises that apply to every token that makes keys of its own."""
OTHERWISE = {"software": {Promise.SIGNS, Promise.HONEST}, "ctap": {Promise.SEALS}} | {
    name: {Promise.SIGNS}
    for name in PKCS11_OVER_CARDS  # they make no keys for us
}


def conform(token: Token) -> Report:
    """The report on a token that keeps every promise that applies to it, and tells of its calls."""
    report = check_token(token, wipe=True)
    assert [(v.promise.name, v.subject, v.detail) for v in report.broken] == []
    uncounted = [row for row in report.measurements if not row.calls]
    assert bool(uncounted) == (token.info().kind == "vault")
    return report


def counts_as_the_lab(candidate: Candidate) -> None:
    """Whether the token's own count of calls is what came through below its driver."""
    token, counter = candidate.token, candidate.counter
    if counter is None:
        return
    assert isinstance(token, CountsCalls)
    before = counter()
    told = token.count_calls(lambda: (token.keys(), token.capabilities()))
    assert counter() - before == told
    assert token.count_calls(lambda: None) == 0


@pytest.mark.parametrize("name", CANDIDATES)
def test_a_token_keeps_its_promises(name: str, request: pytest.FixtureRequest, reports: Path) -> None:
    candidate = CANDIDATES[name](request)
    with closing(candidate.token):
        report = conform(candidate.token)
        counts_as_the_lab(candidate)
    (reports / f"conformance-{name}.json").write_text(json.dumps(report.json(), indent=1))
    kept = {verdict.promise for verdict in report.verdicts if verdict.outcome is Outcome.KEPT}
    assert kept >= OTHERWISE.get(name, ALWAYS)
    assert report.measurements
