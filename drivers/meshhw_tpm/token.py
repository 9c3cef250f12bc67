"""An open TPM (see `meshhw.keystore.api.Token`), put together from what the other modules do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from meshhw.algorithms import Operation, PrivateKey
from meshhw.errors import KeyNotFound, UsageError
from meshhw.keystore.api import Capabilities, Key, KeySpec, Needs, OpenOptions, Protection, TokenInfo
from meshhw.keystore.attestation import Attestation
from meshhw.keystore.interaction import PinKind
from meshhw.keystore.log import in_place_of_key, recorded, recorded_making
from meshhw.keystore.tpm_public import parse_public
from meshhw.keystore.uri import KeyURI
from meshhw_tpm import admin, attesting, capabilities, endorsement, lockout, protection, sealing
from meshhw_tpm.connection import Connection
from meshhw_tpm.context import PERSISTENT_FIRST, Context
from meshhw_tpm.endorsement import Identity
from meshhw_tpm.identity import identity, mismatch
from meshhw_tpm.keys import Surroundings, TpmKey, key_class
from meshhw_tpm.making import Maker
from meshhw_tpm.pins import Pins
from meshhw_tpm.policy import Pcrs
from meshhw_tpm.source import FileSource, HandleSource, Source
from meshhw_tpm.store import Store, read


@dataclass(frozen=True, slots=True)
class Settings:
    """What the query of the token's URI says."""

    sessions: bool = True
    keep_primary: bool = False
    pcrs: Pcrs | None = None


class TpmToken:
    """One TPM. Keys live in files that it wrapped, or at its persistent handles."""

    def __init__(
        self, info: TokenInfo, connection: Connection, store: Store, options: OpenOptions, settings: Settings
    ) -> None:
        self._info = info
        self._connection = connection
        self._store = store
        self._settings = settings
        self._pins = Pins(info.uri, info.label, options.interaction, connection, store)
        self._around = Surroundings(connection, self._pins, options.recorder)
        self._maker = Maker(connection, store, self._pins, settings.pcrs)
        self._capabilities: Capabilities | None = None

    def info(self) -> TokenInfo:
        """What it is."""
        return self._info

    def capabilities(self) -> Capabilities:
        """What this TPM says that it can do."""
        if self._capabilities is None:
            self._capabilities = self._connection.run(capabilities.ask)
        return self._capabilities

    def keys(self) -> Sequence[TpmKey]:
        """The keys of this home's files, then those at persistent handles."""
        filed = (self._from_file(name) for name in self._store.names())
        found = [*filed, *(self._from_handle(handle) for handle in self._persistent_handles())]
        return [key for key in found if key is not None]

    def key(self, uri: KeyURI) -> TpmKey:
        """The key at `file=` (a name of this home, or a path) or `handle=`; `id=` is the object's name.

        Raises KeyNotFound, FormatError.
        """
        self._same_tpm(uri)
        handle, file, name = uri.get("handle"), uri.get("file"), uri.octets("id")
        if handle is not None:
            found = self._from_handle(_number(handle))
        elif file is not None:
            found = self._from_file(file)
        else:
            found = next((key for key in self.keys() if name and key.source.area.name == name), None)
        if found is None:
            raise KeyNotFound(f"the TPM has no usable key {uri}")
        return found

    def count_calls(self, work: Callable[[], object]) -> int:
        """How many commands this token's connection sends while `work` runs."""
        return self._connection.commands.during(work)

    def hold(self) -> AbstractContextManager[None]:
        """TPMs have no transactions; PINs are kept anyway."""
        return nullcontext()

    def close(self) -> None:
        """Forget PINs, flush what is loaded, disconnect."""
        self._pins.forget()
        self._connection.close()

    def generate(self, spec: KeySpec) -> Key:
        """A new key, `fixedTPM` and `fixedParent`: it never leaves this TPM."""
        self._supported(spec)
        return self._recorded(Operation.GENERATE, lambda: self._maker.generate(spec))

    def import_key(self, private: PrivateKey, spec: KeySpec) -> Key:
        """A key from outside, with no policy and hence never to be duplicated."""
        self._supported(spec)
        return self._recorded(Operation.IMPORT, lambda: self._maker.import_key(private, spec))

    def _recorded(self, operation: Operation, make: Callable[[], str | int]) -> Key:
        """Make a key, and tell the recorder."""
        recorder = self._around.recorder
        return recorded_making(recorder, self._info.uri, operation, lambda: self._made(make()), self._remove)

    def delete(self, key: KeyURI) -> None:
        """Remove the key file, or the object from its persistent handle. Raises KeyNotFound."""
        with recorded(self._around.recorder, key, Operation.DELETE):
            self._remove(key)

    def _remove(self, key: KeyURI) -> None:
        self._same_tpm(key)
        handle = key.get("handle")
        if handle is None:
            file = key.get("file")
            if file is None:
                raise KeyNotFound(f"{key} names no key file and no handle")
            self._store.remove(file)
            return
        self._evict(_number(handle))

    def seal(self, secret: bytes, purpose: bytes) -> bytes:
        """A blob that only this TPM opens, in the present state of the PCRs that the token's URI names."""
        return sealing.seal(self._connection, secret, purpose, self._settings.pcrs)

    def unseal(self, blob: bytes, purpose: bytes) -> bytes:
        """The secret. Raises DecryptionFailed."""
        with recorded(self._around.recorder, in_place_of_key(self._info.uri), Operation.UNWRAP):
            return sealing.unseal(self._connection, blob, purpose)

    def needs_of_key(self, key: KeyURI) -> Needs:
        """The PIN of a key that has one, until it was given."""
        return self.key(key).needs()

    def needs_to_unseal(self, blob: bytes) -> Needs:
        """Nothing: a blob is authorised by its purpose."""
        return Needs()

    def attest(self, key: KeyURI) -> Attestation:
        """TPM2_Certify by the TPM's attestation key (`meshhw.keystore.attestation_tpm`)."""
        source = self.key(key).source
        with recorded(self._around.recorder, key, Operation.ATTEST):
            return attesting.attest(self._connection, self._store, self._pins, source)

    def attester(self) -> Identity:
        """The attestation and endorsement keys, for one who makes a challenge (`tpm_credential`)."""
        return endorsement.identity(self._connection)

    def answer_challenge(self, blob: bytes, seed: bytes) -> bytes:
        """Show that both of `attester`'s keys are in this TPM."""
        with recorded(self._around.recorder, in_place_of_key(self._info.uri), Operation.DECRYPT):
            return endorsement.answer(self._connection, blob, seed)

    def protection(self, key: KeyURI) -> Protection:
        """The object's attributes, and the TPM's answer to TPM2_Duplicate."""
        return protection.ask(self._connection, self.key(key).source)

    def change_pin(self, kind: PinKind) -> None:
        """USER: the PIN of this home's keys (set, if there is none); SO: the TPM's lock-out password."""
        admin.change_pin(self._connection, self._store, self._pins, kind)

    def unlock(self) -> None:
        """End a dictionary-attack lock-out; the PIN stays what it was."""
        admin.unlock(self._connection, self._pins)

    def retries_left(self, kind: PinKind) -> int | None:
        """Tries of the counter that all protected objects share; None without a PIN or for other kinds."""
        if kind is not PinKind.USER or not self._store.has_pin():
            return None
        state = self._connection.run(lockout.read)
        return 0 if state.locked else state.tries_left

    def reset(self) -> None:
        """Destroy this home's keys and PIN. The TPM itself is not cleared: others' keys live there too."""
        with recorded(self._around.recorder, in_place_of_key(self._info.uri), Operation.DELETE):
            for handle in self._store.noted_handles():
                if self._is_own(handle):
                    self._evict(handle)
                else:
                    self._store.forget(handle)
            for name in self._store.names():
                self._store.remove(name)
        self._pins.forget()
        self._store.remove_pin()

    def _same_tpm(self, uri: KeyURI) -> None:
        """Raise TokenMismatch for a key of another TPM, which is what this one was before it was cleared."""
        named = identity(uri)
        if named is not None and named != identity(self._info.uri):
            raise mismatch(Store(named))

    def _supported(self, spec: KeySpec) -> None:
        capabilities.require(self.capabilities(), spec.algorithm)

    def _made(self, place: str | int) -> TpmKey:
        made = self._from_file(place) if isinstance(place, str) else self._from_handle(place)
        if made is None:
            raise KeyNotFound("the new key was deleted before it could be used")
        return made

    def _from_file(self, name: str) -> TpmKey | None:
        path = self._store.path(name)
        key = read(path)
        source = FileSource(path, key, own=path.parent == self._store.directory)
        return self._key(self._info.uri.key(file=name), key.label, source)

    def _from_handle(self, handle: int) -> TpmKey | None:
        area = self._connection.run(lambda context: _public_at(context, handle))
        note = self._store.noted(handle)
        own = note is not None and note.name == parse_public(area).name
        label = note.label if note is not None and own else ""
        source = HandleSource(handle, parse_public(area), own=own)
        return self._key(self._info.uri.key(handle=f"0x{handle:08x}"), label, source)

    def _key(self, uri: KeyURI, label: str, source: Source) -> TpmKey | None:
        kind = key_class(source.area)
        return None if kind is None else kind(uri, label, source, self._around)

    def _persistent_handles(self) -> list[int]:
        return self._connection.run(lambda context: context.handles(PERSISTENT_FIRST))

    def _is_own(self, handle: int) -> bool:
        """Whether the key that is remembered at a handle is still there."""
        try:
            key = self._from_handle(handle)
        except KeyNotFound:
            return False
        return key is not None and key.source.own

    def _evict(self, handle: int) -> None:
        def evict(context: Context) -> None:
            known = context.persistent(handle)
            with context.owner_session() as session:
                context.esapi.evict_control(context.tss.ESYS_TR.RH_OWNER, known, 0, session1=session)
            context.forget_persistent(handle)

        self._connection.run(evict)
        if self._store.noted(handle) is not None:
            self._store.forget(handle)


def _public_at(context: Context, handle: int) -> bytes:
    context.forget_persistent(handle)  # somebody else may have put another object there
    public, *_ = context.esapi.read_public(context.persistent(handle))
    return bytes(public.publicArea.marshal())


def _number(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError as error:
        raise UsageError(f"{text!r} is no TPM handle", hint="write handle=0x81000100") from error
