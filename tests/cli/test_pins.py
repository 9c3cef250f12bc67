"""PIN sources: their grammar, their order, and what a source never answers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from meshhw.cli import pins
from meshhw.cli.terminal import Terminal
from meshhw.errors import InvalidURI, PinRequired, UsageError
from meshhw.keystore.interaction import PinKind, PinRequest
from meshhw.keystore.uri import TokenURI

ALICE = TokenURI.parse("pkcs11:token=alice;serial=1")
CARD = TokenURI.parse("yubikey:serial=42")


def request(
    token: TokenURI = ALICE, kind: PinKind = PinKind.USER, *, new: bool = False, first: bool = False
) -> PinRequest:
    return PinRequest(kind, token, "the token", new=new, first=first)


@pytest.mark.parametrize(
    ("text", "source", "token"),
    [
        ("env:PIN", "env:PIN", None),
        ("prompt", "prompt", None),
        ("fd:3", "fd:3", None),
        ("file:/a=b", "file:/a=b", None),
        ("pkcs11:token=alice=env:PIN", "env:PIN", "pkcs11:token=alice"),
        ("pkcs11:token=alice;serial=1=file:/x=y", "file:/x=y", "pkcs11:token=alice;serial=1"),
        ("yubikey:serial=42=keyring", "keyring", "yubikey:serial=42"),
    ],
)
def test_a_rule_is_split_before_its_source_word(text: str, source: str, token: str | None) -> None:
    rule = pins.parse_rule(text)
    assert rule.source == source
    assert rule.token == (None if token is None else TokenURI.parse(token))


@pytest.mark.parametrize("text", ["1234", "", "env:", "fd:x", "pkcs11:token=alice=1234"])
def test_what_is_no_source_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        pins.parse_rule(text)
    assert "1234" not in str(caught.value)


def test_a_source_for_what_is_no_uri_is_refused() -> None:
    with pytest.raises(InvalidURI):
        pins.parse_rule("alice=env:PIN")


def test_options_stand_over_the_environment_and_that_over_the_uri() -> None:
    uri = TokenURI.parse("pkcs11:token=alice;serial=1?pin-source=/pin")
    assert pins.choose([], uri) == "file:/pin"
    environment = pins.rules([], "env:ALL\npkcs11:token=alice=env:ALICE\n")
    assert pins.choose(environment, uri) == "env:ALICE"
    assert pins.choose(environment, CARD) == "env:ALL"
    assert pins.choose(pins.rules(["env:OPTION"], "pkcs11:token=alice=env:ALICE"), uri) == "env:OPTION"


def test_the_narrowest_rule_wins_and_then_the_last() -> None:
    ranks = pins.rules(
        ["pkcs11:token=alice;serial=1=env:N", "pkcs11:token=alice=env:W", "env:A", "env:B"], ""
    )
    assert pins.choose(ranks, ALICE) == "env:N"
    assert pins.choose(ranks, CARD) == "env:B"


def test_a_command_as_pin_source_is_refused() -> None:
    with pytest.raises(UsageError):
        pins.choose([], TokenURI.parse("pkcs11:token=alice?pin-source=%7Ccat"))


def test_the_lines_of_a_source(tmp_path: Path) -> None:
    path = tmp_path / "pin"
    path.write_text("123456\npuk=12345678\nnew=654321\n")
    terminal = Terminal.from_options([f"file:{path}"])
    assert terminal.pin(request()) == "123456"
    assert terminal.pin(request(kind=PinKind.PUK)) == "12345678"
    assert terminal.pin(request(new=True)) == "654321"
    assert terminal.pin(request(new=True, first=True)) == "123456"
    with pytest.raises(PinRequired, match="no so PIN"):
        terminal.pin(request(kind=PinKind.SO))


def test_the_user_pin_is_never_sent_as_puk(tmp_path: Path) -> None:
    (tmp_path / "pin").write_text("123456")
    with pytest.raises(PinRequired, match="puk"):
        Terminal.from_options([f"file:{tmp_path}/pin"]).pin(request(kind=PinKind.PUK))


def test_a_pipe_is_read_once_and_answers_again() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"2468\n")
    os.close(writer)
    terminal = Terminal.from_options([f"fd:{reader}"])
    assert [terminal.pin(request()), terminal.pin(request(CARD))] == ["2468", "2468"]


@pytest.mark.parametrize("source", ["env:MESHHW_TEST_ABSENT", "file:/nonexistent/pin", "fd:99"])
def test_an_unreadable_source_is_a_missing_pin(source: str) -> None:
    with pytest.raises(PinRequired):
        Terminal.from_options([source]).pin(request())


def test_a_pin_that_is_no_text_is_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHHW_TEST_PIN", "\udcff\udcfe")
    with pytest.raises(PinRequired, match="not UTF-8"):
        Terminal.from_options(["env:MESHHW_TEST_PIN"]).pin(request())


def test_without_terminal_and_source_a_pin_is_refused_at_once_and_nothing_confirmed() -> None:
    terminal = Terminal.from_options([])
    with pytest.raises(PinRequired, match="no terminal"):
        terminal.pin(request())
    assert not terminal.confirm("delete it?")
    assert not terminal.insert(CARD, "the card")
    assert Terminal.from_options([], assume_yes=True).confirm("delete it?")


def test_no_secret_in_the_repr(tmp_path: Path) -> None:
    (tmp_path / "pin").write_text("135790")
    terminal = Terminal.from_options([f"file:{tmp_path}/pin"])
    terminal.pin(request())
    assert "135790" not in repr(terminal)
