"""What a person may do wrong, and what may have happened to tokens and files: at the command line each is one
clear line, a hint, the right exit status, and nothing lost.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from meshhw.algorithms import Algorithm
from meshhw.dare.envelope import Envelope
from meshhw.dare.local import LocalKey
from meshhw.jsonbcd import encode_base64url
from meshhw.lab.fixtures_pkcs11 import NewToken
from meshhw.lab.pkcs11_token import Pkcs11Token
from meshhw.lab.shim import State, Trouble
from meshhw.managers.host import Host
from meshhw.schema.assertion import sign_assertion
from meshhw.schema.keydata import key_data
from meshhw.schema.profile import ProfileDevice
from meshhw.udf import Seed, Specifier, fingerprint

P256 = ("--algorithm", "P-256")


class Desk:
    """A home, and a PIN in the environment."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.home = directory / "home"
        self.pin = "a wrong pin"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        own = {"MESHHW_HOME": str(self.home), "PIN": self.pin, "MESHHW_PIN_SOURCE": "env:PIN"}
        command = [sys.executable, "-m", "meshhw", *arguments]
        return subprocess.run(
            command, env=os.environ | own, cwd=self.directory, capture_output=True, text=True, check=False
        )

    def done(self, *arguments: str) -> str:
        ended = self.run(*arguments)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.strip()

    def refused(self, status: int, said: str, *arguments: str) -> str:
        """It ends with that status; one line says what it is, the next what to do."""
        ended = self.run(*arguments)
        lines = ended.stderr.splitlines()
        assert (ended.returncode, ended.stdout) == (status, ""), ended
        told = [line for line in lines if line.startswith("meshhw: ") and said in line]
        assert told, ended.stderr
        assert lines[-1].startswith("hint: ")
        assert "Traceback" not in ended.stderr
        return ended.stderr


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def with_key(desk: Desk, troubled_softhsm: tuple[Pkcs11Token, Trouble]) -> tuple[Desk, str, str, Trouble]:
    """A token whose PIN the desk knows, and a key on it."""
    token, trouble = troubled_softhsm
    desk.pin = token.pin
    uri = json.loads(desk.done("key", "generate", "--on", str(token.uri), *P256, "--json"))["uri"]
    (desk.directory / "message").write_text("text")
    return desk, str(token.uri), uri, trouble


def test_an_unknown_module_path(desk: Desk) -> None:
    uri = "pkcs11:token=x?module-path=/nowhere/module.so"
    desk.refused(3, "no PKCS#11 module at /nowhere/module.so", "key", "generate", "--on", uri, *P256)


def test_a_wrong_token_label(desk: Desk, softhsm_token: Pkcs11Token) -> None:
    uri = f"pkcs11:token=nobody?module-path={softhsm_token.module_path}"
    desk.refused(3, "token=nobody", "key", "generate", "--on", uri, *P256)


def test_two_tokens_of_one_label(desk: Desk, new_softhsm: NewToken, softhsm_directory: Any) -> None:
    one = new_softhsm()
    softhsm_directory.add(one.label)
    told = desk.refused(2, "2 PKCS#11 tokens fit", "key", "generate", "--on", str(one.uri), *P256)
    assert told.count("serial=") == 2


def test_a_wrong_pin(with_key: tuple[Desk, str, str, Trouble]) -> None:
    desk, _, uri, _ = with_key
    desk.pin = "0000000"
    desk.refused(4, "the PIN is wrong", "key", "sign", uri, "message", "--out", "signature")
    assert not (desk.directory / "signature").exists()


def test_the_last_try_and_a_locked_pin(with_key: tuple[Desk, str, str, Trouble]) -> None:
    desk, _, uri, trouble = with_key
    trouble.be(State.FINAL_TRY)
    told = desk.refused(4, "", "key", "sign", uri, "message", "--out", "signature")
    assert "--allow-final-try" in told
    trouble.clear()
    trouble.be(State.LOCKED)
    desk.refused(4, "the PIN is locked", "key", "sign", uri, "message", "--out", "signature")


def test_a_full_and_a_read_only_token(with_key: tuple[Desk, str, str, Trouble]) -> None:
    desk, token, uri, trouble = with_key
    trouble.be(State.FULL)
    desk.refused(1, "full", "key", "generate", "--on", token, *P256)
    trouble.clear()
    trouble.be(State.READ_ONLY)
    desk.refused(5, "cannot make keys", "key", "generate", "--on", token, *P256)
    desk.done("key", "sign", uri, "message", "--out", "signature")


def test_a_key_deleted_meanwhile(with_key: tuple[Desk, str, str, Trouble]) -> None:
    desk, token, _, _ = with_key
    udf = desk.done("device", "create", "--on", token)
    for handle in Host(desk.home).profiles()[0].keys:
        Desk.done(desk, "key", "delete", handle.uri, "--yes")
    desk.refused(3, "holds no key", "dare", "encode", "message", "out", "--sign", udf)
    assert not (desk.directory / "out").exists()


@pytest.mark.parametrize(
    "octets", [b"\4" + bytes(63) + b"\1", bytes(32)], ids=["off the curve", "small order"]
)
def test_a_peer_off_the_curve_or_of_small_order(desk: Desk, octets: bytes) -> None:
    curve = "P-256" if len(octets) == 65 else "X25519"
    key = {"PublicKeyECDH": {"crv": curve, "Public": base64.urlsafe_b64encode(octets).decode().rstrip("=")}}
    (desk.directory / "bad.json").write_text(json.dumps(key))
    (desk.directory / "message").write_text("text")
    desk.refused(6, "", "dare", "encode", "message", "out", "--encrypt", "bad.json")
    assert not (desk.directory / "out").exists()


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_truncated_or_flipped_envelope(with_key: tuple[Desk, str, str, Trouble], damage: str) -> None:
    desk, token, _, _ = with_key
    udf = desk.done("device", "create", "--on", token)
    desk.done("dare", "encode", "message", "good", "--encrypt", udf, "--sign", udf)
    octets = bytearray((desk.directory / "good").read_bytes())
    octets[-40] ^= damage == "flipped"
    (desk.directory / "bad").write_bytes(octets if damage == "flipped" else octets[:-40])
    desk.refused(6, "", "dare", "decode", "bad", "out")
    assert not (desk.directory / "out").exists()


def profile(signer: LocalKey, owner: LocalKey) -> Envelope:
    device = ProfileDevice(profile_signature=key_data(owner.public))
    return sign_assertion(device, signer, fingerprint(owner.public))


def local_key() -> LocalKey:
    return LocalKey(Seed.generate(Specifier.ANY).derive(Algorithm.ED448, "test"))


def test_a_profile_signed_by_another_key(desk: Desk) -> None:
    (desk.directory / "profile").write_bytes(profile(local_key(), local_key()).octets())
    desk.refused(6, "not signed by its own key", "device", "verify", "profile")


def test_a_profile_whose_class_tag_lies(desk: Desk) -> None:
    owner = local_key()
    signed = profile(owner, owner)
    content = json.loads(base64.urlsafe_b64decode(str(signed.members["ContentMetaData"]) + "=="))
    content["MessageType"] = "ProfileUser"
    lying = dict(signed.members) | {"ContentMetaData": encode_base64url(json.dumps(content).encode())}
    envelope = Envelope(lying, signed.body, signed.trailer_members)
    (desk.directory / "profile").write_bytes(envelope.octets())
    desk.refused(6, "", "device", "verify", "profile")


def test_a_vault_file_corrupted_or_of_a_newer_version(desk: Desk) -> None:
    uri = json.loads(desk.done("key", "generate", "--on", "software:", *P256, "--json"))["uri"]
    (desk.directory / "message").write_text("text")
    (file,) = (desk.home / "vault" / "keys").glob("*.box")
    whole = file.read_bytes()
    corrupted = whole[:-1] + bytes((whole[-1] ^ 1,))
    newer = whole.replace(b"meshhw-box/1\n", b"meshhw-box/2\n")[:-32]
    newer += hashlib.sha256(newer).digest()
    for changed, status in ((corrupted, 6), (newer, 1)):
        file.write_bytes(changed)
        desk.refused(status, "", "key", "sign", uri, "message", "--out", "signature")
        assert file.read_bytes() == changed
        assert not (desk.directory / "signature").exists()
    file.write_bytes(whole)
    desk.done("key", "sign", uri, "message", "--out", "signature")


def test_a_home_with_open_permissions(desk: Desk) -> None:
    desk.done("key", "generate", "--on", "software:", *P256)
    desk.home.chmod(0o755)
    told = desk.refused(1, "is open to others (mode 755)", "device", "list")
    assert f"hint: chmod 700 '{desk.home}'" in told
