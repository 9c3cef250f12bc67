"""The families of emulated tokens that the fault suite asks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hwtests.family import Family
from hwtests.family_cards import ctap, piv
from hwtests.family_modules import nss, opencryptoki, softhsm, swtpm
from hwtests.family_vault import software

FAMILIES: dict[str, Callable[[pytest.FixtureRequest], Family]] = {
    "software": software,
    "softhsm": softhsm,
    "nss": nss,
    "opencryptoki": opencryptoki,
    "swtpm": swtpm,
    "piv": piv,
    "ctap": ctap,
}
