"""One physical connection to a TPM: its ESAPI context, the storage primary and the salted session.

A TPM has three slots for objects, so that whatever is loaded is flushed at once, even after a fault; only the
primary and the session stay, since to make them costs more than most commands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from meshhw.errors import TokenFull
from meshhw.keystore.tally import Tally
from meshhw.keystore.tpm_public import parse_public
from meshhw_tpm import templates
from meshhw_tpm.counting import Counted
from meshhw_tpm.errors import BAD_AUTH, tpm_code
from meshhw_tpm.tss import Handle, Structure, tss

T = TypeVar("T")
RH_OWNER = 0x40000001
TRANSIENT_FIRST, PERSISTENT_FIRST, PERSISTENT_LAST = 0x80000000, 0x81000000, 0x817FFFFF
HMAC_SESSION_FIRST, POLICY_SESSION_FIRST = 0x02000000, 0x03000000
SRK_HANDLE = 0x81000001
"""Where a storage primary is kept by convention (TCG TPM v2.0 Provisioning Guidance, table 2)."""

_SESSION = b"session"  # stands in `pending` for one of unknown handle


class Context:
    """What is open now. Not usable from several threads at once; `Connection` sees to that."""

    def __init__(self, tcti: str, sessions: bool, pending: set[bytes], commands: Tally) -> None:
        """Connect. `pending` are names of objects that may have been left in the TPM by lost answers;
        `commands` counts what is sent."""
        self.tss = tss()
        self.esapi = Counted(self.tss.ESAPI(tcti), commands)
        self.sessions = sessions
        self.pending = pending
        self.broken = False
        self.owner_auth = b""
        self._primary: Handle | None = None
        self._primary_persistent = False
        self._session: Handle | None = None
        self._persistent: dict[int, tuple[Handle, bytes]] = {}
        self.primary_name = b""
        try:
            if pending:
                self._sweep()
        except self.tss.TSS2_Exception:
            self.close()
            raise

    def open_primary(self, expected: bytes | None) -> bytes:
        """Find or make the storage primary; its name. `expected` lets a persistent one be used as it is."""
        if expected is not None and self._use_persistent_primary(expected):
            return expected
        try:
            made, name = self._make_primary(expected or self.primary_name)
        except self.tss.TSS2_Exception as error:
            shared = None if tpm_code(int(error.rc)) != BAD_AUTH else self._shared_primary()
            if shared is None:
                raise
            self._use_persistent_primary(shared)
            return shared
        self._primary, self.primary_name = made, name
        if self._use_persistent_primary(name):  # the slot is better spent on keys
            self.flush(made)
        return name

    @property
    def primary(self) -> Handle:
        """The handle of the storage primary."""
        if self._primary is None:
            self.open_primary(self.primary_name)
        return self._primary

    def keep_primary(self) -> None:
        """Make the storage primary persistent at its conventional handle.

        Raises TokenFull when something else is there.
        """
        primary = self.primary
        if self._primary_persistent:
            return
        if SRK_HANDLE in self.handles(SRK_HANDLE)[:1]:
            raise TokenFull(
                f"another object is at the TPM's handle 0x{SRK_HANDLE:08x}",
                hint="leave primary= out of the URI: the storage primary is then made when it is needed",
            )
        with self.owner_session() as session:
            owner = self.tss.ESYS_TR.RH_OWNER
            self.esapi.tr_close(self.esapi.evict_control(owner, primary, SRK_HANDLE, session1=session))
        if self._use_persistent_primary(self.primary_name):
            self.flush(primary)

    def password(self) -> Handle:
        """The pseudo-session for commands that carry no secret."""
        return self.tss.ESYS_TR.PASSWORD

    def session(self, *, command: bool = False, response: bool = False) -> Handle:
        """The session for a command with a secret: salted HMAC, the first parameter of the command and/or of
        the response encrypted. The pseudo-session for clear passwords where sessions are switched off.
        """
        if not self.sessions:
            return self.password()
        if self._session is None:
            self._session = self.start_session(self.tss.TPM2_SE.HMAC)
        self.shape(self._session, command=command, response=response)
        return self._session

    def start_session(self, kind: Structure) -> Handle:
        """A new session, salted with the storage primary."""
        salt = self.primary
        session = self._announced(
            _SESSION,
            lambda: self.esapi.start_auth_session(
                salt,
                self.tss.ESYS_TR.NONE,
                kind,
                templates.aes128cfb(self.tss.TPMT_SYM_DEF),
                self.tss.TPM2_ALG.SHA256,
            ),
        )
        self.pending.discard(_SESSION)
        return session

    def shape(self, session: Handle, *, command: bool = False, response: bool = False) -> None:
        """Say which direction's first parameter a session encrypts."""
        attributes = self.tss.TPMA_SESSION.CONTINUESESSION
        if command:
            attributes |= self.tss.TPMA_SESSION.DECRYPT
        if response:
            attributes |= self.tss.TPMA_SESSION.ENCRYPT
        self.esapi.trsess_set_attributes(session, attributes)

    @contextmanager
    def owner_session(self) -> Iterator[Handle]:
        """Authorise by the owner. His password never travels: it only keys an HMAC."""
        self.esapi.tr_set_auth(self.tss.ESYS_TR.RH_OWNER, self.owner_auth)
        if not self.owner_auth:
            yield self.password()
            return
        session = self.esapi.start_auth_session(
            self.tss.ESYS_TR.NONE,
            self.tss.ESYS_TR.NONE,
            self.tss.TPM2_SE.HMAC,
            self.tss.TPMT_SYM_DEF(algorithm=self.tss.TPM2_ALG.NULL),
            self.tss.TPM2_ALG.SHA256,
        )
        self.shape(session)
        try:
            yield session
        finally:
            self.flush_session(session)

    @contextmanager
    def transient(self, name: bytes, load: Callable[[], Handle]) -> Iterator[Handle]:
        """Load an object for the block. If its answer or its flush is lost, `pending` remembers its name."""
        handle = self._announced(name, load)
        try:
            yield handle
        finally:
            if self.flush(handle):
                self.pending.discard(name)

    def flush(self, handle: Handle) -> bool:
        """Flush, whatever happens; whether the TPM is known to have done it."""
        try:
            self.esapi.flush_context(handle)
        except self.tss.TSS2_Exception as error:
            self.broken = True
            return tpm_code(int(error.rc)) is not None
        return True

    def flush_session(self, handle: Handle) -> None:
        """Flush a session, or remember that one may be left."""
        if not self.flush(handle):
            self.pending.add(_SESSION)

    def persistent(self, handle: int) -> Handle:
        """The object at a persistent handle; asked for once per connection."""
        return self.persistent_named(handle)[0]

    def persistent_named(self, handle: int) -> tuple[Handle, bytes]:
        """The object at a persistent handle, and its name."""
        if handle not in self._persistent:
            known = self.esapi.tr_from_tpmpublic(handle)
            self._persistent[handle] = known, bytes(self.esapi.tr_get_name(known))
        return self._persistent[handle]

    def forget_persistent(self, handle: int) -> None:
        """Ask again what is at a handle the next time."""
        known = self._persistent.pop(handle, None)
        if known is not None:
            with suppress(self.tss.TSS2_Exception):
                self.esapi.tr_close(known[0])

    def handles(self, first: int) -> list[int]:
        """The handles of one range that are in use."""
        _, data = self.esapi.get_capability(self.tss.TPM2_CAP.HANDLES, first, 254)
        return [int(handle) for handle in data.data.handles]

    def properties(self, first: int, count: int) -> dict[int, int]:
        """TPM properties (part 2, TPM_PT) from `first` on."""
        _, data = self.esapi.get_capability(self.tss.TPM2_CAP.TPM_PROPERTIES, first, count)
        return {int(entry.property): int(entry.value) for entry in data.data.tpmProperties}

    def release(self) -> None:
        """Give the slots back that the primary and the session take; they are made again when needed."""
        if self._session is not None:
            self.flush_session(self._session)
            self._session = None
        if self._primary is not None and not self._primary_persistent:
            if not self.flush(self._primary):
                self.pending.add(self.primary_name)
            self._primary = None

    def close(self) -> None:
        """Release everything and disconnect."""
        self.release()
        self.esapi.close()

    def _make_primary(self, name: bytes) -> tuple[Handle, bytes]:
        """TPM2_CreatePrimary; `name` is what it will be called, empty where that is not known yet."""
        with self.owner_session() as session:
            handle, public, *_ = self._announced(
                name,
                lambda: self.esapi.create_primary(
                    self.tss.TPM2B_SENSITIVE_CREATE(), templates.storage_parent(), session1=session
                ),
            )
        self.pending.discard(name)
        return handle, parse_public(bytes(public.publicArea.marshal())).name

    def _shared_primary(self) -> bytes | None:
        """The name of the persistent storage primary, for those who lack the owner's password.

        None unless it has the form of ours.
        """
        if SRK_HANDLE not in self.handles(SRK_HANDLE)[:1]:
            return None
        public, *_ = self.esapi.read_public(self.persistent(SRK_HANDLE))
        area = parse_public(bytes(public.publicArea.marshal()))
        form = parse_public(bytes(templates.storage_parent().publicArea.marshal()))
        same = (area.kind, area.attributes, area.policy) == (form.kind, form.attributes, form.policy)
        return area.name if same else None

    def _announced(self, name: bytes, make: Callable[[], T]) -> T:
        """Make an object whose name is `pending` until it is flushed, unless the TPM refuses it."""
        if name:
            self.pending.add(name)
        try:
            return make()
        except self.tss.TSS2_Exception as error:
            if tpm_code(int(error.rc)) is not None:
                self.pending.discard(name)
            raise

    def _use_persistent_primary(self, name: bytes) -> bool:
        if self._primary_persistent:
            return True
        if SRK_HANDLE not in self.handles(SRK_HANDLE)[:1]:
            return False
        handle, found = self.persistent_named(SRK_HANDLE)
        if found != name:
            return False
        self._primary, self._primary_persistent, self.primary_name = handle, True, name
        return True

    def _sweep(self) -> None:
        """Flush what lost answers left behind. A resource manager has done so: then there is nothing here.

        Sessions have no names. Those of other programs that go with a lost one are started anew by them.
        """
        for number in self.handles(TRANSIENT_FIRST):
            handle = self.esapi.tr_from_tpmpublic(number)
            if bytes(self.esapi.tr_get_name(handle)) in self.pending:
                self.esapi.flush_context(handle)
            else:
                self.esapi.tr_close(handle)
        if _SESSION in self.pending:
            for number in [*self.handles(HMAC_SESSION_FIRST), *self.handles(POLICY_SESSION_FIRST)]:
                self.esapi.flush_context(self.esapi.tr_from_tpmpublic(number))
        self.pending.clear()
