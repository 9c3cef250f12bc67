"""`meshhw dare` from a stranger's side: files, pipes, wrong keys, damage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from meshhw.algorithms import Algorithm, PrivateKey
from meshhw.dare.keys import private_to_jose, public_to_jose
from meshhw.dare.local import LocalKey
from meshhw.jsonbcd import to_json

VECTORS = Path(__file__).parents[1] / "vectors"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with a key pair in files, and something to encrypt."""
    private = PrivateKey(Algorithm.X448, bytes(range(56)))
    (tmp_path / "private.json").write_bytes(to_json(private_to_jose(private)))
    (tmp_path / "public.json").write_bytes(to_json(public_to_jose(LocalKey(private).public)))
    (tmp_path / "plain").write_bytes(os.urandom(100_000))
    return tmp_path


def test_encrypt_and_decrypt_with_key_files(meshhw: Any, files: Path) -> None:
    done = meshhw("dare", "encode", f"{files}/plain", f"{files}/env", "--encrypt", f"{files}/public.json")
    assert (done.returncode, done.stdout) == (0, "")
    shown = json.loads(meshhw("dare", "info", f"{files}/env", "--json").stdout)
    assert shown["form"] == "A256GCM-S"
    assert len(shown["recipients"]) == 1
    assert shown["content"] == {}
    done = meshhw(
        "dare", "decode", f"{files}/env", f"{files}/again", "--key", f"{files}/private.json", "--json"
    )
    assert json.loads(done.stdout)["content"] == {"Filename": "plain"}
    assert "nobody signed it" in done.stderr
    assert (files / "again").read_bytes() == (files / "plain").read_bytes()
    assert (files / "again").stat().st_mode & 0o777 == 0o600


def test_pipes(files: Path) -> None:
    program = f"{sys.executable} -m meshhw dare"
    line = (
        f"cat plain | {program} encode - - --encrypt public.json "
        f"| {program} decode - - --key private.json | cmp - plain"
    )
    env = os.environ | {"MESHHW_HOME": str(files / "home")}
    assert subprocess.run(["sh", "-c", line], cwd=files, env=env, check=False).returncode == 0


@pytest.mark.parametrize(
    "verb",
    [("dare", "decode"), ("dare", "info"), ("dare", "verify"), ("device", "verify"), ("contact", "import")],
)
def test_a_file_of_another_kind_is_told_by_its_name(meshhw: Any, files: Path, verb: tuple[str, str]) -> None:
    (files / "letter.txt").write_text("hello, this is no envelope")
    out = [f"{files}/out"] if verb[1] == "decode" else []
    done = meshhw(*verb, f"{files}/letter.txt", *out)
    assert (done.returncode, done.stdout) == (6, "")
    assert f"{files}/letter.txt is damaged, or no DARE file: " in done.stderr
    assert not (files / "out").exists()


@pytest.mark.parametrize("verb", ["list", "prove", "extract", "archive"])
def test_a_file_that_is_no_sequence_is_told_by_its_name(meshhw: Any, files: Path, verb: str) -> None:
    letter = files / "letter.txt"
    letter.write_text("hello, this is no archive")
    (files / "root").mkdir()
    arguments = {
        "list": [f"{letter}"],
        "prove": [f"{letter}", "0"],
        "extract": [f"{letter}", f"{files}/out"],
        "archive": [f"{files}/root", f"{letter}", "--update"],
    }
    done = meshhw("dare", verb, *arguments[verb])
    assert (done.returncode, done.stdout) == (6, "")
    assert f"{letter} is damaged, or no DARE file: no frame or record begins here" in done.stderr
    assert not (files / "out").exists()
    assert letter.read_text() == "hello, this is no archive"


def test_a_damaged_envelope_leaves_nothing_behind(meshhw: Any, files: Path) -> None:
    meshhw("dare", "encode", f"{files}/plain", f"{files}/env", "--encrypt", f"{files}/public.json")
    octets = bytearray((files / "env").read_bytes())
    octets[-20] ^= 1
    (files / "env").write_bytes(octets)
    before = sorted(files.iterdir())
    done = meshhw("dare", "decode", f"{files}/env", f"{files}/again", "--key", f"{files}/private.json")
    assert done.returncode == 6
    assert "changed" in done.stderr
    home = files / "home"
    assert sorted(files.iterdir()) == sorted([*before, home])
    assert {path.name.removesuffix(".lock") for path in home.iterdir()} == {"log.jsonl"}  # the key was used


def test_without_its_key_the_missing_one_is_named(meshhw: Any, files: Path) -> None:
    meshhw("dare", "encode", f"{files}/plain", f"{files}/env", "--encrypt", f"{files}/public.json")
    kid = json.loads(meshhw("dare", "info", f"{files}/env", "--json").stdout)["recipients"][0]
    done = meshhw("dare", "decode", f"{files}/env", f"{files}/again")
    assert done.returncode == 3
    assert kid in done.stderr
    assert "hint: " in done.stderr


@pytest.mark.parametrize("octets", [b"", b"[]", b"[{}", b"\xf4\xf0", b"{}", b"not an envelope", b"[{},1]"])
def test_what_is_no_envelope_is_refused(meshhw: Any, files: Path, octets: bytes) -> None:
    (files / "env").write_bytes(octets)
    done = meshhw("dare", "decode", f"{files}/env", f"{files}/again")
    assert done.returncode == 6
    assert done.stderr.startswith("meshhw: ")
    assert not (files / "again").exists()


def test_usage(meshhw: Any, files: Path) -> None:
    missing = meshhw("dare", "encode", f"{files}/absent", f"{files}/env")
    assert missing.returncode == 1
    assert "absent" in missing.stderr
    nobody = meshhw("dare", "encode", f"{files}/plain", f"{files}/env", "--encrypt", "nobody")
    assert nobody.returncode == 3
    assert not (files / "env").exists()
    compat = meshhw(
        "dare", "encode", f"{files}/plain", f"{files}/env", "--encrypt", f"{files}/public.json", "--compat"
    )
    assert compat.returncode == 2
    for beginning in (b"[", b"\xf5"):  # whatever it is that cannot go there
        (files / "any").write_bytes(beginning + b"rest")
        assert meshhw("dare", "decode", f"{files}/any", "-", "--json").returncode == 2


def test_an_envelope_does_not_take_the_place_of_what_is_in_it(meshhw: Any, files: Path) -> None:
    before = (files / "plain").read_bytes()
    (files / "link").symlink_to("plain")
    for out in ("plain", "link"):
        done = meshhw(
            "dare", "encode", f"{files}/plain", f"{files}/{out}", "--encrypt", f"{files}/public.json"
        )
        assert (done.returncode, "the file that is to be encoded" in done.stderr) == (2, True)
    assert (files / "plain").read_bytes() == before


def test_an_x448_key_opens_what_is_for_its_pem_file_which_has_no_sign(
    meshhw: Any, files: Path, secret: dict[str, str]
) -> None:
    keys = (PrivateKey(Algorithm.X448, bytes([number]) * 56) for number in range(1, 256))
    private = next(key for key in keys if LocalKey(key).public.octets[-1])
    (files / "private.json").write_bytes(to_json(private_to_jose(private)))
    made = meshhw(
        "key", "import", f"{files}/private.json", "--on", "software:", "--label", "mine", env=secret
    )
    assert made.returncode == 0, made.stderr
    meshhw("key", "public", "mine", "--out", f"{files}/pem", env=secret)
    assert meshhw("udf", "key", f"{files}/pem").stdout.split() != made.stdout.split()[:1]
    meshhw("dare", "encode", f"{files}/plain", f"{files}/env", "--encrypt", f"{files}/pem")
    done = meshhw("dare", "decode", f"{files}/env", f"{files}/again", env=secret)
    assert done.returncode == 0, done.stderr
    assert (files / "again").read_bytes() == (files / "plain").read_bytes()


def test_an_rsa_key_signs_no_envelope(meshhw: Any, files: Path, secret: dict[str, str]) -> None:
    meshhw("key", "generate", "--on", "software:", "--algorithm", "RSA-2048", "--label", "rsa", env=secret)
    done = meshhw("dare", "encode", f"{files}/plain", f"{files}/env", "--sign", "rsa", env=secret)
    assert (done.returncode, "signs no envelopes" in done.stderr) == (5, True)
    assert not (files / "env").exists()


def test_keys_that_are_no_recipients_are_told_apart(meshhw: Any, files: Path) -> None:
    encode = ("dare", "encode", f"{files}/plain", f"{files}/env", "--encrypt")
    signing = LocalKey(PrivateKey(Algorithm.ED25519, bytes(32))).public
    (files / "signs.json").write_bytes(to_json(public_to_jose(signing)))
    told = meshhw(*encode, f"{files}/signs.json")
    assert (told.returncode, "nothing is encrypted to a key of Ed25519" in told.stderr) == (5, True)
    told = meshhw(*encode, f"{files}/private.json")
    assert (told.returncode, "holds a private key" in told.stderr) == (6, True)
    told = meshhw("dare", "list", "-")
    assert (told.returncode, "not read from a pipe" in told.stderr) == (2, True)


def test_legacy_decodes_with_a_warning(meshhw: Any, files: Path) -> None:
    vectors = json.loads((VECTORS / "dare_envelopes.json").read_text())
    vector = next(v for v in vectors if v["id"] == "draft-hallambaker-mesh-dare-12#8")
    (files / "old.json").write_text(json.dumps(vector["envelope"]))
    (files / "key.json").write_text(json.dumps(vector["recipient_private"]))
    done = meshhw("dare", "decode", f"{files}/old.json", f"{files}/out", "--key", f"{files}/key.json")
    assert done.returncode == 0
    assert "form of 2022" in done.stderr
    assert (files / "out").read_text() == vector["expect_plaintext"]


def test_a_device_encrypts_to_itself_and_signs(meshhw: Any, files: Path, secret: dict[str, str]) -> None:
    made = meshhw("device", "create", "--on", "software:", "--label", "laptop", env=secret)
    assert made.returncode == 0
    done = meshhw(
        "dare",
        "encode",
        f"{files}/plain",
        f"{files}/env",
        "--encrypt",
        "laptop",
        "--sign",
        "laptop",
        env=secret,
    )
    assert done.returncode == 0, done.stderr
    checked = json.loads(meshhw("dare", "verify", f"{files}/env", "--json").stdout)
    assert checked["findings"] == []
    opened = meshhw("dare", "decode", f"{files}/env", f"{files}/again", env=secret)
    assert opened.returncode == 0, opened.stderr
    assert "warning" not in opened.stderr
    assert (files / "again").read_bytes() == (files / "plain").read_bytes()
    wrong = meshhw("dare", "decode", f"{files}/env", f"{files}/x", env=secret | {"SECRET": "wrong"})
    assert wrong.returncode == 4
    assert not (files / "x").exists()
    other = meshhw("dare", "verify", f"{files}/env", "--signer", f"{files}/public.json")
    assert other.returncode == 6


def test_detached(meshhw: Any, files: Path, secret: dict[str, str]) -> None:
    meshhw("key", "generate", "--on", "software:", "--algorithm", "Ed25519", "--label", "signer", env=secret)
    done = meshhw(
        "dare", "encode", f"{files}/plain", f"{files}/sig", "--sign", "signer", "--detached", env=secret
    )
    assert done.returncode == 0, done.stderr
    assert (files / "sig").stat().st_size < 2000
    assert meshhw("dare", "verify", f"{files}/sig", "--detached", f"{files}/plain").returncode == 0
    assert meshhw("dare", "verify", f"{files}/sig", "--detached", f"{files}/private.json").returncode == 6
