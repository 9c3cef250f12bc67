"""kill -9 while a device is disconnected: nothing has happened, or the next command carries it out; and while
an account is made again from its shares: it is made again once more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from meshhw.algorithms import Suite
from meshhw.cli.main import run
from meshhw.errors import MeshError
from meshhw.keystore import registry
from meshhw.managers.account.authority import authority
from meshhw.managers.account.devices import opened_devices
from meshhw.managers.account.escrow import make_sheets
from meshhw.managers.account.journal import NAME, left_over, resume
from meshhw.managers.host import Host
from tests.account.killing import killed_before
from tests.account.people import ALICE, OPTIONS, Admin, Phone
from tests.account.test_disconnect import AFTER, BEFORE, bring, copy_stores, join, leave, read, write
from tests.account.vaults import cheap_vault

UNDECIDED, DECIDED = False, True
POINTS = [
    (NAME, 1, UNDECIDED),  # everything is signed, and nothing written
    ("keys.sealed", 1, DECIDED),
    ("profile.dare", 1, DECIDED),
    ("epochs/*", 1, DECIDED),
    ("stores/MMM_Device.dcat", 5, DECIDED),  # read twice and held once (open for both), a new epoch begun in
    ("updates/*.dare", 1, DECIDED),
    (NAME, 2, DECIDED),  # only this is left to be removed
]
"""Just before which change of which file the process is killed, and whether the device is out by then."""


@pytest.mark.parametrize(("place", "moment", "decided"), POINTS)
def test_a_disconnection_is_undone_or_carried_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, moment: int, *, decided: bool
) -> None:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    admin = Admin(tmp_path / "admin", Suite.S25519)
    here = authority(admin.host, ALICE, OPTIONS)
    laptop, tablet = Phone(tmp_path / "laptop", Suite.S25519), Phone(tmp_path / "tablet", Suite.S25519)
    join(here, laptop, "laptop", "web")
    join(here, tablet, "tablet", "web")
    write(here.host, BEFORE)
    copy_stores(here.host, laptop.host)
    killed_before(f"{here.directory.path}/{place}", lambda: leave(here, "laptop"), moment)

    again = authority(admin.host, ALICE, OPTIONS)
    assert resume(again) is decided
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


def meshhw(*arguments: str) -> None:
    """The command line, in a process that is this command's alone."""
    sys.argv = ["meshhw", *arguments]
    run()


@pytest.mark.parametrize(
    "place", ["making/*", "accounts/*", "accounts/*/keys.sealed", "accounts/*/stores/MMM_Device.dcat"]
)
def test_a_recovery_that_was_killed_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    admin = Admin(tmp_path / "admin", Suite.S25519)
    write(admin.host, BEFORE)
    codes = tmp_path / "codes"
    sheets = make_sheets(admin.host, admin.account, OPTIONS, 2, 3)
    codes.write_text("\n".join(sheet.code for sheet in sheets[:2]))
    saved = admin.host.home / "accounts" / admin.account.udf
    bare = tmp_path / "bare"
    host = Host(bare)
    [vault] = cheap_vault(bare, OPTIONS)
    pins = tmp_path / "pins"
    pins.write_text("a passphrase\n")
    monkeypatch.setenv("MESHHW_HOME", str(bare))
    monkeypatch.setenv("MESHHW_PIN_SOURCE", f"file:{pins}")
    command = ["account", "recover", f"@{codes}", "--from", str(saved), "--on", str(vault)]
    killed_before(f"{bare}/{place}", lambda: meshhw(*command))
    assert not host.profiles("ProfileUser")  # it comes last
    again = [sys.executable, "-m", "meshhw", *command]
    done = subprocess.run(again, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert host.profile(ALICE).udf == admin.account.udf
    assert read(host) == {"before"}
    token = registry.open_token(vault, OPTIONS)
    assert len(token.keys()) == len(host.profile(ALICE).keys)
    token.close()
