"""One body of promises over every emulated token, and over a real one with `--token URI --wipe`.

With `--reports DIR` the reports are kept there; docs/compatibility.md is made from them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from meshhw.cli.terminal import Terminal
from meshhw.conformance.model import Outcome, Promise, Report
from meshhw.conformance.run import check_token
from meshhw.keystore.api import OpenOptions, Token
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.registry import open_token
from meshhw.keystore.uri import TokenURI

TOKENS = ["software", "softhsm", "nss", "opencryptoki", "swtpm"]
ALWAYS = {Promise.SIGNS, Promise.CONFINED, Promise.HONEST}
"""Promises that apply to every token that makes keys of its own."""


@contextmanager
def opened(token: Token) -> Iterator[Token]:
    try:
        yield token
    finally:
        token.close()


def keep(report: Report, name: str, directory: Path) -> None:
    (directory / f"conformance-{name}.json").write_text(json.dumps(report.json(), indent=1))


def kept(report: Report) -> set[Promise]:
    return {verdict.promise for verdict in report.verdicts if verdict.outcome is Outcome.KEPT}


class VaultToken:
    """A software vault, opened as the emulated tokens are."""

    def __init__(self, path: Path) -> None:
        self._uri = TokenURI.make("software", vault=str(path))

    def open(self) -> Token:
        return open_token(self._uri, OpenOptions(Scripted({PinKind.VAULT: "correct horse"})))


@pytest.fixture
def software_token(tmp_path: Path) -> VaultToken:
    return VaultToken(tmp_path / "vault")


@pytest.mark.parametrize("name", TOKENS)
def test_a_token_keeps_its_promises(name: str, request: pytest.FixtureRequest, reports: Path) -> None:
    with opened(request.getfixturevalue(f"{name}_token").open()) as token:
        report = check_token(token, wipe=True)
    keep(report, name, reports)
    assert [(v.promise.name, v.subject, v.detail) for v in report.broken] == []
    assert kept(report) >= ALWAYS - ({Promise.CONFINED} if name == "software" else set())
    assert report.measurements


def test_the_real_token_keeps_its_promises(real_token: TokenURI, reports: Path) -> None:
    options = OpenOptions(Terminal.from_options(()), deadline=60)
    with opened(open_token(real_token, options)) as token:
        report = check_token(token, wipe=True)
    keep(report, "real", reports)
    assert [(v.promise.name, v.subject, v.detail) for v in report.broken] == []
