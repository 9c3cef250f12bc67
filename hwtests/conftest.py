"""Options for tokens that are not emulated, and a place for the reports."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hwtests.family import Unable
from meshhw.keystore.uri import TokenURI
from meshhw.lab.fixtures_piv import PCSC_DIRECTORY
from meshhw.lab.vpcd import PcscDaemon, lab_directory

REAL_REPORT = pytest.StashKey[Path]()
ONLY_ONE = ("opencryptoki",)
"""What a machine has once: tests that use it have a fixture or a parameter of that name, and it in theirs."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("meshhw")
    group.addoption("--token", metavar="URI", help="check this real token alone (PIN by MESHHW_PIN_SOURCE)")
    group.addoption("--wipe", action="store_true", help="make and destroy keys on it, and spend PIN tries")
    group.addoption("--attended", action="store_true", help="a person is here to pull and to touch it")
    group.addoption("--patience", metavar="S", type=float, help="seconds to wait for a touch (60)")
    group.addoption(
        "--reports", metavar="DIR", type=Path, help="keep the conformance and fault reports there"
    )


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """A family of tokens that cannot suffer a fault has no such test; the reason is told."""
    try:
        return (yield)
    except Unable as reason:
        pytest.skip(str(reason))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A real token has its tests alone."""
    others = collection_path.name.startswith("test_") and collection_path.name != "test_real.py"
    return True if others and config.getoption("--token") else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """What a machine has once is tested in one process of several.

    Told by the tests' names, since xdist's own groups come to nothing with pytest from 9.2 on.
    """
    from xdist.scheduler import LoadScopeScheduling

    class OnlyOne(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((name for name in ONLY_ONE if name in nodeid), nodeid)

    return OnlyOne(config, log) if config.getvalue("dist") == "loadgroup" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that uses what a machine has once has its name. Raises UsageError otherwise."""
    for item in items:
        for only_one in ONLY_ONE:
            if any(only_one in name for name in _asked_for(item)) and only_one not in item.nodeid:
                raise pytest.UsageError(f"{item.nodeid} uses {only_one}: it must have that in its name")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Name the socket of the lab's PC/SC service before the first test: the PC/SC library settles for one
    when a process first calls it, and a look for any token calls it, in tests outside this directory too."""
    here, config = Path(__file__).parent, session.config
    if config.getoption("--token") or not any(item.path.is_relative_to(here) for item in session.items):
        return
    directory = config.stash[PCSC_DIRECTORY] = lab_directory()
    os.environ.update(PcscDaemon(directory).environment())
    config.add_cleanup(partial(shutil.rmtree, directory, ignore_errors=True))


def _asked_for(item: pytest.Item) -> list[str]:
    """Names of the fixtures and parameters of a test."""
    values = getattr(item, "callspec", None)
    return [*getattr(item, "fixturenames", []), *(map(str, values.params.values()) if values else [])]


@pytest.fixture(scope="session", autouse=True)
def pcsc_before_anybody_asks(request: pytest.FixtureRequest) -> None:
    """The lab's service runs before the first test here. Tests of cards skip where it cannot."""
    if not request.config.getoption("--token"):
        with contextlib.suppress(pytest.skip.Exception):
            request.getfixturevalue("pcsc_lab")


@pytest.fixture
def real_token(request: pytest.FixtureRequest) -> TokenURI:
    """The real token that the operator named and gave up to be wiped."""
    named = request.config.getoption("--token")
    if not named:
        pytest.skip("no real token was named: --token URI --wipe")
    if not request.config.getoption("--wipe"):
        pytest.exit(f"{named}: keys will be made and removed on it and PIN tries spent; say --wipe", 2)
    return TokenURI.parse(named)


@pytest.fixture(scope="session")
def reports(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where reports are kept."""
    kept: Path | None = request.config.getoption("--reports")
    if kept is None:
        return tmp_path_factory.mktemp("reports")
    kept.mkdir(parents=True, exist_ok=True)
    return kept


@pytest.fixture(scope="session")
def real_report(request: pytest.FixtureRequest, reports: Path) -> Iterator[dict[str, Any]]:
    """What comes out of a real token's tests; in the end a file for docs/reports."""
    told: dict[str, Any] = {}
    yield told
    if "verdicts" in told:
        name = re.sub(r"[^a-z0-9]+", "-", f"{told['driver']} {told['model']} {told['firmware']}".lower())
        path = reports / f"{name.strip('-')}.json"
        path.write_text(json.dumps(told, indent=1) + "\n")
        request.config.stash[REAL_REPORT] = path


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT has its effect also where the tests run in the background, for which a shell switches it off."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Where a real token's report is, and what becomes of it."""
    path = config.stash.get(REAL_REPORT, None)
    if path is not None and config.getoption("--reports"):
        terminalreporter.line(f"{path} is a row for docs/compatibility.md: see docs/reports/README.md")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember how each promise came out, for the table in docs/reliability.md.

    A family that is skipped before its tests begin, since something is missing here, has no place in it.
    """
    if "test_promises.py::" not in report.nodeid or (report.when != "call" and not report.failed):
        return
    name, _, family = report.nodeid.split("::")[1].partition("[")
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
    family = family.partition("]")[0].split("-")[0]  # what follows is for how long, or a group
    _outcomes[f"{name} {family}"] = {"outcome": report.outcome, "reason": str(reason)}


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the outcomes of the promises where `--reports` says."""
    kept: Path | None = session.config.getoption("--reports", None)
    one_of_several = hasattr(session.config, "workerinput")  # they report to the process that started them
    if kept is not None and _outcomes and not one_of_several:
        kept.mkdir(parents=True, exist_ok=True)
        page = kept / "promises.json"
        before = json.loads(page.read_text()) if page.exists() else {}
        page.write_text(json.dumps(before | _outcomes, indent=1, sort_keys=True))


_outcomes: dict[str, dict[str, str]] = {}
