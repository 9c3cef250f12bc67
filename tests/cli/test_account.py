"""`meshhw account` as a person uses it, on the software vault."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meshhw.lab.piv.attestation import Authority
from tests.account.vaults import home_with_cheap_vault
from tests.cli.conftest import Meshhw

PASSPHRASE = "a passphrase"


@pytest.fixture
def new_pins(tmp_path: Path) -> dict[str, str]:
    """For a home without a vault."""
    path = tmp_path / "pins"
    path.write_text(f"{PASSPHRASE}\nnew={PASSPHRASE}\n")
    return {"MESHHW_PIN_SOURCE": f"file:{path}"}


@pytest.fixture
def pins(new_pins: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """For a home whose vault costs little to unlock, as each command does."""
    return machine(new_pins, tmp_path / "home")


def machine(pins: dict[str, str], home: Path) -> dict[str, str]:
    """The environment of another machine of that person, with such a vault."""
    home_with_cheap_vault(home, PASSPHRASE)
    return pins | {"MESHHW_HOME": str(home)}


def test_create_and_show(meshhw: Meshhw, new_pins: dict[str, str]) -> None:
    made = meshhw("account", "create", "Alice@Example.com", "--on", "software:", env=new_pins)
    assert made.returncode == 0, made.stderr
    assert "the seed stays sealed" in made.stderr
    shown = json.loads(meshhw("account", "show", "--json").stdout)
    assert (shown["udf"], shown["address"], shown["seed"]) == (
        made.stdout.strip(),
        "alice@example.com",
        "sealed",
    )
    assert len(shown["keys"]) == 7
    assert "administrator-signature" in meshhw("account", "show").stdout


def test_faults_have_their_exit_status(meshhw: Meshhw, new_pins: dict[str, str]) -> None:
    assert meshhw("account", "show").returncode == 3
    assert meshhw("account", "create", "alice", "--on", "software:", env=new_pins).returncode == 2
    refused = meshhw("account", "create", "a@b.c", "--on", "software:", "--require-hardware", env=new_pins)
    assert refused.returncode == 5
    assert meshhw("account", "create", "a@b.c", "--on", "software:").returncode == 4


def test_escrow_and_recovery_on_a_bare_machine(meshhw: Meshhw, pins: dict[str, str], tmp_path: Path) -> None:
    udf = meshhw("account", "create", "alice@example.com", "--on", "software:", env=pins).stdout.strip()
    rehearsed = meshhw("account", "escrow", "--rehearse", env=pins)
    assert rehearsed.stdout.strip() == f"2 of 3 shares recover {udf}; nothing was changed"

    kept = json.loads(meshhw("account", "escrow", "--json", env=pins).stdout)
    assert json.loads(meshhw("account", "show", "--json").stdout)["seed"] == "sealed"
    assert meshhw("account", "escrow", "--yes", "--out", str(tmp_path / "sheets"), env=pins).returncode == 0
    assert json.loads(meshhw("account", "show", "--json").stdout)["seed"] == "not here"
    assert meshhw("account", "escrow", env=pins).returncode == 5

    codes = "\n".join(share["code"] for share in kept["shares"][:2])
    bare = machine(pins, tmp_path / "bare")
    recovered = meshhw("account", "recover", "-", "--on", "software:", env=bare, text=codes)
    assert (recovered.returncode, recovered.stdout.strip()) == (0, udf), recovered.stderr
    assert "not here: the account's address; the stores MMM_Access" in recovered.stderr

    saved = tmp_path / "home" / "accounts" / udf
    whole = machine(pins, tmp_path / "whole")
    arguments = ("account", "recover", "-", "--from", str(saved), "--on", "software:")
    soft = meshhw(*arguments, "--require-hardware", env=whole, text=codes)
    assert (soft.returncode, meshhw("account", "show", env=whole).returncode) == (5, 3)
    assert meshhw(*arguments, env=whole, text=codes).returncode == 0
    assert json.loads(meshhw("account", "show", "--json", env=whole).stdout)["address"] == "alice@example.com"

    one = kept["shares"][0]["code"]
    refused = meshhw("account", "recover", "-", env=pins | {"MESHHW_HOME": str(tmp_path / "x")}, text=one)
    assert refused.returncode == 6
    assert "Traceback" not in refused.stderr


def test_a_second_device_is_connected_by_files(meshhw: Meshhw, pins: dict[str, str], tmp_path: Path) -> None:
    phone = machine(pins, tmp_path / "phone")
    ask, answer, letter = (str(tmp_path / name) for name in ("ask.dare", "answer.dare", "letter.dare"))
    assert meshhw("account", "create", "alice@example.com", "--on", "software:", env=pins).returncode == 0
    assert meshhw("device", "create", "--on", "software:", env=phone).returncode == 0
    asked = meshhw("device", "request", "alice@example.com", "--out", ask, "--json", env=phone)
    witness = json.loads(asked.stdout)["witness"]

    connect = ("account", "connect", ask, "--roles", "web", "--out", answer)
    assert meshhw(*connect, "--witness", "MAAA-AAAA", env=pins).returncode == 6
    assert meshhw(*connect, env=pins).returncode == 1
    assert not Path(answer).exists()
    assert meshhw(*connect, "--witness", witness, "--name", "phone", env=pins).returncode == 0
    listed = json.loads(meshhw("account", "devices", "--json", env=pins).stdout)
    assert [(row["name"], row["roles"]) for row in listed] == [("", "super"), ("phone", "web")]
    completed = meshhw("device", "complete", answer, env=phone)
    assert completed.returncode == 0, completed.stderr
    assert "as web" in completed.stdout
    joined = json.loads(meshhw("account", "show", "--json", env=phone).stdout)
    assert (joined["address"], joined["roles"]) == ("alice@example.com", "web")

    note = tmp_path / "note.txt"
    note.write_text("for all of Alice's devices")
    assert meshhw("dare", "encode", str(note), letter, "--encrypt", "alice@example.com").returncode == 0
    for env in (pins, phone):
        opened = tmp_path / "opened.txt"
        decoded = meshhw("dare", "decode", letter, str(opened), env=env)
        assert decoded.returncode == 0, decoded.stderr
        assert opened.read_text() == "for all of Alice's devices"
        opened.unlink()


def test_administrators_are_listed_added_and_removed(
    meshhw: Meshhw, pins: dict[str, str], tmp_path: Path
) -> None:
    assert meshhw("account", "create", "alice@example.com", "--on", "software:", env=pins).returncode == 0
    [first] = json.loads(meshhw("account", "admin", "list", "--json").stdout)
    key = tmp_path / "key.json"
    key.write_text(
        '{"PublicKeyECDH":{"crv":"Ed25519","Public":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}'
    )
    assert meshhw("account", "admin", "add", str(key), env=pins).returncode == 0
    assert len(json.loads(meshhw("account", "admin", "list", "--json").stdout)) == 2
    assert meshhw("account", "admin", "remove", first["udf"], env=pins).returncode == 1
    assert meshhw("account", "admin", "remove", first["udf"], "--yes", env=pins).returncode == 0
    [left] = json.loads(meshhw("account", "admin", "list", "--json").stdout)
    assert left["algorithm"] == "Ed25519"


def test_a_policy_is_shown_changed_and_refuses_a_device_in_the_vault(
    meshhw: Meshhw, pins: dict[str, str], tmp_path: Path
) -> None:
    phone = machine(pins, tmp_path / "phone")
    ask, answer = str(tmp_path / "ask.dare"), str(tmp_path / "answer.dare")
    root = tmp_path / "root.der"
    root.write_bytes(Authority().root)
    assert meshhw("account", "create", "alice@example.com", "--on", "software:", env=pins).returncode == 0
    refused = meshhw("account", "policy", "--require-attestation", env=pins)
    assert (refused.returncode, "--trust" in refused.stderr) == (2, True)
    set_so = meshhw(
        "account", "policy", "--require-attestation", "--trust", str(root), "--for", "admin,web", env=pins
    )
    assert set_so.returncode == 0, set_so.stderr
    shown = json.loads(meshhw("account", "policy", "--json").stdout)
    assert shown == {
        "attestation": True,
        "trust": ["CN=Lab PIV Root CA"],
        "touch": "never",
        "pin": "never",
        "suite": "any",
        "for": ["admin", "web"],
    }
    assert meshhw("device", "create", "--on", "software:", env=phone).returncode == 0
    assert meshhw("device", "request", "alice@example.com", "--out", ask, env=phone).returncode == 0
    connect = ("account", "connect", ask, "--out", answer, "--yes")
    refused = meshhw(*connect, "--roles", "web", "--json", env=pins)
    told = json.loads(refused.stdout)["error"]
    assert (refused.returncode, told["class"]) == (6, "AttestationRefused")
    assert "Signature: unattested: nothing says that a token holds it" in told["message"]
    assert not Path(answer).exists()
    assert meshhw(*connect, "--roles", "device", env=pins).returncode == 0


def test_a_lost_device_is_disconnected_and_the_other_brought_up_to_date(
    meshhw: Meshhw, pins: dict[str, str], tmp_path: Path
) -> None:
    assert meshhw("account", "create", "alice@example.com", "--on", "software:", env=pins).returncode == 0
    homes = {name: machine(pins, tmp_path / name) for name in ("phone", "laptop")}
    for name, env in homes.items():
        assert meshhw("device", "create", "--on", "software:", env=env).returncode == 0
        ask, answer = str(tmp_path / f"{name}.ask"), str(tmp_path / f"{name}.answer")
        asked = meshhw("device", "request", "alice@example.com", "--out", ask, "--json", env=env)
        witness = json.loads(asked.stdout)["witness"]
        connect = ("account", "connect", ask, "--roles", "web", "--out", answer, "--name", name)
        assert meshhw(*connect, "--witness", witness, env=pins).returncode == 0
        assert meshhw("device", "complete", answer, env=env).returncode == 0

    refused = meshhw("account", "disconnect", "laptop", env=pins)
    assert (refused.returncode, "not confirmed" in refused.stderr) == (1, True)
    assert meshhw("account", "disconnect", "desk", "--yes", env=pins).returncode == 3
    succeed = ("account", "succeed", "laptop", "--on", "software:", "--require-hardware", "--yes")
    assert meshhw(*succeed, env=pins).returncode == 5
    updates = tmp_path / "updates"
    done = meshhw("account", "disconnect", "laptop", "--yes", "--out", str(updates), "--json", env=pins)
    assert done.returncode == 0, done.stderr
    assert "1 PIN, 0 touches: 4 signatures by this administrator's key, 1 by the root key" in done.stderr
    value = json.loads(done.stdout)
    assert (value["device"], value["version"], len(value["updates"])) == ("laptop", 2, 1)
    assert "MMM_Credential" in value["rekeyed"]
    [for_phone] = value["updates"]
    assert meshhw("device", "complete", for_phone, env=homes["phone"]).returncode == 0
    assert meshhw("device", "complete", for_phone, env=homes["laptop"]).returncode == 3
    shown = json.loads(meshhw("account", "show", "--json", env=homes["phone"]).stdout)
    assert shown["version"] == "2"


def test_a_pin_connects_once_and_is_no_argument(meshhw: Meshhw, pins: dict[str, str], tmp_path: Path) -> None:
    phone = machine(pins, tmp_path / "phone")
    ask, answer = str(tmp_path / "ask.dare"), str(tmp_path / "answer.dare")
    assert meshhw("account", "create", "alice@example.com", "--on", "software:", env=pins).returncode == 0
    assert meshhw("account", "pin", "--roles", "king", env=pins).returncode == 2
    assert meshhw("account", "pin", "--expires", "1y", env=pins).returncode == 2
    made = json.loads(meshhw("account", "pin", "--roles", "web", "--json", env=pins).stdout)
    assert made["uri"].startswith("mcu://alice@mm--m")
    assert meshhw("device", "create", "--on", "software:", env=phone).returncode == 0
    request = ("device", "request", "alice@example.com", "--out", ask, "--pin")
    typed = meshhw(*request, made["pin"], env=phone)
    assert "a PIN on the command line can be seen by others" in typed.stderr
    assert meshhw(*request, "-", env=phone, text="NDTL-GUGD-IBJR-4ENF-M4E3-7YJY-OCLR").returncode == 2
    both = ("device", "request", "-", "--pin", "-", "--out", ask)
    assert meshhw(*both, env=phone, text=made["uri"]).returncode == 2
    quiet = meshhw(*request, "-", env=phone, text=made["pin"])
    assert (quiet.returncode, "can be seen" in quiet.stderr) == (0, False)
    assert "1 PIN, 0 touches: 1 signature by the device's key; on software:" in quiet.stderr
    connected = meshhw("account", "connect", ask, "--out", answer, "--json", env=pins)
    assert json.loads(connected.stdout)["roles"] == ["web"], connected.stderr
    told = "4 signatures by this administrator's key, 2 to open the account's keys, 6 operations in all; on "
    assert f"1 PIN, 0 touches: {told}" in connected.stderr
    again = meshhw("account", "connect", ask, "--out", answer, "--json", env=pins)
    assert (again.returncode, json.loads(again.stdout)["error"]["class"]) == (6, "Replayed")
    assert meshhw("device", "complete", answer, env=phone).returncode == 0
    [known] = json.loads(meshhw("account", "pins", "--json", env=pins).stdout)
    assert (known["state"], known["id"]) == ("used", made["id"])
    assert meshhw("account", "pins", "--close", "MAAA", env=pins).returncode == 3


def test_refusals_are_named_and_have_their_exit_status(
    meshhw: Meshhw, pins: dict[str, str], tmp_path: Path
) -> None:
    phone = machine(pins, tmp_path / "phone")
    ask, answer = str(tmp_path / "ask.dare"), str(tmp_path / "answer.dare")
    assert meshhw("account", "create", "alice@example.com", "--on", "software:", env=pins).returncode == 0
    assert meshhw("device", "create", "--on", "software:", env=phone).returncode == 0
    assert meshhw("device", "request", "alice@example.com", "--out", ask, env=phone).returncode == 0
    connect = ("account", "connect", ask, "--out", answer, "--json")
    other = meshhw(*connect, "--witness", "MAAA-AAAA", env=pins)
    assert (other.returncode, json.loads(other.stdout)["error"]["class"]) == (6, "WitnessMismatch")
    assert meshhw(*connect, "--reject", env=pins).returncode == 0
    refused = meshhw("device", "complete", answer, "--json", env=phone)
    assert (refused.returncode, json.loads(refused.stdout)["error"]["class"]) == (1, "Rejected")
    late = meshhw("device", "complete", answer, "--json", env=phone)
    assert (late.returncode, json.loads(late.stdout)["error"]["class"]) == (6, "Replayed")


def test_a_token_keeps_a_share(meshhw: Meshhw, pins: dict[str, str], tmp_path: Path) -> None:
    udf = meshhw("account", "create", "alice@example.com", "--on", "software:", env=pins).stdout.strip()
    keeper = f"software:vault={tmp_path / 'keeper'}"
    kept = meshhw("account", "escrow", "--to", keeper, "--yes", "--json", env=pins)
    assert kept.returncode == 0, kept.stderr
    assert "share 1 of 3 is in" in kept.stderr
    left = json.loads(kept.stdout)["shares"]
    assert [share["index"] for share in left] == [2, 3]
    bare = machine(pins, tmp_path / "bare")
    recover = ("account", "recover", "--share-on", keeper, "--on", "software:")
    assert meshhw(*recover, env=bare).returncode == 6
    recovered = meshhw(*recover, "-", env=bare, text=left[1]["code"])
    assert (recovered.returncode, recovered.stdout.strip()) == (0, udf), recovered.stderr


def test_recovery_from_a_synchronised_directory_brings_the_entries(
    meshhw: Meshhw, pins: dict[str, str], tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    assert meshhw("account", "create", "alice@example.com", "--on", "software:", env=pins).returncode == 0
    added = meshhw("password", "add", "ftp.example.com", "alice", "-", env=pins, text="correct horse")
    assert added.returncode == 0, added.stderr
    assert meshhw("account", "sync", "--dir", str(shared), env=pins).returncode == 0
    kept = json.loads(meshhw("account", "escrow", "--json", "--yes", env=pins).stdout)
    codes = "\n".join(share["code"] for share in kept["shares"][1:])
    bare = machine(pins, tmp_path / "bare")
    arguments = ("account", "recover", "-", "--from", str(shared), "--on", "software:")
    recovered = meshhw(*arguments, env=bare, text=codes)
    assert recovered.returncode == 0, recovered.stderr
    assert meshhw("password", "get", "ftp.example.com", env=bare).stdout == "alice\ncorrect horse\n"
