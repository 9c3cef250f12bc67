"""Entry points read without importlib.metadata: the same as with it, however a driver was installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from meshhw.keystore.plugins import Plugin, plugins
from meshhw.keystore.uri import GROUP

ASK = """
import json
from importlib.metadata import entry_points
from meshhw.keystore.plugins import plugins
ours = {plugin.name: plugin.value for plugin in plugins("meshhw.drivers").values()}
theirs = {point.name: point.value for point in entry_points(group="meshhw.drivers")}
print(json.dumps([ours, theirs]))
"""
POINTS = """
[console_scripts]
acme = acme:main
[meshhw.drivers]
# a comment
acme=acme.driver:make.it [extra]
  other = acme.other:driver
[ group.after ]
acme = acme.wrong:driver
"""


def test_ours_are_as_the_library_says() -> None:
    from importlib.metadata import entry_points

    for group in (GROUP, "console_scripts", "pytest11"):
        expected = {point.name: point.value for point in entry_points(group=group)}
        assert {plugin.name: plugin.value for plugin in plugins(group).values()} == expected
        assert expected


def install(directory: Path, name: str, points: str) -> None:
    info = directory / f"{name}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.partition('-')[0]}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(points)


def asked(*path: Path) -> dict[str, str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    run = subprocess.run([sys.executable, "-c", ASK], env=environment, check=True, capture_output=True)
    ours: dict[str, str]
    ours, theirs = json.loads(run.stdout)
    assert ours == theirs
    return ours


def test_a_distribution_on_the_path_is_found(tmp_path: Path) -> None:
    install(tmp_path, "acme-1", POINTS)
    found = asked(tmp_path)
    assert found["acme"] == "acme.driver:make.it [extra]"
    assert found["other"] == "acme.other:driver"
    assert "software" in found


def test_a_distribution_twice_on_the_path_counts_once(tmp_path: Path) -> None:
    install(tmp_path / "new", "acme-2", "[meshhw.drivers]\nacme = new:driver\n")
    install(tmp_path / "old", "Acme-1", "[meshhw.drivers]\nacme = old:driver\ngone = old:driver\n")
    found = asked(tmp_path / "new", tmp_path / "old")
    assert found["acme"] == "new:driver"
    assert "gone" not in found


def test_an_archive_on_the_path_is_left_to_the_library(tmp_path: Path) -> None:
    install(tmp_path / "acme", "acme-1", POINTS)
    archive = tmp_path / "acme.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for file in (tmp_path / "acme").rglob("*"):
            packed.write(file, file.relative_to(tmp_path / "acme"))
    assert "acme" in asked(archive)


def test_a_plugin_names_an_attribute_of_a_module() -> None:
    assert Plugin("join", "os.path:join").load() is os.path.join
    assert Plugin("hex", "builtins:bytes.hex [extra]").load() is bytes.hex
    assert Plugin("os", "os").load() is os
