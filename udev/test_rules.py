"""The rules as udev itself reads them; udev's complaints are the verdict."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

RULES = Path(__file__).with_name("70-meshhw.rules")
UDEVADM = shutil.which("udevadm", path="/usr/bin:/bin:/usr/sbin:/sbin")

pytestmark = pytest.mark.skipif(UDEVADM is None, reason="udevadm is not installed (package udev)")


def complaints(rules: Path) -> list[str]:
    """What udev says against a rules file: by `verify`, or by `test` before systemd 254."""
    assert UDEVADM is not None
    version = int(subprocess.run([UDEVADM, "--version"], capture_output=True, text=True, check=True).stdout)
    if version >= 254:
        done = subprocess.run([UDEVADM, "verify", str(rules)], capture_output=True, text=True, check=False)
    else:
        done = _by_test(rules)
    return [line for line in (done.stdout + done.stderr).splitlines() if f"{rules.name}:" in line]


def _by_test(rules: Path) -> subprocess.CompletedProcess[str]:
    script = (
        "mount -t tmpfs none /etc/udev/rules.d && "
        f"cp '{rules}' /etc/udev/rules.d/ && exec '{UDEVADM}' test /sys/class/net/lo"
    )
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )
    if rules.name not in done.stderr:
        pytest.skip(f"udevadm cannot be asked here: {done.stderr.strip().splitlines()[-1:]}")
    return done


def test_udev_has_nothing_against_the_rules() -> None:
    told = [line for line in complaints(RULES) if "Reading rules file" not in line]
    assert told == []


@pytest.mark.parametrize(
    "line", ['SUBSYSTEM="usb", MODE=="0660"', 'KERNEL=="x", COLOUR="red"', 'GOTO="nowhere"']
)
def test_udev_would_complain_of_a_mistake(tmp_path: Path, line: str) -> None:
    broken = tmp_path / RULES.name
    broken.write_text(RULES.read_text() + line + "\n")
    assert [told for told in complaints(broken) if "Reading rules file" not in told]


def test_the_rules_open_readers_authenticators_and_the_tpm_to_person_and_service() -> None:
    opened = [line for line in RULES.read_text().splitlines() if 'TAG+="uaccess"' in line]
    assert len(opened) == 4
    assert all('MODE="0660"' in line and 'GROUP="' in line for line in opened)
    assert "0666" not in RULES.read_text()
