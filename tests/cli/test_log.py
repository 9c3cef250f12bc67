"""`meshhw log sign`, and that the log still tells everything afterwards; and what it has of key files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meshhw.algorithms import Algorithm, PrivateKey
from meshhw.dare.keys import private_to_jose, public_to_jose
from meshhw.dare.local import LocalKey
from meshhw.jsonbcd import to_json
from meshhw.udf import fingerprint


def test_sign_seals_and_proves(meshhw: Any, tmp_path: Any, secret: dict[str, str]) -> None:
    meshhw("key", "generate", "--on", "software:", "--algorithm", "Ed25519", "--label", "signer", env=secret)
    (tmp_path / "message").write_bytes(b"message")
    meshhw("key", "sign", "signer", f"{tmp_path}/message", "--out", f"{tmp_path}/signature", env=secret)
    before = json.loads(meshhw("log", "show", "--json").stdout)
    done = meshhw("log", "sign", "--with", "signer", "--json", env=secret)
    assert done.returncode == 0, done.stderr
    sealed = json.loads(done.stdout)
    assert sealed["sealed"] == len(before)
    after = json.loads(meshhw("log", "show", "--json").stdout)
    assert after[: len(before)] == before
    assert len(after) == len(before) + 1
    checked = json.loads(meshhw("log", "verify", "--json").stdout)
    assert checked["signers"] == sealed["signers"]
    assert checked["entries"] == 1
    meshhw("dare", "prove", sealed["file"], "1", "--out", f"{tmp_path}/proof")
    assert meshhw("dare", "verify", sealed["file"], "--proof", f"{tmp_path}/proof").returncode == 0
    file = Path(sealed["file"])
    old = file.read_bytes()
    assert meshhw("log", "sign", "--with", "signer", env=secret).returncode == 0
    file.write_bytes(old)  # an old copy is put back
    for verb in (("verify",), ("sign", "--with", "signer")):
        done = meshhw("log", *verb, env=secret)
        assert (done.returncode, "--older" in done.stderr) == (6, True), done.stderr
        assert file.read_bytes() == old
    assert json.loads(meshhw("log", "verify", "--older", "--json").stdout)["sealed"] == sealed["sealed"]
    assert meshhw("log", "verify").returncode == 6
    assert meshhw("log", "sign", "--with", "signer", "--older", env=secret).returncode == 0
    assert meshhw("log", "verify").returncode == 0


@pytest.mark.parametrize("verb", ["decode", "rewrap", "list", "extract", "archive"])
def test_a_key_file_that_a_command_was_given_stands_in_the_log(
    meshhw: Any, tmp_path: Path, verb: str
) -> None:
    key = LocalKey(PrivateKey(Algorithm.X25519, bytes(range(32))))
    (tmp_path / "private").write_bytes(
        to_json(private_to_jose(PrivateKey(Algorithm.X25519, bytes(range(32)))))
    )
    (tmp_path / "public").write_bytes(to_json(public_to_jose(key.public)))
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(b"data")
    envelope, archive, out = (f"{tmp_path}/{name}" for name in ("envelope", "archive", "out"))
    meshhw("dare", "encode", f"{tmp_path}/tree/file", envelope, "--encrypt", f"{tmp_path}/public")
    meshhw("dare", "archive", f"{tmp_path}/tree", archive, "--encrypt", f"{tmp_path}/public")
    words = {
        "decode": (envelope, out),
        "rewrap": (envelope, out, "--encrypt", f"{tmp_path}/public"),
        "list": (archive, "--names"),
        "extract": (archive, out),
        "archive": (f"{tmp_path}/tree", archive, "--update"),
    }
    assert json.loads(meshhw("log", "show", "--json").stdout) == []
    done = meshhw("dare", verb, *words[verb], "--key", f"{tmp_path}/private")
    assert done.returncode == 0, done.stderr
    lines = json.loads(meshhw("log", "show", "--json").stdout)
    told = {(line["key"], line["operation"], line["caller"], line["result"]) for line in lines}
    assert told == {(f"memory:udf={fingerprint(key.public)}", "agree", f"meshhw dare {verb}", "ok")}
    assert meshhw("log", "verify").returncode == 0
