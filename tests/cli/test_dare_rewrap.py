"""`meshhw dare rewrap`: further readers, the same body, and signatures that end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meshhw.algorithms import Algorithm, PrivateKey
from meshhw.dare.keys import private_to_jose, public_to_jose
from meshhw.dare.local import LocalKey
from meshhw.jsonbcd import to_json


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, octets in (("alice", bytes(range(32))), ("bob", bytes(range(1, 33)))):
        private = PrivateKey(Algorithm.X25519, octets)
        (tmp_path / f"{name}.key").write_bytes(to_json(private_to_jose(private)))
        (tmp_path / f"{name}.pub").write_bytes(to_json(public_to_jose(LocalKey(private).public)))
    (tmp_path / "letter").write_bytes(b"for Alice, and now for Bob")
    return tmp_path


def test_bob_can_read_what_alice_gives_him(meshhw: Any, files: Path, secret: dict[str, str]) -> None:
    meshhw("key", "generate", "--on", "software:", "--algorithm", "Ed25519", "--label", "signer", env=secret)
    args = ("dare", "encode", f"{files}/letter", f"{files}/env", "--encrypt", f"{files}/alice.pub")
    done = meshhw(*args, "--sign", "signer", env=secret)
    assert done.returncode == 0, done.stderr
    again = ("dare", "rewrap", f"{files}/env", f"{files}/both", "--encrypt", f"{files}/bob.pub")
    done = meshhw(*again, "--key", f"{files}/alice.key", "--json")
    value = json.loads(done.stdout)
    assert (value["added"], value["signers"], len(value["was_signed_by"])) == (1, 0, 1)
    assert "ends here" in done.stderr
    for name in ("alice", "bob"):
        done = meshhw(
            "dare", "decode", f"{files}/both", f"{files}/{name}.out", "--key", f"{files}/{name}.key"
        )
        assert "nobody signed it" in done.stderr
        assert (files / f"{name}.out").read_bytes() == b"for Alice, and now for Bob"
    signed = meshhw(*again, "--key", f"{files}/alice.key", "--sign", "signer", "--json", env=secret)
    assert json.loads(signed.stdout)["signers"] == 1
    assert meshhw("dare", "verify", f"{files}/both").returncode == 0


def test_what_cannot_be_given_on(meshhw: Any, files: Path) -> None:
    meshhw("dare", "encode", f"{files}/letter", f"{files}/env", "--encrypt", f"{files}/alice.pub")
    again = ("dare", "rewrap", f"{files}/env", f"{files}/both")
    alice = ("--key", f"{files}/alice.key")
    assert meshhw(*again, *alice).returncode == 2
    bob = ("--encrypt", f"{files}/bob.pub")
    assert meshhw(*again, *bob, "--key", f"{files}/bob.key").returncode == 3
    assert meshhw(*again, *bob, *alice, "--signer", f"{files}/bob.pub").returncode == 6
    octets = bytearray((files / "env").read_bytes())
    octets[octets.index(b'"wmk":"') + 10] ^= 1
    (files / "env").write_bytes(octets)
    assert meshhw(*again, *bob, *alice).returncode == 6
    assert not (files / "both").exists()
