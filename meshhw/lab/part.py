"""What a lab is made of: parts, each some emulated tokens of one technology with what keeps them running."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from meshhw.errors import NotSupported
from meshhw.lab.faults import Fault


@dataclass(frozen=True, slots=True)
class Order:
    """How many tokens of each kind a lab shall have."""

    softhsm: int = 0
    nss: int = 0
    opencryptoki: bool = False
    tpm: int = 0
    piv: int = 0
    fido2: int = 0
    fido2_usb: int = 0
    tpm2_pkcs11: bool = False


@dataclass(frozen=True, slots=True)
class LabToken:
    """One token of a lab."""

    name: str
    """By which `lab fault` knows it."""
    family: str
    uri: str
    """How other programs name it; shown, and long enough to tell it from the lab's others."""
    pin_rule: str
    """The URI to which its PIN source is bound."""
    secrets: str = field(repr=False)
    """The text of its PIN source: the PIN, then `puk=…` and the like, a line each."""


class LabPart(Protocol):
    """Some tokens, running. Made in the keeper's process and used by its one thread."""

    @property
    def tokens(self) -> Sequence[LabToken]:
        """The tokens, whether they are plugged in or not."""
        ...

    @property
    def env(self) -> Mapping[str, str]:
        """What a program needs in its environment to see them."""
        ...

    def fault(self, name: str, fault: Fault) -> None:
        """Let a fault befall the token of that name. Raises NotSupported for one that cannot."""
        ...

    def close(self) -> None:
        """End what was started. Twice is fine."""
        ...


_WHY = {
    Fault.NOTOUCH: "nobody is asked for a touch by it",
    Fault.BUSY: "no program can keep it to itself",
    Fault.CLEAR: "it has nothing that erases it",
}


def impossible(family: str, fault: Fault) -> NotSupported:
    """A fault that a kind of token cannot have."""
    return NotSupported(f"{fault} cannot befall a {family} token: {_WHY.get(fault, 'it has no such state')}")
