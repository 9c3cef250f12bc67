"""Every kind of emulated token can be had by one fixture, here and in another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from meshhw.lab.fixtures_any import EmulatedToken


def test_any_token_opens_and_is_seen_by_other_processes(any_token: EmulatedToken) -> None:
    token = any_token.open()
    info = token.info()
    assert token.capabilities().algorithms() or token.capabilities().seals
    token.close()
    listed = subprocess.run(
        [sys.executable, "-m", "meshhw", "token", "list", "--all", "--json"],
        env={**os.environ, **any_token.env},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (info.driver, info.label, info.serial) in {
        (row["driver"], row["label"], row["serial"]) for row in json.loads(listed.stdout)
    }
