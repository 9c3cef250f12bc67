"""Names of one's own for tokens, given by the environment."""

from __future__ import annotations

import pytest

from meshhw.errors import InvalidURI, TokenNotFound
from meshhw.keystore.registry import find_token
from meshhw.keystore.uri import TokenURI

NAMES = "desk=yubikey:serial=42\n\nold = \nbroken=nonsense:\n"


def test_a_name_stands_for_its_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHHW_TOKEN_NAMES", NAMES)
    assert find_token("desk") == TokenURI.parse("yubikey:serial=42")
    assert find_token("yubikey:serial=7") == TokenURI.parse("yubikey:serial=7")


def test_a_name_for_something_else_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHHW_TOKEN_NAMES", NAMES)
    with pytest.raises((InvalidURI, TokenNotFound)):
        find_token("broken")
