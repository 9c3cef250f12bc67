"""One fixture over every kind of emulated token, for software that shall work with any of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import pytest

from meshhw.keystore.api import Token
from meshhw.keystore.uri import TokenURI

FIXTURES = ("softhsm_token", "nss_token", "opencryptoki_token", "swtpm_token", "piv_card", "ctap_card")


class EmulatedToken(Protocol):
    """What each of the lab's tokens offers a test."""

    @property
    def uri(self) -> TokenURI:
        """Its name."""
        ...

    @property
    def env(self) -> Mapping[str, str]:
        """What another process needs in its environment to see it."""
        ...

    def open(self) -> Token:
        """The token, opened by its driver."""
        ...


@pytest.fixture(params=FIXTURES)
def any_token(request: pytest.FixtureRequest) -> EmulatedToken:
    """Each kind of emulated token in turn; those that cannot run here are skipped with the reason."""
    token: EmulatedToken = request.getfixturevalue(request.param)
    return token
