"""`meshhw log sign`, and that the log still tells everything afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def test_sign_seals_and_proves(meshhw: Any, tmp_path: Any) -> None:
    secret = {"MESHHW_PIN_SOURCE": "env:SECRET", "SECRET": "a passphrase"}
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
