"""Where a key comes from when it is used: a key file that is loaded, or a persistent handle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from meshhw.errors import KeyNotFound, NotSupported
from meshhw.keystore.tpm_public import Attributes, PublicArea
from meshhw_tpm.context import PERSISTENT_FIRST, RH_OWNER, Context
from meshhw_tpm.keyfile import KeyFile, PolicyStep
from meshhw_tpm.store import file_state, read
from meshhw_tpm.tss import Handle, Structure, tss


class Source(Protocol):
    """A key's object, ready to be opened in any connection."""

    area: PublicArea
    policy: tuple[PolicyStep, ...]
    needs_auth: bool
    own: bool
    """Whether this project made it, so that the TPM's PIN is its authorisation value."""

    def refresh(self) -> None:
        """Take up what a change of PIN wrapped anew. Raises KeyNotFound when the key was deleted."""
        ...

    def opened(self, context: Context) -> AbstractContextManager[Handle]:
        """The loaded object, for the block."""
        ...


class FileSource:
    """A key file: loaded, used and flushed each time."""

    def __init__(self, path: Path, key: KeyFile, *, own: bool) -> None:
        self.path = path
        self.key = key
        self.area = key.area
        self.policy = key.policy
        self.needs_auth = not key.empty_auth
        self.own = own
        self._state = file_state(path)
        self._structures: tuple[Structure, Structure] | None = None

    def refresh(self) -> None:
        state = file_state(self.path)
        if state is None:
            raise KeyNotFound(f"the TPM key file {self.path} was deleted")
        if state != self._state:
            self.key = read(self.path)
            if self.key.area.name != self.area.name:
                raise KeyNotFound(f"another key is in {self.path} now")
            self._state, self._structures = state, None

    @contextmanager
    def opened(self, context: Context) -> Iterator[Handle]:
        if self._structures is None:
            self._structures = structures(self.key)
        with loaded(context, self.key.parent, self.area.name, *self._structures) as handle:
            yield handle


class HandleSource:
    """A persistent object: used where it is."""

    policy: tuple[PolicyStep, ...] = ()

    def __init__(self, handle: int, area: PublicArea, *, own: bool) -> None:
        self.handle = handle
        self.area = area
        self.needs_auth = not area.has(Attributes.NO_DA)
        self.own = own

    def refresh(self) -> None:
        return None  # a persistent object is compared by name when it is opened

    @contextmanager
    def opened(self, context: Context) -> Iterator[Handle]:
        try:
            handle, name = context.persistent_named(self.handle)
        except context.tss.TSS2_Exception:
            context.forget_persistent(self.handle)
            raise
        if name != self.area.name:
            raise KeyNotFound(f"another object is at the TPM's handle 0x{self.handle:08x} now")
        yield handle


def structures(key: KeyFile) -> tuple[Structure, Structure]:
    """The private and public structures of the vendor library."""
    private, _ = tss().TPM2B_PRIVATE.unmarshal(key.private)
    public, _ = tss().TPM2B_PUBLIC.unmarshal(key.public)
    return private, public


@contextmanager
def loaded(
    context: Context, parent: int, name: bytes, private: Structure, public: Structure
) -> Iterator[Handle]:
    """Load an object below its parent for the block."""
    above = parent_handle(context, parent)
    with context.transient(name, lambda: context.esapi.load(above, private, public)) as handle:
        yield handle


def parent_handle(context: Context, parent: int) -> Handle:
    """The parent that a key file names. Raises NotSupported."""
    if parent == RH_OWNER:
        return context.primary
    if parent >> 24 == PERSISTENT_FIRST >> 24:
        return context.persistent(parent)
    raise NotSupported(f"a TPM key below the parent 0x{parent:08x} cannot be used here")
