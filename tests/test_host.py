"""The host state: kept whole, private, and refused when it cannot be trusted."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from meshhw.algorithms import Algorithm, Suite, Tier
from meshhw.errors import Ambiguous, FormatError, InsecurePermissions, KeyNotFound, NewerVersion
from meshhw.managers.host import Host, KeyHandle, ProfileRecord, now

HANDLE = KeyHandle(
    role="encryption",
    udf="MB2A-KEY",
    algorithm=Algorithm.X448,
    tier=Tier.NATIVE,
    uri="pkcs11:token=one;object=k",
    public=b"\x05" + bytes(56),
)


def record(udf: str, label: str = "", kind: str = "ProfileDevice") -> ProfileRecord:
    return ProfileRecord(
        udf=udf, kind=kind, suite=Suite.S448, created=now(), envelope=b"[{},{}]", keys=(HANDLE,), label=label
    )


def test_what_was_added_is_there_again(tmp_path: Path) -> None:
    home = tmp_path / "home"
    added = record("MABC-DEFG", "laptop")
    Host(home).add(added)
    assert Host(home).profiles() == (added,)
    assert Host(home).key("MB2A-KEY") == (added, HANDLE)
    assert (home / "host.json").stat().st_mode & 0o777 == 0o600
    assert added.key("encryption").public_key.octets[:1] == b"\x05"


def test_names_and_beginnings_of_udfs_find_a_profile(tmp_path: Path) -> None:
    host = Host(tmp_path / "home")
    for udf, label in (("MABC-DEFG", "laptop"), ("MABC-XYZA", "")):
        host.add(record(udf, label))
    assert host.profile("mabc-d").udf == "MABC-DEFG"
    assert host.profile("laptop").udf == "MABC-DEFG"
    with pytest.raises(Ambiguous) as caught:
        host.profile("MABC")
    assert caught.value.candidates == ("MABC-DEFG", "MABC-XYZA")
    with pytest.raises(KeyNotFound):
        host.profile("MAB")
    with pytest.raises(KeyNotFound):
        host.profile(kind="ProfileUser")


def test_adding_again_replaces_and_removing_forgets(tmp_path: Path) -> None:
    host = Host(tmp_path / "home")
    host.add(record("MABC-DEFG"))
    host.add(record("MABC-DEFG", "renamed"))
    assert [item.label for item in host.profiles()] == ["renamed"]
    host.remove("MABC-DEFG")
    host.remove("MABC-DEFG")
    assert host.profiles() == ()


def test_a_newer_state_is_refused_and_left_alone(tmp_path: Path) -> None:
    host = Host(tmp_path / "home")
    path = tmp_path / "home" / "host.json"
    path.write_text('{"version": 2, "profiles": "of a shape to come"}')
    path.chmod(0o600)
    with pytest.raises(NewerVersion):
        host.profiles()
    with pytest.raises(NewerVersion):
        host.add(record("MABC-DEFG"))
    assert "to come" in path.read_text()


@pytest.mark.parametrize(
    "damage", [b"", b"{", b'{"version": 1, "profiles": [{"udf": 7}]}', b'{"profiles": []}', b'{"\xd3": 1}']
)
def test_a_damaged_state_is_an_error_and_is_not_overwritten(tmp_path: Path, damage: bytes) -> None:
    host = Host(tmp_path / "home")
    path = tmp_path / "home" / "host.json"
    path.write_bytes(damage)
    path.chmod(0o600)
    with pytest.raises(FormatError):
        host.add(record("MABC-DEFG"))
    assert path.read_bytes() == damage


def test_open_permissions_are_refused_with_the_cure(tmp_path: Path) -> None:
    host = Host(tmp_path / "home")
    host.add(record("MABC-DEFG"))
    (tmp_path / "home" / "host.json").chmod(0o644)
    with pytest.raises(InsecurePermissions) as caught:
        host.profiles()
    assert caught.value.hint.startswith("chmod 600 ")
    (tmp_path / "home").chmod(0o755)
    with pytest.raises(InsecurePermissions) as caught:
        Host(tmp_path / "home")
    assert caught.value.hint.startswith("chmod 700 ")


def test_kill_9_while_writing_leaves_a_state_that_reads(tmp_path: Path) -> None:
    home = tmp_path / "home"
    Host(home).add(record("MABC-DEFG"))
    code = f"""
from pathlib import Path
from msgspec.structs import replace
from meshhw.managers.host import Host
host = Host(Path({str(home)!r}))
first = host.profile('MABC-DEFG')
while True:
    for number in range(40):
        host.add(replace(first, udf=f"MAAA-{{number:04}}"))
"""
    for wait in (0.02, 0.03, 0.05):
        writer = subprocess.Popen([sys.executable, "-c", code])
        size = (home / "host.json").stat().st_ino
        while (home / "host.json").stat().st_ino == size and writer.poll() is None:
            time.sleep(0.005)
        time.sleep(wait)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        assert Host(home).profile("MABC-DEFG").keys == (HANDLE,)
        Host(home).add(record("MABC-DEFG"))
        assert sorted(path.name for path in home.iterdir()) == ["host.json", "host.json.lock"]
