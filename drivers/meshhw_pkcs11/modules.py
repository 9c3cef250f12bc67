"""Which PKCS#11 modules there are: named by the caller, configured for p11-kit, or in their usual place.

`MESHHW_PKCS11_MODULES` replaces the search: paths separated by `:`, each of a module or of a `.module` file
as p11-kit writes it (pkcs11.conf(5)), whose `x-init-reserved` is what the module wants at C_Initialize, and
whose `x-meshhw-agreed-secrets: inside` has agreed secrets stay in the module's tokens (`inside`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from meshhw.errors import DriverUnavailable

VARIABLE = "MESHHW_PKCS11_MODULES"
CONFIGURATIONS = ("/usr/share/p11-kit/modules", "/etc/pkcs11/modules")
LIBRARIES = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
)
KNOWN = (
    "softhsm/libsofthsm2.so",
    "pkcs11/libsofthsm2.so",
    "opensc-pkcs11.so",
    "pkcs11/opensc-pkcs11.so",
    "opencryptoki/libopencryptoki.so.0",
    "libykcs11.so.2",
    "pkcs11/yubihsm_pkcs11.so",
    "libtpm2_pkcs11.so.1",
    "pkcs11/libtpm2_pkcs11.so.1",
    "libeToken.so",
    "libcs_pkcs11_R3.so",
    "libCryptoki2_64.so",
    "nfast/toolkits/pkcs11/libcknfast.so",
)
# The proxy shows other modules' tokens a second time; the trust module holds certificates only.
_SKIPPED = ("p11-kit-proxy", "p11-kit-trust", "p11-kit-client")


@dataclass(frozen=True, slots=True)
class ModuleSpec:
    """A module to load. `explicit` ones were named by the user, others were found."""

    path: str
    reserved: str = ""
    explicit: bool = False
    inside: bool = False
    """Whether the user wants agreed secrets to stay in the module's tokens."""


def configured() -> tuple[ModuleSpec, ...]:
    """The modules to ask, each file once: those of the environment, or else those that were found."""
    named = os.environ.get(VARIABLE)
    specs = (
        _named(named)
        if named is not None
        else (s for s in _installed(str(Path.home())) if not _lacks_its_tpm(s.path))
    )
    unique: dict[str, ModuleSpec] = {}
    for spec in specs:
        unique.setdefault(os.path.realpath(spec.path), spec)
    return tuple(unique.values())


def at(path: str) -> ModuleSpec:
    """The module at a path that the user gave, with the parameters that a configuration has for it.

    Raises DriverUnavailable when there is no such file.
    """
    if not Path(path).is_file():
        raise DriverUnavailable(f"there is no PKCS#11 module at {path}", hint="check the URI's module-path")
    if path.endswith(".module"):
        return _from_file(Path(path), explicit=True)
    for spec in configured():
        if os.path.realpath(spec.path) == os.path.realpath(path):
            return replace(spec, path=path, explicit=True)
    return ModuleSpec(path, _usual_parameters(path), explicit=True)


def named(name: str) -> ModuleSpec:
    """The configured module of that file name, with or without `lib` and `.so` (RFC 7512 module-name).

    Raises DriverUnavailable.
    """
    for spec in configured():
        file = Path(spec.path).name
        if name in (file, file.split(".")[0], file.split(".")[0].removeprefix("lib")):
            return replace(spec, explicit=True)
    raise DriverUnavailable(f"no PKCS#11 module is called {name}", hint="`meshhw doctor` lists the modules")


def _named(paths: str) -> Iterator[ModuleSpec]:
    for path in filter(None, paths.split(":")):
        if path.endswith(".module"):
            yield _from_file(Path(path), explicit=True)
        else:
            yield ModuleSpec(path, _usual_parameters(path), explicit=True)


@cache
def _installed(home: str) -> tuple[ModuleSpec, ...]:
    """What the search finds; once per process, since it costs more than opening a token."""
    return tuple(_found(home))


def _found(home: str) -> Iterator[ModuleSpec]:
    for directory in (*CONFIGURATIONS, f"{home}/.config/pkcs11/modules"):
        for file in sorted(Path(directory).glob("*.module")):
            spec = _from_file(file)
            if Path(spec.path).is_file() and not Path(spec.path).name.startswith(_SKIPPED):
                yield spec
    for name in KNOWN:
        for directory in LIBRARIES:
            if Path(directory, name).is_file():
                yield ModuleSpec(str(Path(directory, name)))


def _lacks_its_tpm(path: str) -> bool:
    """tpm2-pkcs11 without a TPM tries every way there is and complains of each on stderr."""
    told = any(variable in os.environ for variable in ("TPM2_PKCS11_TCTI", "TPM2_PKCS11_STORE"))
    return "libtpm2_pkcs11" in path and not told and not Path("/dev/tpmrm0").exists()


def _from_file(file: Path, *, explicit: bool = False) -> ModuleSpec:
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError as error:
        raise DriverUnavailable(f"{file} cannot be read: {error.strerror}") from error
    pairs = (line.partition(":") for line in lines if not line.lstrip().startswith("#"))
    fields = {name.strip(): value.strip() for name, _, value in pairs}
    inside = _kept_inside(fields.get("x-meshhw-agreed-secrets", "outside"), file)
    return ModuleSpec(
        _absolute(fields.get("module", "")), fields.get("x-init-reserved", ""), explicit, inside
    )


def _kept_inside(said: str, file: Path) -> bool:
    """A word that is misspelt must not let out what was meant to stay."""
    if said not in ("inside", "outside"):
        raise DriverUnavailable(
            f"{file}: x-meshhw-agreed-secrets is {said!r}", hint="write `inside` or `outside`"
        )
    return said == "inside"


def _absolute(module: str) -> str:
    """p11-kit looks for a bare name in its own directory, which lies in the library directory."""
    if module.startswith("/"):
        return module
    places = (Path(directory, sub, module) for directory in LIBRARIES for sub in ("pkcs11", "."))
    return str(next((place for place in places if place.is_file()), module))


def _usual_parameters(path: str) -> str:
    """NSS does not start without being told its database; the user's own is the usual one."""
    if "softokn" not in Path(path).name:
        return ""
    database = Path("~/.pki/nssdb").expanduser()
    return f"configdir='sql:{database}' certPrefix='' keyPrefix='' secmod='secmod.db' flags=readWrite"
