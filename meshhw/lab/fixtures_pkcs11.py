"""Fixtures for emulated PKCS#11 tokens: SoftHSM, NSS and opencryptoki."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from meshhw.lab.skipping import or_skip

if TYPE_CHECKING:
    from meshhw.lab.pkcs11_token import Pkcs11Token
    from meshhw.lab.softhsm import SoftHSM

NewToken = Callable[[], "Pkcs11Token"]
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


@pytest.fixture(scope="module")
def opencryptoki_token() -> Iterator[Pkcs11Token]:
    """The machine's one opencryptoki token, fresh for the test module; it locks after three wrong PINs."""
    from meshhw.lab.opencryptoki import OpenCryptoki

    with or_skip(lambda: OpenCryptoki(f"ock-{next(_number)}")) as lab:
        yield lab.token


@pytest.fixture(params=["softhsm", "nss"])
def pkcs11_token(request: pytest.FixtureRequest) -> Pkcs11Token:
    """Each PKCS#11 token in turn that does elliptic curves."""
    token: Pkcs11Token = request.getfixturevalue(f"{request.param}_token")
    return token
