"""The authorisation values of one TPM's keys: asked when needed, checked by the TPM, kept until refused.

A TPM has no PIN of its own. All protected keys of a home and a TPM have one authorisation value, *the PIN*;
a small sealed object (`pin.tss2`) knows it too, so that a new key cannot be made with a mistyped one.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from typing import TypeVar

from meshhw.errors import MeshError, PinIncorrect, PinLocked, UsageError
from meshhw.keystore.interaction import Interaction, PinKind, PinRequest
from meshhw.keystore.tpm_public import MADE_INSIDE, Attributes
from meshhw.keystore.uri import TokenURI
from meshhw_tpm import lockout, objects
from meshhw_tpm.connection import Connection
from meshhw_tpm.context import Context
from meshhw_tpm.objects import Terms
from meshhw_tpm.source import FileSource, Source
from meshhw_tpm.store import Store, file_state, read

T = TypeVar("T")
MAX_OCTETS = 32
_PIN = "the TPM's PIN"
_OF_PIN_OBJECT = MADE_INSIDE & ~Attributes.SENSITIVE_DATA_ORIGIN | Attributes.USER_WITH_AUTH


class Pins:
    """Asks for, keeps and drops the values. One per open token."""

    def __init__(
        self, uri: TokenURI, label: str, interaction: Interaction, connection: Connection, store: Store
    ) -> None:
        self._uri = uri
        self._label = label
        self._interaction = interaction
        self._connection = connection
        self._store = store
        self._asking = threading.RLock()
        self._kept: dict[bytes, bytes] = {}
        self._pin_state = file_state(store.pin_path())

    def needed(self, source: Source) -> bool:
        """Whether using this key asks the person now."""
        return source.needs_auth and self._slot(source) not in self._kept

    def authorised(self, source: Source, use: Callable[[bytes], T]) -> T:
        """`use(value)` with the key's authorisation value; a refused one is dropped and the tries told.

        Raises PinRequired, PinIncorrect, PinFinalTry, PinLocked.
        """
        source.refresh()
        slot = self._slot(source)
        if self._pin_state != file_state(self._store.pin_path()):  # a PIN of before a change is a wrong try
            self.forget()
        if not source.needs_auth:
            return use(b"")
        known = self._kept.get(slot)
        if known is not None:
            return self._tried(slot, known, use)
        with self._asking:  # one person, one try: other threads wait for its outcome
            known = self._kept.get(slot)
            if known is None:
                self._may_try()
                value = self.ask(self._label)
                result = self._tried(slot, value, use)
                self._kept[slot] = value
                return result
        return self._tried(slot, known, use)

    def token_pin(self) -> bytes:
        """The PIN, checked by the TPM; set anew where the home has none yet."""
        if not self._store.has_pin():
            self.set_first(self.ask(_PIN, new=True, first=True))
        source = self._pin_source()
        if self._slot(source) not in self._kept:
            self.authorised(source, lambda value: self._check(source, value))
        return self._kept[self._slot(source)]

    def set_first(self, value: bytes) -> None:
        """Make the object that knows the PIN."""
        made = self._connection.run(
            lambda context: objects.seal(context, secrets.token_bytes(32), Terms(_OF_PIN_OBJECT, value))
        )
        self._store.write_pin(made)
        self.keep(value)

    def ask(
        self, label: str, kind: PinKind = PinKind.USER, *, new: bool = False, first: bool = False
    ) -> bytes:
        """Ask the person for one value. Raises UsageError for one that a TPM cannot take."""
        value = self._interaction.pin(PinRequest(kind, self._uri, label, new=new, first=first)).encode()
        if len(value) > MAX_OCTETS or value.endswith(b"\0"):
            raise UsageError(f"a TPM's PIN has at most {MAX_OCTETS} octets and no zero at its end")
        if new and not value:
            raise UsageError("an empty PIN protects nothing")
        return value

    def keep(self, value: bytes) -> None:
        """The PIN is this from now on."""
        self._kept[b""] = value
        self._pin_state = file_state(self._store.pin_path())

    def forget(self) -> None:
        """Drop everything."""
        self._kept.clear()
        self._pin_state = file_state(self._store.pin_path())

    def explained(self, error: MeshError) -> MeshError:
        """A refusal with the tries that are left, or the time to wait."""
        return lockout.explained(error, self._connection.run(lockout.read), self._uri)

    def _tried(self, slot: bytes, value: bytes, use: Callable[[bytes], T]) -> T:
        try:
            return use(value)
        except (PinIncorrect, PinLocked) as error:
            self._kept.pop(slot, None)
            raise self.explained(error) from error

    def _may_try(self) -> None:
        state = self._connection.run(lockout.read)
        if state.locked:
            raise lockout.locked(state, self._uri)
        if state.tries_left == 1:
            request = PinRequest(PinKind.USER, self._uri, self._label, retries_left=1)
            if not self._interaction.final_try(request):
                raise lockout.final_try()

    def _check(self, source: Source, value: bytes) -> None:
        def check(context: Context) -> None:
            with source.opened(context) as handle:
                context.esapi.tr_set_auth(handle, value)
                context.esapi.unseal(handle, session1=context.session(response=True))

        self._connection.run(check)

    def _pin_source(self) -> Source:
        path = self._store.pin_path()
        return FileSource(path, read(path), own=True)

    @staticmethod
    def _slot(source: Source) -> bytes:
        return b"" if source.own else source.area.name
