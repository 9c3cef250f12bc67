"""A driver from outside the tree is built, installed and asked, through the door that every driver uses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "meshhw-acme"
version = "1"
[project.entry-points."meshhw.drivers"]
acme = "meshhw_acme:driver"
broken = "meshhw_acme.broken:driver"
old = "meshhw_acme:old"
"""
DRIVER = """
from meshhw.errors import TokenNotFound
from meshhw.keystore.api import API, TokenInfo
from meshhw.keystore.uri import Scheme, TokenURI, register

register(Scheme("acme", token=("serial",), key=("slot",)))


class Driver:
    name = "acme"

    def __init__(self, api):
        self.api = api

    def tokens(self):
        return [TokenInfo(TokenURI.make("acme", serial="42"), "acme", "smartcard", label="Acme 42")]

    def open(self, uri, options):
        raise TokenNotFound("the Acme token has gone home")


driver = Driver(API)
old = Driver(API - 1)
"""
ASK = """
import json
from meshhw.errors import MeshError
from meshhw.keystore import registry
from meshhw.keystore.uri import TokenURI
found = registry.discover(["acme", "broken", "old"])
try:
    registry.open_token(registry.find_token("Acme 42"))
    opened = ""
except MeshError as error:
    opened = f"{type(error).__name__}: {error.message}"
print(json.dumps({
    "tokens": [str(info.uri) for info in found.tokens],
    "unavailable": {name: error.message for name, error in found.unavailable.items()},
    "names": list(registry.names()),
    "opened": opened,
    "parsed": str(TokenURI.parse("acme:serial=7")),
}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("acme")
    target = tmp_path_factory.mktemp("site")
    package = source / "meshhw_acme"
    package.mkdir()
    (source / "pyproject.toml").write_text(PYPROJECT)
    (package / "__init__.py").write_text(DRIVER)
    (package / "broken.py").write_text("import a_library_that_nobody_has\n")
    offline = ["--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", *offline, "--target", str(target), str(source)],
        check=True,
    )
    return target


def test_a_driver_from_elsewhere_is_found_and_asked(installed: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", ASK],
        env=os.environ | {"PYTHONPATH": str(installed)},
        check=True,
        capture_output=True,
    )
    said = json.loads(answer.stdout)
    assert said["tokens"] == ["acme:serial=42"]
    assert said["opened"] == "TokenNotFound: the Acme token has gone home"
    assert said["parsed"] == "acme:serial=7"
    assert set(said["names"]) >= {"software", "pkcs11", "acme", "broken", "old"}
    assert "a_library_that_nobody_has" in said["unavailable"]["broken"]
    assert "speaks interface 0" in said["unavailable"]["old"]
