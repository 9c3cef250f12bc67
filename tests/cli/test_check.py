"""`meshhw token check` on the software vault."""

from __future__ import annotations

import json
from pathlib import Path


def test_a_vault_keeps_its_word(meshhw, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = meshhw(
        *("token", "check", "software:", "--json", "--report", str(report), "--pin-source", "env:VAULT"),
        env={"VAULT": "correct horse"},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told == json.loads(report.read_text())
    outcomes = {verdict["outcome"] for verdict in told["verdicts"]}
    assert outcomes == {"kept", "does not apply"}
    assert {(row["tier"], row["calls"]) for row in told["measurements"]} == {("software", None)}


def test_without_a_passphrase_nothing_is_checked(meshhw) -> None:
    done = meshhw("token", "check", "software:")
    assert done.returncode == 4
    assert done.stdout == ""


def test_spending_a_try_wants_consent(meshhw) -> None:
    done = meshhw("token", "check", "software:", "--wipe", "--pin-source", "env:VAULT", env={"VAULT": "x"})
    assert done.returncode == 1
    assert "--yes" in done.stderr
