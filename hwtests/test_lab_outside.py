"""The pytest plug-in as a project outside this tree has it: by being installed, and by nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

OURS = """
import os
import subprocess
import sys

import pytest

from meshhw.algorithms import Algorithm
from meshhw.keystore.api import KeySpec
from meshhw.keystore.interaction import PinKind


def signs(token):
    return len(token.generate(KeySpec(Algorithm.P256)).sign(b"data")) == 64


@pytest.mark.parametrize("kind", ["softhsm_token", "nss_token", "swtpm_token", "piv_card"])
def test_keys(kind, request):
    token = request.getfixturevalue(kind).open()
    assert signs(token)
    token.close()


def test_an_authenticator(ctap_card):
    ctap_card.set_pin("1234-pin")
    token = ctap_card.open()
    assert token.retries_left(PinKind.USER) == 8
    token.close()


def test_any(any_token):
    done = subprocess.run(
        [sys.executable, "-c", "import meshhw"], env=os.environ | dict(any_token.env), check=True
    )
    token = any_token.open()
    assert str(token.info().uri)
    token.close()


def test_a_usb_key(hid_authenticator):
    asked = "from fido2.hid import list_descriptors; print(list_descriptors()[0].serial_number)"
    command = [sys.executable, "-c", asked]
    done = subprocess.run(
        command, env=os.environ | hid_authenticator.env, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == hid_authenticator.serial
"""


def test_a_project_elsewhere_uses_every_fixture(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "tests").mkdir(parents=True)
    (project / "tests" / "test_ours.py").write_text(OURS)
    (project / "pyproject.toml").write_text('[project]\nname = "ours"\nversion = "1"\n')
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MESHHW", "PYTEST"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"],
        cwd=project,
        env=clean | {"MESHHW_HOME": str(tmp_path / "home"), "COLUMNS": "1000"},  # reasons are not cut off
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    counted = re.search(r"(\d+) passed", done.stdout)
    assert counted is not None, done.stdout
    skipped = re.findall(r"SKIPPED \[\d+\] [^:]+:\d+: (.+)", done.stdout)
    assert all("(" in reason for reason in skipped)  # each says what is missing
    assert int(counted[1]) + len(skipped) >= 6 + 1  # the kinds named above, and at least one of any_token
