"""`pip install meshhw` and nothing else: the vault works, and the doctor names each piece that is missing.

The built wheel and the libraries that it always needs are put into a directory of their own, and Python is
started without any other.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
Run = Callable[..., str]


def needed(name: str, found: dict[str, Distribution]) -> None:
    """The distributions that one always needs, by name."""
    for requirement in Distribution.from_name(name).requires or []:
        bare, _, marker = requirement.partition(";")
        other = re.split(r"[^A-Za-z0-9._-]", bare)[0]
        if "extra" not in marker and other not in found:
            try:
                found[other] = Distribution.from_name(other)
            except PackageNotFoundError:  # for another system or another Python
                continue
            needed(other, found)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pip would leave."""
    place, built = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(built)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        wheel.extractall(place)
    distributions: dict[str, Distribution] = {}
    needed("meshhw", distributions)
    for distribution in distributions.values():
        for file in distribution.files or []:
            if (top := file.parts[0]) not in ("..", "__pycache__") and not (place / top).exists():
                (place / top).symlink_to(str(distribution.locate_file(top)))
    return place


@pytest.fixture
def meshhw(site: Path, tmp_path: Path) -> Run:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MESHHW")}
    environment |= {"PYTHONPATH": str(site), "MESHHW_HOME": str(tmp_path / "home"), "PASSPHRASE": "a secret"}

    def run(*arguments: str, status: int = 0) -> str:
        command = [sys.executable, "-S", "-P", "-m", "meshhw", *arguments, "--pin-source", "env:PASSPHRASE"]
        done = subprocess.run(
            command, check=False, env=environment, cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == status, done.stderr
        return done.stdout if status == 0 else done.stderr

    return run


def test_the_doctor_names_each_missing_piece_and_what_brings_it(meshhw: Run) -> None:
    found = {finding["subject"]: finding for finding in json.loads(meshhw("doctor", "--json"))}
    assert found["driver software"]["state"] == "ok"
    for driver, extra in (("pkcs11", "pkcs11"), ("yubikey", "piv"), ("tpm2", "tpm"), ("fido2", "fido2")):
        finding = found[f"driver {driver}"]
        assert finding["state"] == "missing"
        assert f"pip install 'meshhw[{extra}]'" in finding["mend"]


@pytest.mark.parametrize("scheme", ["pkcs11", "yubikey", "tpm2", "fido2"])
def test_a_token_whose_library_is_missing_is_told_with_what_brings_it(meshhw: Run, scheme: str) -> None:
    told = meshhw("key", "generate", "--on", f"{scheme}:", "--algorithm", "P-256", status=3)
    assert "pip install 'meshhw[" in told


def test_the_vault_does_the_whole_job(meshhw: Run, tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("dear Bob")
    assert meshhw("token", "list", "--json").strip() == "[]"
    udf = meshhw("device", "create", "--on", "software:").strip()
    meshhw("device", "export", udf, "device.dare")
    assert udf in meshhw("device", "verify", "device.dare")
    meshhw("dare", "encode", "letter", "letter.dare", "--encrypt", "device.dare", "--sign", udf)
    meshhw("dare", "decode", "letter.dare", "opened")
    assert (tmp_path / "opened").read_text() == "dear Bob"
    assert "the chain is whole" in meshhw("log", "verify")
