"""One body of checks over any token of any driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from meshhw.algorithms import Algorithm
from meshhw.conformance import key_checks, token_checks
from meshhw.conformance.measure import measure, measure_unsealing
from meshhw.conformance.model import (
    Broken,
    NotApplicable,
    Outcome,
    Promise,
    Report,
    Verdict,
)
from meshhw.conformance.subject import Subject
from meshhw.errors import MeshError, PinIncorrect, PinLocked, PinRequired, TokenRemoved
from meshhw.keystore.api import OpenOptions, Token

KEY_CHECKS: dict[Promise, Callable[[Subject, Algorithm], None]] = {
    Promise.CONFINED: key_checks.confined,
    Promise.SIGNS: key_checks.signs,
    Promise.PURE: key_checks.pure,
    Promise.SIGNS_DIGEST: key_checks.signs_digest,
    Promise.AGREES: key_checks.agrees,
    Promise.UNWRAPS: key_checks.unwraps,
    Promise.POINT: key_checks.full_point,
    Promise.REFUSES_PEERS: key_checks.refuses_peers,
    Promise.DECRYPTS: key_checks.decrypts,
    Promise.IMPORTS: key_checks.imports,
    Promise.CLAMPS: key_checks.clamps,
    Promise.DUPLICATES: key_checks.duplicates,
    Promise.DELETES: key_checks.deletes,
}
TOKEN_CHECKS: dict[Promise, Callable[[Subject], None]] = {
    Promise.SEALS: token_checks.seals,
    Promise.STORES: token_checks.stores,
    Promise.ATTESTS: token_checks.attests,
    Promise.HONEST: token_checks.honest,
}
WIPE_CHECKS: dict[Promise, Callable[[Subject], None]] = {Promise.PIN: token_checks.pin}
_STOPS = (PinIncorrect, PinLocked, PinRequired, TokenRemoved)
"""Faults after which nothing more can be asked: going on could lock the token."""


def check_token(
    token: Token,
    *,
    wipe: bool = False,
    progress: Callable[[str], None] = lambda _: None,
    again: Callable[[OpenOptions], Token] | None = None,
) -> Report:
    """Ask a token for every promise that applies to it.

    Keys are made for the purpose and removed again; with `wipe` also what spends a PIN try is checked, where
    `again` opens the token a second time (its name does without it). A wrong or missing PIN, or a
    token that is gone, ends the run with that error.
    """
    subject = Subject.of(token, again)
    report = Report(token.info())
    try:
        with token.hold():
            for promise, name, check in _checks(subject):
                progress(f"{name}: {promise}")
                report.verdicts.append(_verdict(promise, name, check))
            for algorithm in subject.capabilities.algorithms():
                progress(f"{algorithm}: latency")
                report.measurements += measure(subject, algorithm)
            if report.keeps(Promise.SEALS):
                progress("sealed secrets: latency")
                report.measurements += measure_unsealing(subject)
    finally:
        subject.clear()
    if wipe:  # outside the transaction: the check opens the token a second time
        report.verdicts += [
            _verdict(promise, "token", partial(check, subject)) for promise, check in WIPE_CHECKS.items()
        ]
    return report


def _checks(subject: Subject) -> Iterator[tuple[Promise, str, Callable[[], None]]]:
    for algorithm in subject.capabilities.algorithms():
        for promise, key_check in KEY_CHECKS.items():
            yield promise, algorithm.value, partial(key_check, subject, algorithm)
    for promise, token_check in TOKEN_CHECKS.items():
        yield promise, "token", partial(token_check, subject)


def _verdict(promise: Promise, name: str, check: Callable[[], None]) -> Verdict:
    try:
        check()
    except NotApplicable as reason:
        return Verdict(promise, name, Outcome.NOT_APPLICABLE, str(reason))
    except Broken as reason:
        return Verdict(promise, name, Outcome.BROKEN, str(reason))
    except _STOPS:
        raise
    except MeshError as error:
        return Verdict(promise, name, Outcome.BROKEN, f"{type(error).__name__}: {error.message}")
    return Verdict(promise, name, Outcome.KEPT)
