"""Changing the PIN of all keys at once, ending a lock-out, and the hierarchies' own passwords."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from meshhw import files
from meshhw.errors import NotSupported
from meshhw.keystore.interaction import PinKind
from meshhw.keystore.tpm_public import Attributes, parse_public
from meshhw_tpm import keyfile, lockout
from meshhw_tpm.connection import Connection
from meshhw_tpm.context import Context
from meshhw_tpm.keyfile import KeyFile
from meshhw_tpm.pins import Pins
from meshhw_tpm.source import FileSource, parent_handle, structures
from meshhw_tpm.store import Store, read
from meshhw_tpm.tss import Handle

_NEW, _CHANGE, _COMMIT = ".next", "change", "change.commit"


def change_pin(connection: Connection, store: Store, pins: Pins, kind: PinKind) -> None:
    """Change the PIN (USER) or the TPM's lock-out password (SO). Raises NotSupported for other kinds."""
    if kind is PinKind.SO:
        _change_lockout_password(connection, pins)
        return
    if kind is not PinKind.USER:
        raise NotSupported(f"a TPM has no {kind} PIN", hint="it has a user and an so PIN")
    _refuse_persistent(connection, store)
    had_pin = store.has_pin()
    old = pins.token_pin()
    if not had_pin:  # asked for and set just now
        return
    new = pins.ask("the TPM's new PIN", new=True)
    with files.locked(store.directory / _CHANGE):
        _finish(store.directory)
        _write_changed(connection, store, old, new)
        _finish(store.directory)
    pins.keep(new)


def unlock(connection: Connection, pins: Pins) -> None:
    """End the lock-out (TPM2_DictionaryAttackLockReset); the PIN stays as it is.

    Asks for the lock-out password (SO) only if the TPM has one. Raises PinIncorrect, PinLocked.
    """
    state = connection.run(lockout.read)
    password = pins.ask("the TPM's lock-out password", PinKind.SO) if state.lockout_auth_set else b""

    def reset(context: Context) -> None:
        handle = context.tss.ESYS_TR.RH_LOCKOUT
        context.esapi.tr_set_auth(handle, password)
        context.esapi.dictionary_attack_lock_reset(handle, session1=_session(context, password))

    connection.run(reset)


def finish_change(directory: Path) -> None:
    """Finish or undo a change of PIN that a crash interrupted; one that goes on is waited for."""
    if (directory / _COMMIT).exists() or any(directory.glob(f"*{_NEW}")):
        with files.locked(directory / _CHANGE):
            _finish(directory)


def _finish(directory: Path) -> None:
    """Put the files of a PIN change in place: all of them if it was committed, else none."""
    waiting = sorted(directory.glob(f"*{_NEW}"))
    commit = directory / _COMMIT
    if not commit.exists():
        for path in waiting:
            path.unlink()
        return
    for path in waiting:
        path.replace(path.with_suffix(""))
    files.sync_directory(directory)
    commit.unlink()


def _refuse_persistent(connection: Connection, store: Store) -> None:
    """A persistent object's authorisation cannot be changed where it is."""
    for handle in store.noted_handles():
        if connection.run(partial(_asks_for_pin, handle)):
            raise NotSupported(
                f"the key at the TPM's handle 0x{handle:08x} keeps the PIN that it was made with",
                hint="delete it first, and make it again after the change",
            )


def _asks_for_pin(handle: int, context: Context) -> bool:
    if handle not in context.handles(handle)[:1]:
        return False
    public, *_ = context.esapi.read_public(context.persistent(handle))
    return not parse_public(bytes(public.publicArea.marshal())).has(Attributes.NO_DA)


def _write_changed(connection: Connection, store: Store, old: bytes, new: bytes) -> None:
    """Write every protected key with its new value beside the old one, then commit."""
    protected = [(path, key) for path, key in store.own_keys() if not key.empty_auth]
    protected.append((store.pin_path(), read(store.pin_path())))
    for path, key in protected:
        changed = _changed(connection, path, key, old, new)
        files.replace(path.with_name(path.name + _NEW), keyfile.to_pem(changed))
    files.replace(store.directory / _COMMIT, b"")


def _changed(connection: Connection, path: Path, key: KeyFile, old: bytes, new: bytes) -> KeyFile:
    """The same key with another value (TPM2_ObjectChangeAuth), which travels encrypted."""
    source = FileSource(path, key, own=True)
    _, public = structures(key)

    def change(context: Context) -> bytes:
        with source.opened(context) as handle:
            context.esapi.tr_set_auth(handle, old)
            parent = parent_handle(context, key.parent)
            session = context.session(command=True)
            private = context.esapi.object_change_auth(handle, parent, new, session1=session)
            return bytes(private.marshal())

    return replace(key, private=connection.run(change), public=public.marshal())


def _change_lockout_password(connection: Connection, pins: Pins) -> None:
    state = connection.run(lockout.read)
    old = pins.ask("the TPM's lock-out password", PinKind.SO) if state.lockout_auth_set else b""
    new = pins.ask("the TPM's new lock-out password", PinKind.SO, new=True)

    def change(context: Context) -> None:
        handle = context.tss.ESYS_TR.RH_LOCKOUT
        context.esapi.tr_set_auth(handle, old)
        context.esapi.hierarchy_change_auth(handle, new, session1=context.session(command=True))

    connection.run(change)


def _session(context: Context, password: bytes) -> Handle:
    return context.session() if password else context.password()
