"""The agent protocol against hostile and odd messages."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from meshhw.errors import MeshError, NotSupported
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.registry import open_token
from meshhw.keystore.uri import TokenURI
from meshhw.managers.ssh import wire
from meshhw.managers.ssh.agent import Agent
from meshhw.managers.ssh.keys import SshKeys
from meshhw.pubkeys import from_cryptography

FAILURE = b"\x05"


@given(st.binary(max_size=200))
def test_no_message_does_more_than_fail(message: bytes) -> None:
    if message[:1] != b"\x0b":
        assert Agent((), OpenOptions()).answer(message) == FAILURE


@pytest.mark.parametrize(("number", "octets"), [(0, b""), (0x7F, b"\x7f"), (0x80, b"\0\x80"), (256, b"\1\0")])
def test_integers_are_written_as_rfc_4251_shows(number: int, octets: bytes) -> None:
    assert wire.mpint(number) == struct.pack(">I", len(octets)) + octets


def test_rsa_with_sha1_is_refused() -> None:
    public = from_cryptography(rsa.generate_private_key(65537, 2048).public_key())
    assert wire.signature_name(public, wire.FLAG_RSA_SHA512) == "rsa-sha2-512"
    with pytest.raises(NotSupported):
        wire.signature_name(public, 0)


def test_a_strange_key_is_refused_and_reported() -> None:
    said: list[MeshError] = []
    agent = Agent((), OpenOptions(), said.append)
    blob = wire.public_blob(from_cryptography(ed25519.Ed25519PrivateKey.generate().public_key()))
    request = b"\x0d" + wire.string(blob) + wire.string(b"data") + bytes(4)
    assert agent.answer(request) == FAILURE
    assert "does not hold" in said[0].message


def test_a_key_of_a_profile_signs_nothing_else(tmp_path: Path) -> None:
    options = OpenOptions(Scripted({PinKind.VAULT: "correct horse"}))
    token = open_token(TokenURI.make("software", vault=str(tmp_path / "vault")), options)
    key = SshKeys(tmp_path / "home").add(token, "me@example.com")
    token.close()
    said: list[MeshError] = []
    agent = Agent([key], options, said.append, {key.public})
    request = b"\x0d" + wire.string(wire.public_blob(key.public_key)) + wire.string(b"data") + bytes(4)
    assert agent.answer(request) == FAILURE
    assert isinstance(said[0], NotSupported)


def test_a_signature_verifies(tmp_path: Path) -> None:
    options = OpenOptions(Scripted({PinKind.VAULT: "correct horse"}))
    token = open_token(TokenURI.make("software", vault=str(tmp_path / "vault")), options)
    key = SshKeys(tmp_path / "home").add(token, "me@example.com")
    agent = Agent(SshKeys(tmp_path / "home").all(), options)
    blob = wire.public_blob(key.public_key)
    answer = wire.Reader(agent.answer(b"\x0d" + wire.string(blob) + wire.string(b"data") + bytes(4)))
    assert answer.octet() == 14
    signature = wire.Reader(answer.string())
    assert signature.string() == b"ssh-ed25519"
    ed25519.Ed25519PublicKey.from_public_bytes(key.public).verify(signature.string(), b"data")
    agent.close()
    token.close()
