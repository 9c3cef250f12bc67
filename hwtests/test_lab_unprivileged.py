"""A whole lab by a user without privileges: daemons, cards, TPM and USB keys, and what it leaves behind."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshhw.lab.vpcd import lab_directory

NOBODY = 65534
BECOME = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]


def becoming() -> list[str]:
    """What goes before a command to run it as nobody, who must be able to reach this Python and its packages.

    A directory that only root may enter (root's home) is covered by one that shows what is needed of it.
    """
    if os.geteuid() != 0:
        return []
    needed = {Path(sys.base_prefix), Path(sys.prefix), *(Path(entry) for entry in sys.path if entry)}
    shown = {place: closed for place in needed if place.is_dir() and (closed := _closed_above(place))}
    if not shown:
        return BECOME
    steps = ["set -e", "mount -t tmpfs tmpfs /mnt"]
    for number, place in enumerate(shown):
        steps += [f"mkdir /mnt/{number}", f"mount --bind {shlex.quote(str(place))} /mnt/{number}"]
    steps += [
        f"mount -t tmpfs -o mode=755 tmpfs {shlex.quote(str(closed))}" for closed in set(shown.values())
    ]
    for number, place in enumerate(shown):
        quoted = shlex.quote(str(place))
        steps += [f"mkdir -p {quoted}", f"mount --bind /mnt/{number} {quoted}"]
    return ["unshare", "-m", "sh", "-c", "\n".join([*steps, 'exec "$@"']), "sh", *BECOME]


def _closed_above(place: Path) -> Path | None:
    """The outermost directory above it that others may not enter."""
    return next((one for one in reversed(place.parents) if not one.stat().st_mode & 0o001), None)


class Somebody:
    """A user with a home, who is not root."""

    def __init__(self, home: Path) -> None:
        self.env = {"PATH": os.environ["PATH"], "HOME": str(home), "MESHHW_HOME": str(home / "state")}
        self.home = home
        self.prefix = becoming()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.prefix, sys.executable, "-m", "meshhw", *arguments],
            env=self.env,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def somebody() -> Iterator[Somebody]:
    home = lab_directory()
    if os.geteuid() == 0:
        os.chown(home, NOBODY, NOBODY)
    made = Somebody(home)
    yield made
    made.run("lab", "down")
    subprocess.run(["rm", "-rf", str(home)], check=True)


def test_everything_runs_without_root(somebody: Somebody) -> None:
    mount = ["unshare", "-r", "-m", "mount", "--bind", "/run", "/run"]
    probe = subprocess.run([*becoming(), *mount], capture_output=True, check=False)
    if probe.returncode and not Path("/run/pcscd").is_dir():
        pytest.skip("no user namespaces here, and no /run/pcscd (sudo mkdir -p /run/pcscd)")
    _whole_lab(somebody)


def test_everything_runs_without_root_and_namespaces(somebody: Somebody) -> None:
    if os.geteuid() == 0:
        os.chown(somebody.home, 0, 0)
    somebody.prefix = without_namespaces("mkdir /run/pcscd")
    _whole_lab(somebody)


def without_namespaces(*preparing: str) -> list[str]:
    """What goes before a command so that it can make no namespace and not write `/run`."""
    steps = [
        "mount -t tmpfs tmpfs /run",
        *preparing,
        "mount -o remount,ro /run",
        "echo 0 >/proc/sys/user/max_user_namespaces",
        'exec setpriv --bounding-set=-all --inh-caps=-all "$@"',
    ]
    prefix = ["unshare", "-r", "-m", "sh", "-c", " && ".join(steps), "sh"]
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespace can be made here in which there are no others")
    return prefix


def _whole_lab(somebody: Somebody) -> None:
    up = somebody.run(
        *("lab", "up", "--softhsm", "1", "--nss", "1", "--tpm", "1"),
        *("--piv", "1", "--fido2", "1", "--fido2-usb", "1"),
    )
    assert up.returncode == 0, up.stderr
    somebody.env |= somebody.json("lab", "env")
    listed = {one["driver"] for one in somebody.json("token", "list")}
    assert listed == {"pkcs11", "yubikey", "tpm2", "fido2"}
    made = somebody.json("key", "generate", "--on", "piv-1", "--algorithm", "P-256")
    (somebody.home / "message").write_text("text")
    signed = somebody.run("key", "sign", made["uri"], str(somebody.home / "message"), "--out", "signature")
    assert signed.returncode == 0, signed.stderr
    assert somebody.run("lab", "down").returncode == 0
    assert somebody.run("lab", "status").returncode == 1
