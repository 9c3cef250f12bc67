"""A threshold key as root or administrator of an account: no single device can then change it."""

from __future__ import annotations

from pathlib import Path

from meshhw.algorithms import Tier
from meshhw.managers.host import SHARED, KeyHandle
from meshhw.managers.profilemaking import ROOT
from meshhw.managers.threshold.signer import public_of, told_of
from meshhw.udf import fingerprint


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
