"""What a fresh machine gets: the lock, the wheel, the list of system packages."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
IMPORT_NAMES = {"pynacl": "nacl", "pycryptodome": "Crypto", "python-pkcs11": "pkcs11", "pyscard": "smartcard"}


def name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None
    return re.sub(r"[._-]+", "-", found[0]).lower()


def declared() -> list[str]:
    extras = [r for extra in PROJECT["project"]["optional-dependencies"].values() for r in extra]
    everything = PROJECT["project"]["dependencies"] + extras + PROJECT["dependency-groups"]["dev"]
    return [requirement for requirement in everything if name(requirement) != "meshhw"]


def test_the_lock_pins_every_dependency_with_hashes_and_names_no_address() -> None:
    pins = re.split(r"\n(?=\S)", LOCK.strip())
    assert all(re.match(r"[a-z0-9-]+==\S+ ", pin) and "--hash=sha256:" in pin for pin in pins)
    assert {name(requirement) for requirement in declared()} <= {name(pin) for pin in pins}
    assert "://" not in LOCK
    assert "--index" not in LOCK


def test_every_third_party_import_is_declared() -> None:
    ours = {package.name for package in (ROOT / "drivers").iterdir()} | {"meshhw"}
    known = {IMPORT_NAMES.get(name(r), name(r).replace("-", "_")) for r in declared()}
    known |= {"yubikit", "ykman"}  # yubikey-manager's packages
    strangers = {
        (str(path.relative_to(ROOT)), module)
        for top in ("meshhw", "drivers")
        for path in (ROOT / top).rglob("*.py")
        for module in imported(path)
        if module not in known | ours | sys.stdlib_module_names
    }
    assert strangers == set()


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from the tree without the network."""
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return zipfile.ZipFile(next(out.glob("*.whl")))


def test_the_wheel_holds_the_packages_and_registers_the_drivers(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    for package in (
        "meshhw/py.typed",
        "meshhw_software/__init__.py",
        "meshhw/managers/rules/70-meshhw.rules",
        "meshhw/lab/shim.c",
        "meshhw/lab/shim.h",
    ):
        assert package in names
    entries = wheel.read(next(n for n in names if n.endswith("entry_points.txt"))).decode()
    assert "[meshhw.drivers]" in entries
    assert "meshhw = meshhw.cli.main:run" in entries


def test_the_wheel_needs_no_token_library(wheel: zipfile.ZipFile) -> None:
    metadata = wheel.read(next(n for n in wheel.namelist() if n.endswith("METADATA"))).decode()
    always = re.findall(r"^Requires-Dist: ([^;\n]+)$", metadata, re.MULTILINE)
    assert "cryptography" in {name(requirement) for requirement in always}
    assert not {"python-pkcs11", "pyscard", "tpm2-pytss", "fido2"} & {name(r) for r in always}


def test_every_system_package_says_what_it_is_for() -> None:
    lines = [line for line in (ROOT / "system-packages.txt").read_text().splitlines() if line.strip()]
    packages = [line for line in lines if not line.startswith("#")]
    assert len(packages) > 20
    assert all(re.fullmatch(r"[a-z0-9.+|-]+ +# \S.*", line) for line in packages)
