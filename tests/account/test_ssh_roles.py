"""A key with a role in a Mesh profile signs nothing for SSH, even where a list names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshhw.algorithms import Suite
from meshhw.errors import MeshError, NotSupported
from meshhw.managers.ssh import wire
from meshhw.managers.ssh.agent import Agent
from meshhw.managers.ssh.keys import SshKey
from tests.account.people import OPTIONS, Phone

FAILURE = b"\x05"
SIGN_REQUEST = 13


def request(key: SshKey) -> bytes:
    blob = wire.public_blob(key.public_key)
    return bytes([SIGN_REQUEST]) + wire.string(blob) + wire.string(b"to be signed") + bytes(4)


def test_a_key_with_a_mesh_role_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    phone = Phone(tmp_path / "phone", Suite.S25519)
    handle = phone.device.key("signature")
    key = SshKey(uri=handle.uri, algorithm=handle.algorithm, public=handle.public)
    told: list[MeshError] = []
    refusing = Agent([key], OPTIONS, told.append, {item.public for item in phone.device.keys})
    assert refusing.answer(request(key)) == FAILURE
    [error] = told
    assert isinstance(error, NotSupported)
    assert "role in a Mesh profile" in error.message
    signing = Agent([key], OPTIONS, told.append)
    try:
        assert signing.answer(request(key))[:1] != FAILURE
    finally:
        signing.close()
