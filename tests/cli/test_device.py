"""`meshhw device` as a person uses it, on the software vault."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Meshhw

VECTORS = Path(__file__).parents[1] / "vectors"


@pytest.fixture
def pins(tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "pins"
    path.write_text("a passphrase\nnew=a passphrase\n")
    return {"MESHHW_PIN_SOURCE": f"file:{path}"}


def test_create_list_show_export_verify_delete(meshhw: Meshhw, pins: dict[str, str], tmp_path: Path) -> None:
    made = meshhw("device", "create", "--on", "software:", "--label", "laptop", env=pins)
    udf = made.stdout.strip()
    assert made.returncode == 0, made.stderr
    assert "suite 448; 1 PIN: software vault" in made.stderr

    listed = json.loads(meshhw("device", "list", "--json").stdout)
    assert [(item["udf"], item["suite"]) for item in listed] == [(udf, "448")]
    assert set(listed[0]["keys"][0]) >= {"role", "algorithm", "tier", "uri"}
    shown = meshhw("device", "show", "laptop")
    assert "profile-signature" in shown.stdout
    assert "software" in shown.stdout

    file = tmp_path / "device.dare"
    assert meshhw("device", "export", udf[:9], str(file)).returncode == 0
    elsewhere = {"MESHHW_HOME": str(tmp_path / "other")}
    verified = meshhw("device", "verify", str(file), "--json", env=elsewhere)
    assert json.loads(verified.stdout)["udf"] == udf
    program = f"{sys.executable} -m meshhw device"
    line = f"{program} export laptop - | {program} verify -"
    home = os.environ | {"MESHHW_HOME": str(tmp_path / "home")}
    piped = subprocess.run(["sh", "-c", line], env=home, capture_output=True, text=True, check=False)
    assert f" {udf} is signed" in piped.stdout, piped.stderr
    refused = meshhw("device", "request", "alice@example.com", "--out", "-", env=pins)
    assert (refused.returncode, "pipe" in refused.stderr) == (2, True)

    asked = meshhw("device", "delete", udf, env=pins)
    assert asked.returncode != 0
    assert json.loads(meshhw("device", "list", "--json").stdout) == listed
    assert meshhw("device", "delete", udf, "--yes", env=pins).returncode == 0
    assert json.loads(meshhw("device", "list", "--json").stdout) == []
    assert meshhw("device", "show", udf).returncode == 3


def test_a_changed_profile_exits_with_6(meshhw: Meshhw, tmp_path: Path) -> None:
    vector = json.loads((VECTORS / "schema_device_seed_preconfigured.json").read_text())
    file = tmp_path / "published.json"
    file.write_text(json.dumps(vector["envelope"]))
    assert "MBYN-VC7T" in meshhw("device", "verify", str(file)).stdout
    header, body, trailer = vector["envelope"]
    file.write_text(json.dumps([header, body[:60] + ("A" if body[60] != "A" else "B") + body[61:], trailer]))
    refused = meshhw("device", "verify", str(file))
    assert refused.returncode == 6
    assert "Traceback" not in refused.stderr


def test_wrong_and_missing_pins_exit_with_4(meshhw: Meshhw, pins: dict[str, str]) -> None:
    assert meshhw("device", "create", "--on", "software:").returncode == 4
    assert meshhw("device", "create", "--on", "software:", env=pins).returncode == 0
    wrong = meshhw("device", "create", "--on", "software:", env={"MESHHW_PIN_SOURCE": "env:P", "P": "wrong"})
    assert wrong.returncode == 4
    assert len(json.loads(meshhw("device", "list", "--json").stdout)) == 1


def test_required_hardware_exits_with_5(meshhw: Meshhw, pins: dict[str, str]) -> None:
    refused = meshhw("device", "create", "--on", "software:", "--require-hardware", env=pins)
    assert refused.returncode == 5
    assert "hint:" in refused.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--role", "encryption"),
        ("--role", "escrow=software:"),
        ("--role", "escrow=nobody"),
        ("--suite", "512"),
        ("--from-seed", "MAAA-AAAA"),
        ("--on", "pkcs11:pin-value=1234"),
    ],
)
def test_usage_errors_exit_with_2(meshhw: Meshhw, pins: dict[str, str], arguments: tuple[str, ...]) -> None:
    refused = meshhw("device", "create", *arguments, env=pins)
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr
