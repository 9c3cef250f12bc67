"""Fixtures for virtual FIDO2 authenticators in USB ports; programs started with their `env` see them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from meshhw.lab.skipping import or_skip

if TYPE_CHECKING:
    from meshhw.lab.ctap.hid import CtapHidDevice
    from meshhw.lab.ctap.hid_token import VirtualHidToken

PlugHid = Callable[..., "VirtualHidToken"]


@pytest.fixture
def plug_hid() -> Iterator[PlugHid]:
    """Plugs authenticators into the test's own ports: `plug_hid()`, or with a CtapHidDevice of one's own."""
    from meshhw.lab.ctap.hid import CtapHidDevice
    from meshhw.lab.ctap.hid_token import VirtualHidToken
    from meshhw.lab.hid_port import HidPort
    from meshhw.lab.vpcd import lab_directory

    directory = lab_directory()
    plugged: list[VirtualHidToken] = []

    def plug(device: CtapHidDevice | None = None) -> VirtualHidToken:
        number = len(plugged)
        port = or_skip(lambda: HidPort(directory, number))
        token = VirtualHidToken(device or CtapHidDevice(), port, f"LAB-{number + 1}")
        token.put_back()
        plugged.append(token)
        return token

    yield plug
    for token in plugged:
        token.heal()
        token.pull()
    shutil.rmtree(directory)


@pytest.fixture
def hid_authenticator(plug_hid: PlugHid) -> VirtualHidToken:
    """A fresh authenticator without a PIN, in a USB port."""
    return plug_hid()
