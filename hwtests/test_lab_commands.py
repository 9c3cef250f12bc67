"""`meshhw lab`: tokens that outlive the command, faults that reach every program, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


class Home:
    """A home with its lab, used through the command line alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.env = {"PATH": os.environ["PATH"], "HOME": str(path), "MESHHW_HOME": str(path)}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "meshhw", *arguments],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def use_lab(self) -> None:
        """What `eval "$(meshhw lab env)"` does to a shell."""
        done = subprocess.run(
            ["sh", "-c", 'eval "$1" && env -0', "sh", self.run("lab", "env").stdout],
            env=self.env,
            capture_output=True,
            text=True,
            check=True,
        )
        self.env = dict(line.partition("=")[::2] for line in done.stdout.split("\0") if line)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "home")
    yield made
    made.run("lab", "down")


def test_a_lab_serves_programs_until_it_is_down(home: Home) -> None:
    up = home.json("lab", "up", "--softhsm", "1", "--nss", "1")
    assert [token["name"] for token in up] == ["softhsm-1", "nss-1"]
    home.use_lab()
    listed = home.json("token", "list")
    assert {token["label"] for token in listed} == {"softhsm-1", "nss-1"}
    key = home.run("key", "generate", "--on", "nss-1", "--algorithm", "P-256", "--label", "one")
    assert key.returncode == 0, key.stderr
    other = subprocess.run(
        ["pkcs11-tool", "--module", home.env["MESHHW_PKCS11_MODULES"].split(":")[0], "--list-slots"],
        env=home.env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "softhsm-1" in other.stdout
    unknown = home.run("key", "show", "two")  # there is an empty slot too, which is asked nothing
    assert (unknown.returncode, unknown.stdout) == (3, ""), unknown.stderr
    assert "no key is called 'two'; not asked without a PIN: nss-1, softhsm-1" in unknown.stderr
    assert home.run("key", "show", "one").stdout.splitlines()[-1].split() == [
        "read",
        "CKA_VALUE",
        "CKR_ATTRIBUTE_SENSITIVE",
    ]
    assert home.run("lab", "down").returncode == 0
    assert not (home.path / "lab").exists()
    down = home.run("lab", "status")
    assert (down.returncode, down.stdout) == (1, "")
    assert "hint: `meshhw lab up`" in down.stderr


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        ("pull", 3, "no PKCS#11 token"),
        ("swap", 3, ""),
        ("lock", 4, "meshhw token unlock"),
        ("busy", 7, ""),
        ("hang", 7, "softhsm-lab.so: no answer"),
    ],
)
def test_faults_reach_other_programs_and_end(home: Home, fault: str, status: int, said: str) -> None:
    home.run("lab", "up", "--softhsm", "1")
    home.use_lab()
    uri = home.json("key", "generate", "--on", "softhsm-1", "--algorithm", "Ed25519")["uri"]
    message = home.path / "message"
    message.write_text("text")
    assert home.run("lab", "fault", "softhsm-1", fault).returncode == 0
    struck = home.run(
        "key", "sign", uri, str(message), "--out", str(home.path / "signature"), "--deadline", "1"
    )
    assert struck.returncode == status, struck.stderr
    assert said in struck.stderr
    assert "Traceback" not in struck.stderr
    assert not (home.path / "signature").exists()
    assert home.run("lab", "fault", "softhsm-1", "none").returncode == 0
    healed = home.run("key", "sign", uri, str(message), "--out", str(home.path / "signature"))
    assert healed.returncode == 0, healed.stderr
    assert len((home.path / "signature").read_bytes()) == 64


def test_a_uris_own_pin_source_is_honoured(home: Home) -> None:
    home.run("lab", "up", "--softhsm", "1")
    home.use_lab()
    del home.env["MESHHW_PIN_SOURCE"]
    assert home.run("token", "keys", "pkcs11:token=softhsm-1").returncode == 4
    source = home.path / "lab" / "pins" / "softhsm-1"
    for written in (f"file:{source}", str(source), f"file://{source}"):
        assert home.json("token", "keys", f"pkcs11:token=softhsm-1?pin-source={written}") == []


def test_erased_tokens_are_empty(home: Home) -> None:
    home.run("lab", "up", "--softhsm", "1")
    home.use_lab()
    home.run("key", "generate", "--on", "softhsm-1", "--algorithm", "P-256")
    assert len(home.json("token", "keys", "softhsm-1")) == 1
    (listed,) = home.json("token", "list")
    assert home.run("lab", "fault", listed["uri"], "clear").returncode == 0
    assert home.json("token", "keys", "softhsm-1") == []


def test_attestations_are_checked_up_to_the_labs_own_root(home: Home) -> None:
    home.run("lab", "up", "--piv", "2")
    home.use_lab()
    for token in ("piv-1", "piv-2"):
        key = home.json("key", "generate", "--on", token, "--algorithm", "P-256")["uri"]
        checked = home.json("key", "attest", key, "--root", home.env["MESHHW_LAB_PIV_ROOT"])
        assert checked["facts"]["generated_inside"] is True, checked


def test_what_cannot_befall_and_who_is_not_there(home: Home) -> None:
    home.run("lab", "up", "--softhsm", "1")
    assert home.run("lab", "fault", "softhsm-1", "notouch").returncode == 5
    assert home.run("lab", "fault", "nobody", "pull").returncode == 3
    assert home.run("lab", "fault", "softhsm-1", "burn").returncode == 2
    again = home.run("lab", "up")
    assert again.returncode == 1
    assert "a lab is up" in again.stderr


def test_labs_side_by_side_keep_to_themselves(home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path / ("long" * 30) / "home")  # longer than a socket's name may be
    try:
        for one in (home, other):
            assert one.run("lab", "up", "--softhsm", "1").returncode == 0
            one.use_lab()
        assert home.run("lab", "fault", "softhsm-1", "pull").returncode == 0
        assert home.json("token", "list") == []
        assert len(other.json("token", "list")) == 1
    finally:
        assert other.run("lab", "down").returncode == 0


def test_pins_are_in_private_files_alone(home: Home) -> None:
    home.run("lab", "up", "--softhsm", "1", "--nss", "1")
    shown = home.run("lab", "status").stdout + home.run("lab", "env").stdout
    processes = b"".join(
        path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if os.access(path, os.R_OK)
    )
    for file in (home.path / "lab" / "pins").iterdir():
        assert file.stat().st_mode & 0o077 == 0
        pin = file.read_text().splitlines()[0]
        assert pin not in shown
        assert pin.encode() not in processes


def test_a_crash_leaves_no_daemon_and_no_obstacle(home: Home) -> None:
    home.run("lab", "up", "--softhsm", "1", "--tpm", "1")
    keeper = _processes("meshhw.lab.keeper", str(home.path))
    daemons = _processes("swtpm", "")
    assert len(keeper) == 1
    children = [pid for pid in daemons if _parent(pid) == keeper[0]]
    assert len(children) == 1
    os.kill(keeper[0], signal.SIGKILL)
    end = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() and _state(pid) != "Z" for pid in children):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert home.run("lab", "status").returncode == 1
    assert home.run("lab", "up", "--softhsm", "1").returncode == 0


def test_a_keeper_that_does_not_answer_is_named_and_its_files_are_left(home: Home) -> None:
    home.run("lab", "up", "--softhsm", "1")
    (keeper,) = _processes("meshhw.lab.keeper", str(home.path))
    (home.path / "lab" / "keeper.sock").unlink()  # as if somebody had tidied up
    for command in ("up", "down"):
        done = home.run("lab", command)
        assert done.returncode == 1
        assert f"hint: kill {keeper}" in done.stderr
    assert (home.path / "lab" / "softhsm").exists()
    os.kill(keeper, signal.SIGTERM)
    end = time.monotonic() + 30
    while Path(f"/proc/{keeper}").exists() and _state(keeper) != "Z" and time.monotonic() < end:
        time.sleep(0.02)
    assert home.run("lab", "down").returncode == 0
    assert not (home.path / "lab").exists()


def _processes(name: str, argument: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if name in text and argument in text:
            found.append(int(path.parent.name))
    return found


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _state(pid: int) -> str:
    return _stat(pid)[0]


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])
