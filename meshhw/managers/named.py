"""Names of keys that other parts of the program look after, such as `threshold:NAME`.

A prefix stands for one module with the functions of `Named`; it is imported when a name with that prefix is
used, and not before.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from meshhw.dare.exchange import HasPublic, RecipientKey
from meshhw.dare.signing import Signer
from meshhw.errors import KeyNotFound
from meshhw.keystore.api import OpenOptions

MODULES = {
    "threshold": "meshhw.managers.threshold.named",
    "account": "meshhw.managers.account.named",
}


class Named(Protocol):
    """What such a module offers. Every function raises KeyNotFound for a name that is none of its own."""

    def recipient(self, name: str, home: Path) -> RecipientKey:
        """The public key that is encrypted to."""
        ...

    def keys(self, kid: str, home: Path, options: OpenOptions) -> Iterable[HasPublic]:
        """The private keys that open what is for this recipient; none when it is somebody else."""
        ...

    def signer(self, name: str, home: Path, options: OpenOptions) -> Signer:
        """The key that signs."""
        ...


def split(name: str) -> tuple[Named, str] | None:
    """The module of a prefixed name, and the name without its prefix; None when it has no such prefix."""
    prefix, colon, rest = name.partition(":")
    if not colon or prefix not in MODULES:
        return None
    found = _module(prefix)
    if found is None:
        raise KeyNotFound(f"no {prefix} key is called {rest!r}")
    return found, rest


def all_modules() -> Iterable[Named]:
    """Every one that is there."""
    return (module for prefix in MODULES if (module := _module(prefix)))


def _module(prefix: str) -> Named | None:
    package, _, _ = MODULES[prefix].rpartition(".")
    if find_spec(package) is None or find_spec(MODULES[prefix]) is None:
        return None
    module: Named = import_module(MODULES[prefix])
    return module
