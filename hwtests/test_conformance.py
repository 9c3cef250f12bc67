"""One body of promises over every emulated token, and over a real one with `--token URI --wipe`.

With `--reports DIR` the reports are kept there; docs/compatibility.md is made from them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hwtests.candidates import CANDIDATES, PKCS11_OVER_CARDS, Candidate
from meshhw.cli.terminal import Terminal
from meshhw.conformance.model import Outcome, Promise, Report
from meshhw.conformance.run import check_token
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.registry import open_token
from meshhw.keystore.uri import TokenURI

ALWAYS = {Promise.SIGNS, Promise.CONFINED, Promise.HONEST}
"""Promises that apply to every token that makes keys of its own."""
OTHERWISE = {"software": {Promise.SIGNS, Promise.HONEST}, "ctap": {Promise.SEALS}} | {
    name: {Promise.SIGNS}
    for name in PKCS11_OVER_CARDS  # they make no keys for us
}


def check(candidate: Candidate, name: str, directory: Path) -> Report:
    try:
        report = check_token(candidate.token, wipe=True, counter=candidate.counter)
    finally:
        candidate.token.close()
    (directory / f"conformance-{name}.json").write_text(json.dumps(report.json(), indent=1))
    assert [(v.promise.name, v.subject, v.detail) for v in report.broken] == []
    return report


@pytest.mark.parametrize("name", CANDIDATES)
def test_a_token_keeps_its_promises(name: str, request: pytest.FixtureRequest, reports: Path) -> None:
    report = check(CANDIDATES[name](request), name, reports)
    kept = {verdict.promise for verdict in report.verdicts if verdict.outcome is Outcome.KEPT}
    assert kept >= OTHERWISE.get(name, ALWAYS)
    assert report.measurements or name == "ctap"  # an authenticator has no keys to measure


def test_the_real_token_keeps_its_promises(real_token: TokenURI, reports: Path) -> None:
    options = OpenOptions(Terminal.from_options(()), deadline=60)
    check(Candidate(open_token(real_token, options)), "real", reports)
