"""kill -9 while a device is disconnected: nothing has happened, or the next command carries it out; and while
an account is made again from its shares: it is made again once more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from meshhw.algorithms import Suite
from meshhw.errors import MeshError
from meshhw.keystore import registry
from meshhw.managers.account.authority import authority
from meshhw.managers.account.devices import opened_devices
from meshhw.managers.account.escrow import make_sheets
from meshhw.managers.account.journal import NAME, left_over, resume
from meshhw.managers.host import Host
from tests.account.people import ALICE, OPTIONS, Admin, Phone
from tests.account.test_disconnect import AFTER, BEFORE, bring, copy_stores, join, read, write
from tests.account.vaults import cheap_vault

POINTS = ["signing", "written down", "profile", "catalog", "updates"]


def reached(account: Path, point: str, before: dict[str, bytes]) -> bool:
    """Whether a disconnection has come to this point, by what lies in the account's directory."""
    journal = (account / NAME).exists()
    changed = {
        name
        for name in ("profile.dare", "stores/MMM_Device.dcat")
        if (account / name).read_bytes() != before[name]
    }
    return {
        "signing": (account / "stores").exists(),
        "written down": journal,
        "profile": "profile.dare" in changed,
        "catalog": "stores/MMM_Device.dcat" in changed and (account / "epochs").exists(),
        "updates": any((account / "updates").glob("*.dare")),
    }[point]


@pytest.mark.parametrize("point", POINTS)
def test_a_disconnection_is_undone_or_carried_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    admin = Admin(tmp_path / "admin", Suite.S25519)
    here = authority(admin.host, ALICE, OPTIONS)
    laptop, tablet = Phone(tmp_path / "laptop", Suite.S25519), Phone(tmp_path / "tablet", Suite.S25519)
    join(here, laptop, "laptop", "web")
    join(here, tablet, "tablet", "web")
    write(here.host, BEFORE)
    copy_stores(here.host, laptop.host)
    account = here.directory.path
    before = {str(path.relative_to(account)): path.read_bytes() for path in account.rglob("*.*")}

    pins = tmp_path / "pins"
    pins.write_text("a passphrase\n")
    environment = os.environ | {"MESHHW_HOME": str(admin.host.home), "MESHHW_PIN_SOURCE": f"file:{pins}"}
    process = subprocess.Popen(
        [sys.executable, "-m", "meshhw", "account", "disconnect", "laptop", "--yes"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    if point == "signing":
        time.sleep(0.7)
    while process.poll() is None:
        if reached(account, point, before):
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.0002)
    process.wait()

    again = authority(admin.host, ALICE, OPTIONS)
    decided = left_over(again) is not None or again.profile.version == 2
    resume(again)
    assert left_over(again) is None
    write(admin.host, AFTER)
    assert read(admin.host) == {"before", "after"}
    with opened_devices(admin.host, OPTIONS) as devices:
        names = [item.local_name for item in devices.devices()]
    copy_stores(admin.host, laptop.host)
    if not decided:
        assert set(names) == {None, "laptop", "tablet"}
        assert read(laptop.host) == {"before", "after"}
        return
    assert set(names) == {None, "tablet"}
    with pytest.raises(MeshError):
        read(laptop.host)
    bring(again, tablet)
    copy_stores(admin.host, tablet.host)
    assert read(tablet.host) == {"before", "after"}


@pytest.mark.parametrize("point", ["making", "accounts", "keys.sealed", "MMM_Device.dcat"])
def test_a_recovery_that_was_killed_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    admin = Admin(tmp_path / "admin", Suite.S25519)
    write(admin.host, BEFORE)
    codes = tmp_path / "codes"
    sheets = make_sheets(admin.host, admin.account, OPTIONS, 2, 3)
    codes.write_text("\n".join(sheet.code for sheet in sheets[:2]))
    saved = admin.host.home / "accounts" / admin.account.udf
    bare = tmp_path / "bare"
    Host(bare)
    [vault] = cheap_vault(bare, OPTIONS)
    pins = tmp_path / "pins"
    pins.write_text("a passphrase\n")
    environment = os.environ | {"MESHHW_HOME": str(bare), "MESHHW_PIN_SOURCE": f"file:{pins}"}
    command = ["account", "recover", f"@{codes}", "--from", str(saved), "--on", str(vault)]
    process = subprocess.Popen(
        [sys.executable, "-m", "meshhw", *command],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None:
        if any(bare.rglob(point)):
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.0002)
    process.wait()
    host = Host(bare)
    if not host.profiles("ProfileUser"):
        again = subprocess.run(
            [sys.executable, "-m", "meshhw", *command],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert again.returncode == 0, again.stderr
    assert host.profile(ALICE).udf == admin.account.udf
    assert read(host) == {"before"}
    token = registry.open_token(vault, OPTIONS)
    assert len(token.keys()) == len(host.profile(ALICE).keys)
    token.close()
