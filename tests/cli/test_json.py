"""`--json` on every verb: whatever becomes of the call, stdout is exactly one JSON value."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from meshhw.cli.errors import report
from meshhw.cli.main import front

ELSEWHERE = {
    ("demo",): "plays for a minute; tests/test_demo.py",
    ("lab", "up"): "starts daemons; hwtests/test_lab_commands.py",
    ("ssh", "agent"): "serves until it is ended, and its command owns stdout",
}
"""Verbs that are not run here, and why."""


def verbs(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every verb of the command tree, with its words."""
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from verbs(command, (*path, name))
        else:
            yield (*path, name), command


VERBS = dict(verbs(front()))


def filled(command: click.Command, place: Path) -> list[str]:
    """Something for each parameter that must be given: names of nothing, and files that are not there."""
    words = []
    for parameter in command.params:
        if not parameter.required:
            continue
        if isinstance(parameter.type, click.types.IntParamType):
            value = "2"
        elif isinstance(parameter.type, click.Choice):
            value = str(parameter.type.choices[0])
        else:
            value = str(place / "nothing") if "Path" in type(parameter.type).__name__ else "nobody"
        words += [parameter.opts[0], value] if isinstance(parameter, click.Option) else [value]
    return words


def call(words: list[str]) -> int:
    return report(lambda: front().main(words, prog_name="meshhw", standalone_mode=False))


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MESHHW_PKCS11_MODULES", "")
    monkeypatch.delenv("MESHHW_PIN_SOURCE", raising=False)
    monkeypatch.chdir(tmp_path)


def test_the_tree_is_the_whole_command_line() -> None:
    assert len(VERBS) > 90
    assert set(ELSEWHERE) <= set(VERBS)


@pytest.mark.parametrize("words", [words for words in VERBS if words not in ELSEWHERE], ids=" ".join)
def test_a_verb_prints_one_value(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = call([*words, *filled(VERBS[words], tmp_path), "--json"])
    told = json.loads(capsys.readouterr().out)
    if status:
        assert told["error"]["exit_status"] == status
        assert told["error"]["message"]
    else:
        assert not (isinstance(told, dict) and "error" in told)


@pytest.mark.parametrize("words", list(VERBS), ids=" ".join)
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_verb_that_is_called_wrongly_prints_one_value_too(
    words: tuple[str, ...], before: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = [*words, "--no-such-option"]
    assert call(["--json", *wrong] if before else [*wrong, "--json"]) == 2
    told = json.loads(capsys.readouterr().out)["error"]
    assert (told["class"], told["exit_status"]) == ("UsageError", 2)
    assert "--no-such-option" in told["message"]
    assert " ".join(words) in told["hint"]


def test_a_missing_argument_or_verb_is_one_value(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["key", "show", "--json"], ["--json", "key", "nothing"], ["nothing", "--json"]):
        assert call(words) == 2
        assert json.loads(capsys.readouterr().out)["error"]["exit_status"] == 2
