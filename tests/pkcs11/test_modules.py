"""Modules are found in the environment and in p11-kit's files, with the parameters that they need."""

from __future__ import annotations

from pathlib import Path

import pytest
from meshhw_pkcs11 import modules, nss

from meshhw.errors import DriverUnavailable


def test_the_environment_replaces_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "nss.module"
    file.write_text(
        "# comment: not a field\nmodule: /lib/softokn3.so\nx-init-reserved: configdir='sql:/db'\n"
    )
    monkeypatch.setenv(modules.VARIABLE, f"/lib/one.so:{file}::/lib/one.so")
    one, nss = modules.configured()
    assert one == modules.ModuleSpec("/lib/one.so", explicit=True)
    assert nss == modules.ModuleSpec("/lib/softokn3.so", "configdir='sql:/db'", explicit=True)


def test_an_empty_environment_means_no_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(modules.VARIABLE, "")
    assert modules.configured() == ()


def test_a_module_file_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(modules.VARIABLE, "/nowhere/x.module")
    with pytest.raises(DriverUnavailable, match=r"/nowhere/x\.module"):
        modules.configured()


def test_a_module_path_that_is_missing_is_named() -> None:
    with pytest.raises(DriverUnavailable, match=r"no PKCS#11 module at /nowhere/x\.so"):
        modules.at("/nowhere/x.so")


def test_a_configured_module_is_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "libsofthsm2.so"
    module.touch()
    monkeypatch.setenv(modules.VARIABLE, str(module))
    for name in ("libsofthsm2.so", "libsofthsm2", "softhsm2"):
        assert modules.named(name).path == str(module)
    with pytest.raises(DriverUnavailable, match="opensc"):
        modules.named("opensc")


def test_a_path_takes_the_parameters_of_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, file = tmp_path / "libx.so", tmp_path / "x.module"
    module.touch()
    file.write_text(f"module: {module}\nx-init-reserved: open sesame\n")
    monkeypatch.setenv(modules.VARIABLE, str(file))
    assert modules.at(str(module)).reserved == "open sesame"


def test_nss_is_given_the_users_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "libsoftokn3.so"
    module.touch()
    monkeypatch.setenv(modules.VARIABLE, "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert f"sql:{tmp_path}/.pki/nssdb" in modules.at(str(module)).reserved


def test_a_module_file_can_keep_agreed_secrets_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, file = tmp_path / "libx.so", tmp_path / "x.module"
    module.touch()
    for word, inside in (("inside", True), ("outside", False)):
        file.write_text(f"module: {module}\nx-meshhw-agreed-secrets: {word}\n")
        monkeypatch.setenv(modules.VARIABLE, str(file))
        found = (modules.configured()[0], modules.at(str(module)), modules.at(str(file)), modules.named("x"))
        assert {spec.inside for spec in found} == {inside}
    file.write_text(f"module: {module}\nx-meshhw-agreed-secrets: yes\n")
    with pytest.raises(DriverUnavailable, match="'yes'"):
        modules.configured()


@pytest.mark.parametrize(
    ("flags", "fips"),
    [
        ("slotParams={0x00000003=[slotFlags=RSA] }  Flags=internal,FIPS,critical", True),
        ("Flags=internal,critical trustOrder=75 slotParams=(1={slotFlags=[RSA]})", False),
        ("Flags=FIPS", False),
    ],
)
def test_the_database_of_nss_says_whether_it_is_in_fips_mode(tmp_path: Path, flags: str, fips: bool) -> None:
    place = f"configdir='sql:{tmp_path}' certPrefix='' flags=readWrite"
    assert not nss.in_fips_mode(place)
    (tmp_path / "pkcs11.txt").write_text(f"library=\nname=NSS\nparameters={place}\nNSS={flags}\n\n")
    for reserved in (place, f'configdir="sql:{tmp_path}" flags=', f"configdir={tmp_path}"):
        assert nss.in_fips_mode(reserved) is fips
    assert not nss.in_fips_mode("")
