"""Virtual FIDO2 cards as the driver's tests hold them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("fido2", reason="python-fido2 is not installed")
pytest.importorskip("smartcard", reason="pyscard is not installed")

from meshhw_fido2.token import Fido2Token

from meshhw.keystore.api import Key, OpenOptions, Token
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.lab.ctap.authenticator import PIN as CLIENT_PIN
from meshhw.lab.ctap.token import VirtualCtapToken

PIN = "1234-pin"
DIGEST = hashlib.sha256(b"what is confirmed").digest()
PURPOSE = b"purpose"

OpenToken = Callable[..., Fido2Token]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory of each test's own."""
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def open_token() -> Iterator[OpenToken]:
    """open_token(virtual, script) opens a token; all are closed in the end."""
    opened: list[Token] = []

    def open_it(
        virtual: VirtualCtapToken, script: Scripted | None = None, deadline: float | None = None
    ) -> Fido2Token:
        options = OpenOptions(script or Scripted({PinKind.USER: PIN}), deadline=deadline)
        token = virtual.open(options)
        assert isinstance(token, Fido2Token)
        opened.append(token)
        return token

    yield open_it
    for token in opened:
        token.close()


@pytest.fixture
def with_pin(ctap_card: VirtualCtapToken, open_token: OpenToken) -> VirtualCtapToken:
    """A card whose PIN is set."""
    set_pin(ctap_card, open_token)
    return ctap_card


def set_pin(virtual: VirtualCtapToken, open_token: OpenToken) -> None:
    token = open_token(virtual)
    token.change_pin(PinKind.USER)
    token.close()


def listed(token: Token) -> list[Key]:
    return list(token.keys())


def pin_commands(virtual: VirtualCtapToken) -> int:
    return virtual.card.commands.count(CLIENT_PIN)
