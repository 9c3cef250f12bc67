"""`meshhw key` on the software vault: what single keys do, and what they are refused."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from tests.account.vaults import home_with_cheap_vault

PIN = {"MESHHW_PIN_SOURCE": "env:PIN", "PIN": "correct horse"}


@pytest.fixture(autouse=True)
def vault(tmp_path: Path) -> None:
    """The home's vault, which costs little to unlock, as each command does."""
    home_with_cheap_vault(tmp_path / "home", PIN["PIN"])


@pytest.fixture
def pem(tmp_path: Path) -> tuple[Path, ed25519.Ed25519PrivateKey]:
    """A private key in a PEM file, as openssl writes it."""
    private = ed25519.Ed25519PrivateKey.generate()
    path = tmp_path / "private.pem"
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private.private_bytes(*form))
    return path, private


def test_an_imported_key_signs_as_the_file_did(meshhw, pem, tmp_path: Path) -> None:
    path, private = pem
    (tmp_path / "message").write_bytes(b"message")
    made = meshhw("key", "import", str(path), "--on", "software:", "--label", "old", "--json", env=PIN)
    assert "destroy it" in made.stderr
    assert json.loads(made.stdout)["algorithm"] == "Ed25519"
    signed = meshhw("key", "sign", "old", str(tmp_path / "message"), "--json", env=PIN)
    private.public_key().verify(base64.b64decode(json.loads(signed.stdout)["signature"]), b"message")
    public = meshhw("key", "public", "old", env=PIN)
    assert serialization.load_pem_public_key(public.stdout.encode()) == private.public_key()
    assert meshhw("key", "public", "old", "--out", "-", env=PIN).stdout == public.stdout


def test_a_key_that_cannot_sign_or_attest_says_so_with_5(meshhw, tmp_path: Path) -> None:
    (tmp_path / "message").write_bytes(b"message")
    meshhw("key", "generate", "--on", "software:", "--algorithm", "X25519", "--label", "box", env=PIN)
    assert meshhw("key", "sign", "box", str(tmp_path / "message"), env=PIN).returncode == 5
    assert meshhw("key", "attest", "box", env=PIN).returncode == 5


def test_a_profiles_key_signs_no_raw_message_even_by_its_uri(meshhw, tmp_path: Path) -> None:
    (tmp_path / "message").write_bytes(b"message")
    made = json.loads(meshhw("device", "create", "--on", "software:", "--json", env=PIN).stdout)
    uri = next(key["uri"] for key in made["keys"] if "signature" in key["role"])
    refused = meshhw("key", "sign", uri, str(tmp_path / "message"), "--out", str(tmp_path / "out"), env=PIN)
    assert refused.returncode == 2
    assert "ProfileDevice" in refused.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "text", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", b'{"a":1}']
)
def test_a_file_without_a_key_is_refused_with_6(meshhw, tmp_path: Path, text: bytes) -> None:
    (tmp_path / "file").write_bytes(text)
    done = meshhw("key", "import", str(tmp_path / "file"), "--on", "software:", env=PIN)
    assert done.returncode == 6
    assert "Traceback" not in done.stderr
    if b"{" not in text:
        assert 'hint: key files are plain PEM, or JSON such as {"PrivateKeyECDH"' in done.stderr


def test_a_file_in_a_keys_place_is_told_how_it_becomes_a_key(meshhw, pem) -> None:
    done = meshhw("key", "sign", str(pem[0]), str(pem[0]), env=PIN)
    assert done.returncode == 3
    assert f"`meshhw key import {pem[0]} --on TOKEN`" in done.stderr


def test_names_that_fit_nothing_or_no_algorithm(meshhw) -> None:
    assert meshhw("key", "show", "MAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAA").returncode == 3
    assert meshhw("key", "generate", "--on", "software:", "--algorithm", "ROT13", env=PIN).returncode == 2
    assert meshhw("key", "show", "software:id=%00%01").returncode == 3


def test_two_keys_of_one_label_are_ambiguous(meshhw) -> None:
    for _ in range(2):
        meshhw("key", "generate", "--on", "software:", "--algorithm", "Ed25519", "--label", "twin", env=PIN)
    done = meshhw("key", "show", "twin", env=PIN)
    assert done.returncode == 2
    assert done.stderr.count("software:id=") >= 2
