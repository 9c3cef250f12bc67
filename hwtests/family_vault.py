"""Software vaults in the fault suite: files on a disk that can be taken away, exchanged, full or damaged."""

from __future__ import annotations

import hashlib
import resource
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest
from meshhw_software.driver import SoftwareDriver
from meshhw_software.kdf import ITERATIONS, MEMORY_KIB, Cost

from hwtests.family import Family, Unable
from meshhw.errors import MeshError, NewerVersion
from meshhw.keystore.api import OpenOptions, Seals
from meshhw.keystore.interaction import PinRequest, Scripted
from meshhw.keystore.uri import TokenURI

CHEAP = Cost(MEMORY_KIB[0], ITERATIONS[0])
CHECKSUM = 32
SMALL = 100
"""Octets: fewer than any file of ours has."""


def make_vault(uri: TokenURI, person: Scripted) -> None:
    """A vault whose passphrase is as quickly checked as is still allowed."""
    with closing(SoftwareDriver(CHEAP).open(uri, OpenOptions(person))) as token:
        assert isinstance(token, Seals)
        token.seal(b"it is made when something is first put into it", b"")


def limit_files(octets: int) -> None:
    """No file of this process may grow beyond that, as on a disk without room."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


class VaultFamily(Family):
    """A vault on a disk of its own."""

    wrong_pin = "incorrect horse"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._place, self._aside = directory / "disk", directory / "drawer"
        self._asked = 0
        make_vault(self.uri, self.person())

    @property
    def uri(self) -> TokenURI:
        return TokenURI.make("software", vault=str(self._place))

    @property
    def pin(self) -> str:
        return "correct horse"

    @property
    def env(self) -> dict[str, str]:
        return {}

    def person(self, pin: str | None = None) -> Scripted:
        """Somebody whose answers are counted: a vault is given a passphrase by being asked for one."""

        def answer(_: PinRequest) -> str:
            self._asked += 1
            return self.pin if pin is None else pin

        return Scripted(answer)

    def pull(self) -> None:
        self._place.rename(self._aside)

    def slow_down(self, seconds: float) -> None:
        raise Unable("a vault's key works in this process's memory: nothing can be pulled from there")

    def put_back(self) -> None:
        if self._place.exists():
            self._place.rename(self._directory / "another")
        self._aside.rename(self._place)

    def swap(self) -> None:
        self.pull()
        make_vault(self.uri, self.person())

    def lock(self) -> None:
        raise Unable("a vault never locks: each try costs Argon2id's time and memory instead")

    def nearly_lock(self) -> None:
        self.lock()

    def hang(self) -> None:
        raise Unable("a vault is files: a disk that does not answer holds up every program alike")

    def strange_answer(self) -> int:
        raise Unable("a vault answers with files, not codes: see its damaged and newer ones below")

    def fill(self) -> None:
        limit_files(SMALL)

    def exhaust(self) -> AbstractContextManager[object]:
        raise Unable("a vault has no sessions, slots or connections; its descriptors are counted below")

    def handles(self) -> int:
        return 0

    def file(self) -> Path:
        (found,) = (self._place / "keys").glob("*.box")
        return found

    def changed(self, whole: bytes) -> dict[bytes, type[MeshError]]:
        newer = whole.replace(b"meshhw-box/1\n", b"meshhw-box/2\n")[:-CHECKSUM]
        return super().changed(whole) | {newer + hashlib.sha256(newer).digest(): NewerVersion}

    def heal(self) -> None:
        limit_files(resource.RLIM_INFINITY)

    def pins_received(self) -> int:
        return self._asked

    def forget_pins(self) -> None:
        self._asked = 0


def software(request: pytest.FixtureRequest) -> Family:
    """A vault in a directory of the test's own."""
    return VaultFamily(request.getfixturevalue("tmp_path"))
