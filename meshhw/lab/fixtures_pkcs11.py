"""Fixtures for emulated PKCS#11 tokens: SoftHSM, NSS and opencryptoki."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from meshhw.lab import shim
from meshhw.lab.skipping import or_skip

if TYPE_CHECKING:
    from meshhw.lab.pkcs11_token import Pkcs11Token
    from meshhw.lab.shim import Trouble
    from meshhw.lab.softhsm import SoftHSM

NewToken = Callable[[], "Pkcs11Token"]
NewTroubled = Callable[[], "tuple[Pkcs11Token, Trouble]"]
_number = count(1)


@pytest.fixture(scope="session")
def softhsm_directory() -> Iterator[SoftHSM]:
    """The session's SoftHSM directory, to which tests add tokens."""
    from meshhw.lab.softhsm import SoftHSM

    lab = or_skip(SoftHSM)
    with lab:
        yield lab


@pytest.fixture
def new_softhsm(softhsm_directory: SoftHSM) -> NewToken:
    """Makes SoftHSM tokens, each with a label of its own."""
    return lambda: softhsm_directory.add(f"softhsm-{next(_number)}")


@pytest.fixture
def softhsm_token(new_softhsm: NewToken) -> Pkcs11Token:
    """A fresh SoftHSM token."""
    return new_softhsm()


@pytest.fixture
def nss_token(tmp_path: Path) -> Iterator[Pkcs11Token]:
    """A fresh NSS token."""
    from meshhw.lab.nss import NSS

    with or_skip(lambda: NSS(f"nss-{next(_number)}", tmp_path / "nss")) as lab:
        yield lab.token


@pytest.fixture
def nss_fips_token(tmp_path: Path) -> Iterator[Pkcs11Token]:
    """A fresh NSS token in FIPS mode, which lets no secret out."""
    from meshhw.lab.nss import NSS

    with or_skip(lambda: NSS(f"fips-{next(_number)}", tmp_path / "fips", fips=True)) as lab:
        yield lab.token


@pytest.fixture(scope="session")
def opencryptoki_token() -> Iterator[Pkcs11Token]:
    """The machine's one opencryptoki token, one for all tests; it locks after three wrong PINs."""
    from meshhw.lab.opencryptoki import OpenCryptoki

    with or_skip(lambda: OpenCryptoki(f"ock-{next(_number)}")) as lab:
        yield lab.token


@pytest.fixture(params=["softhsm", "nss"])
def pkcs11_token(request: pytest.FixtureRequest) -> Pkcs11Token:
    """Each PKCS#11 token in turn that does elliptic curves."""
    token: Pkcs11Token = request.getfixturevalue(f"{request.param}_token")
    return token


@pytest.fixture
def new_troubled_softhsm(new_softhsm: NewToken, softhsm_shim: Path) -> NewTroubled:
    """Makes SoftHSM tokens behind the fault module, each with what can go wrong with it."""

    def make() -> tuple[Pkcs11Token, Trouble]:
        token = replace(new_softhsm(), module_path=str(softhsm_shim))
        return token, shim.Control(shim.control_of(softhsm_shim)).trouble(token.label)

    return make


@pytest.fixture
def troubled_softhsm(new_troubled_softhsm: NewTroubled) -> tuple[Pkcs11Token, Trouble]:
    """A SoftHSM token behind the fault module, and its troubles."""
    return new_troubled_softhsm()


@pytest.fixture
def troubled_nss(nss_token: Pkcs11Token, tmp_path: Path) -> tuple[Pkcs11Token, Trouble]:
    """An NSS token behind the fault module, and its troubles."""
    return _shimmed(nss_token, tmp_path)


@pytest.fixture
def troubled_nss_fips(nss_fips_token: Pkcs11Token, tmp_path: Path) -> tuple[Pkcs11Token, Trouble]:
    """An NSS token in FIPS mode behind the fault module, and its troubles."""
    return _shimmed(nss_fips_token, tmp_path)


def _shimmed(token: Pkcs11Token, directory: Path) -> tuple[Pkcs11Token, Trouble]:
    configuration = Path(token.module_path)
    module, *parameters = configuration.read_text().splitlines()
    path = or_skip(lambda: shim.place(module.removeprefix("module: "), directory, "nss-shim"))
    shimmed = configuration.with_name("shim.module")
    shimmed.write_text("\n".join((f"module: {path}", *parameters, "")))
    token = replace(token, module_path=str(shimmed), env={"MESHHW_PKCS11_MODULES": str(shimmed)})
    return token, shim.Control(shim.control_of(path)).trouble(token.label)


@pytest.fixture(params=["softhsm", "nss"])
def troubled_token(request: pytest.FixtureRequest) -> tuple[Pkcs11Token, Trouble]:
    """Each PKCS#11 token in turn behind the fault module, and its troubles."""
    pair: tuple[Pkcs11Token, Trouble] = request.getfixturevalue(f"troubled_{request.param}")
    return pair


@pytest.fixture(scope="session")
def softhsm_shim(softhsm_directory: SoftHSM) -> Path:
    """The fault module before SoftHSM."""
    return or_skip(lambda: shim.place(softhsm_directory.module_path, softhsm_directory.directory, "shim"))
