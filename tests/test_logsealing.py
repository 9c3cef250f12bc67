"""Sealing the use log: nothing lost, nothing doubled, nothing changed unnoticed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meshhw.algorithms import Algorithm, Operation, PrivateKey
from meshhw.dare.header import ContentMeta
from meshhw.dare.local import LocalKey
from meshhw.dare.prepare import Outline
from meshhw.dare.sequence_write import Creation, SequenceWriter, create
from meshhw.errors import IntegrityError, StateError
from meshhw.keystore.uri import KeyURI
from meshhw.managers import logsealing
from meshhw.managers.uselog import UseLog

SIGNER = LocalKey(PrivateKey(Algorithm.ED25519, bytes(range(32))))
KEY = KeyURI.parse("software:id=01")


def record(home: Path, count: int, caller: str) -> None:
    log = UseLog(home / "log.jsonl", caller)
    for _ in range(count):
        log.record(KEY, Operation.SIGN, "ok")
    log.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir(mode=0o700)
    record(path, 5, "first")
    return path


def callers(home: Path) -> list[str]:
    return [entry.caller for entry in logsealing.entries(home)]


def test_entries_are_sealed_and_the_log_goes_on(home: Path) -> None:
    sealed = logsealing.seal(home, SIGNER)
    assert (sealed.entries, sealed.signers) == (5, (SIGNER.public,))
    assert (home / "log.jsonl").read_bytes() == b""
    record(home, 3, "second")
    assert callers(home) == ["first"] * 5 + ["second"] * 3
    assert logsealing.seal(home, SIGNER).entries == 8
    assert callers(home) == ["first"] * 5 + ["second"] * 3
    assert logsealing.verify(home).signers == (SIGNER.public,)


class Refuses:
    """A signer whose token is gone."""

    public = SIGNER.public

    def sign(self, message: bytes) -> bytes:
        raise StateError("gone")


def test_an_interruption_before_the_signature_loses_nothing(home: Path) -> None:
    with pytest.raises(StateError):
        logsealing.seal(home, Refuses())
    assert callers(home) == ["first"] * 5
    assert logsealing.verify(home).signers == ()
    assert logsealing.seal(home, SIGNER).entries == 5


def test_an_interruption_before_the_log_was_emptied_doubles_nothing(home: Path) -> None:
    running = (home / "log.jsonl").read_bytes()
    with pytest.raises(StateError):
        logsealing.seal(home, Refuses())
    (home / "log.jsonl").write_bytes(running)
    record(home, 2, "later")
    assert logsealing.seal(home, SIGNER).entries == 7
    assert callers(home) == ["first"] * 5 + ["later"] * 2


def test_another_log_than_the_one_whose_sealing_was_interrupted_is_not_sealed_over_it(home: Path) -> None:
    log = home / "log.jsonl"
    beginning = log.read_bytes()
    record(home, 2, "sealed")
    with pytest.raises(StateError, match="gone"):
        logsealing.seal(home, Refuses())
    log.write_bytes(beginning)
    record(home, 2, "another")
    with pytest.raises(StateError, match="not the one whose sealing was interrupted"):
        logsealing.seal(home, SIGNER)
    assert callers(home) == ["first"] * 5 + ["sealed"] * 2 + ["first"] * 5 + ["another"] * 2


def test_a_change_is_seen(home: Path) -> None:
    logsealing.seal(home, SIGNER)
    path = logsealing.sequence_path(home)
    path.write_bytes(path.read_bytes().replace(b'"first"', b'"other"', 1))
    with pytest.raises(IntegrityError):
        logsealing.verify(home)


def test_a_broken_chain_is_not_sealed(home: Path) -> None:
    lines = (home / "log.jsonl").read_bytes().splitlines(keepends=True)
    (home / "log.jsonl").write_bytes(b"".join(lines[:2] + lines[3:]))
    with pytest.raises(IntegrityError, match="chain"):
        logsealing.seal(home, SIGNER)


def test_a_frame_that_is_no_entry_is_refused(home: Path) -> None:
    create(logsealing.sequence_path(home), Creation(content_type=logsealing.CONTENT_TYPE))
    with SequenceWriter(logsealing.sequence_path(home)) as writer:
        writer.append(b"{}")
    with pytest.raises(IntegrityError):
        logsealing.verify(home)


@pytest.mark.parametrize("line", [b"{}", b'{"\xd3":1}', b"["])
def test_a_line_that_is_no_entry_is_refused(home: Path, line: bytes) -> None:
    create(logsealing.sequence_path(home), Creation(content_type=logsealing.CONTENT_TYPE))
    with SequenceWriter(logsealing.sequence_path(home)) as writer:
        writer.append(line, Outline(content=ContentMeta(content_type="application/json")))
    with pytest.raises(IntegrityError):
        list(logsealing.entries(home))


def test_nothing_to_verify(tmp_path: Path) -> None:
    assert logsealing.verify(tmp_path) == logsealing.Sealed(0, 0)


def test_a_line_is_stored_as_it_was(home: Path) -> None:
    lines: list[Any] = [json.loads(line) for line in (home / "log.jsonl").read_bytes().splitlines()]
    logsealing.seal(home, SIGNER)
    assert [entry.previous for entry in logsealing.entries(home)] == [line["previous"] for line in lines]


def test_a_sealed_log_that_was_put_back_is_noticed(home: Path) -> None:
    logsealing.seal(home, SIGNER)
    path = logsealing.sequence_path(home)
    old = path.read_bytes()
    record(home, 2, "later")
    logsealing.seal(home, SIGNER)
    path.write_bytes(old)
    running = (home / "log.jsonl").read_bytes()
    for check in (lambda: logsealing.verify(home), lambda: logsealing.seal(home, SIGNER)):
        with pytest.raises(IntegrityError, match="took frames away"):
            check()
    assert (path.read_bytes(), (home / "log.jsonl").read_bytes()) == (old, running)
