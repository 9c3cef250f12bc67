"""`meshhw log sign`, and that the log still tells everything afterwards."""

from __future__ import annotations

import json
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
