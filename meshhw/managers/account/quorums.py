"""A threshold key as root or administrator of an account: no single device can then change it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from meshhw.algorithms import Tier
from meshhw.dare.signing import Signer
from meshhw.keystore.api import OpenOptions
from meshhw.managers.host import SHARED, KeyHandle
from meshhw.managers.profilemaking import ROOT
from meshhw.managers.threshold.signer import open_signer, public_of, told_of
from meshhw.udf import fingerprint


class Quorums:
    """The quorums that sign in one ceremony, each with its shares open until the end."""

    def __init__(self, home: Path, options: OpenOptions) -> None:
        self._home = home
        self._options = options
        self._open: dict[str, Signer] = {}
        self._stack = ExitStack()

    def signer(self, name: str) -> Signer:
        """The quorum of that name, the same one each time. Raises KeyNotFound, NotSupported."""
        if name not in self._open:
            signer = open_signer(name, self._home, self._options)
            self._open[name] = self._stack.enter_context(signer.held())
        return self._open[name]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.clear()
        self._stack.close()


def quorum(role: str, name: str, home: Path) -> KeyHandle:
    """The handle of a threshold key in a role. Raises KeyNotFound, NotSupported for one without signing."""
    public = public_of(name, home)
    return KeyHandle(
        role=role,
        udf=fingerprint(public),
        algorithm=public.algorithm,
        tier=Tier.SEALED,
        uri=SHARED + name.removeprefix(SHARED),
        public=public.octets,
    )


def words(role: str, name: str, home: Path) -> str:
    """What it means that a quorum has this role."""
    needed, holders = told_of(name, home)
    what = (
        "change the account: list an administrator, set a policy, rotate its keys"
        if role == ROOT
        else "connect or disconnect a device"
    )
    left = holders - needed
    return (
        f"{needed} of the {holders} holders of {name.removeprefix(SHARED)} must be there to {what}; "
        f"with more than {left} of them lost, nobody can"
    )
