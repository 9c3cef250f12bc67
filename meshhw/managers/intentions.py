"""Keys that are about to be made, written down before, so that none is left on a token unknown to anybody.

Between the moment at which a token has made a key and the one at which this home has a record of it, the
process may be killed. So each making keeps a file in `making/`, locked while its process lives: what it is
about to make is there, synced, before the token is asked. It is removed when the keys are recorded or
destroyed. A file that is there without a living process is an interrupted making, and the next one to use its
token settles it: what was reserved for the key on the token (`ReservesNames`) is destroyed there. On tokens
that cannot reserve, what is new on the token since can only be told, since it may be somebody else's.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import msgspec

from meshhw import files
from meshhw.algorithms import Algorithm
from meshhw.errors import MeshError
from meshhw.keystore.api import Deletes, Key, KeySpec, ReservesNames, Token
from meshhw.keystore.unfinished import TellsUnfinished
from meshhw.keystore.uri import KeyURI, TokenURI
from meshhw.managers.host import Host, now
from meshhw.managers.keys import KnownKeys

_LIMIT = 1 << 20
_LOGGER = logging.getLogger("meshhw")


class Intention(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key that was about to be made."""

    token: str
    algorithm: Algorithm
    label: str
    started: datetime
    reserved: bytes = b""
    """Its name on the token; empty where a token does not let names be reserved."""
    before: tuple[str, ...] = ()
    """Without such a name: the keys that were on the token already."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of an interrupted making on one token."""

    destroyed: int = 0
    suspects: tuple[str, ...] = ()
    """Keys that may be of it, or not: for a person to judge."""


class Making:
    """One making in progress. Get it from `Intentions.making`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def intend(self, token: Token, spec: KeySpec) -> KeySpec:
        """Write down, to last, that this key is about to be made; the spec under which to make it.

        Raises StateError when the disk refuses, and what the token raises.
        """
        reserved = token.reserve() if isinstance(token, ReservesNames) else b""
        before = () if reserved else tuple(_uris(token.keys()))
        intention = Intention(
            token=str(token.info().uri),
            algorithm=spec.algorithm,
            label=spec.label,
            started=now(),
            reserved=reserved,
            before=before,
        )
        files.append(self._descriptor, self._path, _lines([intention]))
        return replace(spec, reserved=reserved or None)

    def over(self) -> None:
        """Nothing of it is on a token that has no record."""
        self._path.unlink(missing_ok=True)


class Intentions:
    """The makings of one home."""

    def __init__(self, home: Path) -> None:
        """Raises InsecurePermissions for a home that others can enter."""
        self._home = files.private_directory(home)
        self._directory = self._home / "making"

    @contextmanager
    def making(self) -> Iterator[Making]:
        """While this lasts, keys are made and recorded. What is written down stays when it ends by an error,
        unless `over` was said."""
        path = files.private_directory(self._directory) / f"{secrets.token_hex(8)}.jsonl"
        with _locked(path, os.O_CREAT | os.O_EXCL) as descriptor:
            files.sync_directory(self._directory)
            making = Making(path, descriptor)
            try:
                yield making
            except BaseException:
                if os.fstat(descriptor).st_size == 0:
                    making.over()
                raise
            making.over()

    def interrupted(self) -> Iterator[Intention]:
        """What makings without a living process were about to make. Asks for no PIN."""
        for _, found in self._stale():
            yield from found

    def settle(self, token: Token) -> Settled:
        """Destroy what interrupted makings left on this token, and forget them. Asks for no PIN when there
        are none.

        What may be of one, but need not, is told every time until it is gone or has a record. Raises what the
        token raises.
        """
        destroyed, suspects = 0, list[str]()
        name = token.info().uri
        for path, found in self._stale():
            ours = [intention for intention in found if TokenURI.parse(intention.token) == name]
            kept = [intention for intention in found if intention not in ours]
            for intention in ours:
                if not intention.reserved:
                    left = self._newcomers(token, intention)
                    suspects += left
                    kept += [intention] if left else []
                elif isinstance(token, ReservesNames) and not self._is_recorded(intention.reserved):
                    destroyed += token.discard(intention.reserved)
            if kept and kept != found:
                files.replace(path, _lines(kept))
            elif not kept:
                path.unlink(missing_ok=True)
        return Settled(destroyed, tuple(dict.fromkeys(suspects)))

    def tidy(self, token: Token, confirm: Callable[[str], bool]) -> Settled:
        """As `settle`, but a person says of each key that may be left whether it shall be destroyed, and is
        not told of the others again. Raises what the token raises."""
        settled = self.settle(token)
        destroyed, kept = settled.destroyed, []
        unfinished = map(str, token.unfinished()) if isinstance(token, TellsUnfinished) else ()
        for uri in dict.fromkeys((*settled.suspects, *unfinished)):
            if isinstance(token, Deletes) and confirm(uri):
                token.delete(KeyURI.parse(uri))
                destroyed += 1
            else:
                kept.append(uri)
        name = token.info().uri
        for path, found in self._stale():
            others = [intention for intention in found if TokenURI.parse(intention.token) != name]
            files.replace(path, _lines(others)) if others else path.unlink()
        return Settled(destroyed, tuple(kept))

    def _stale(self) -> Iterator[tuple[Path, list[Intention]]]:
        """The files of makings whose process is gone, each locked while it is looked at."""
        for path in sorted(self._directory.glob("*.jsonl")):
            with suppress(FileNotFoundError, BlockingIOError), _locked(path) as descriptor:
                yield path, list(_read(os.pread(descriptor, _LIMIT, 0)))

    def _newcomers(self, token: Token, intention: Intention) -> list[str]:
        known = {*intention.before, *self._recorded()}
        held = token.keys()
        alike = [key for key in held if key.algorithm is intention.algorithm]
        return [uri for uri in _uris(alike) if uri not in known]

    def _is_recorded(self, reserved: bytes) -> bool:
        return any(KeyURI.parse(uri).attributes.get("id") == reserved for uri in self._recorded())

    def _recorded(self) -> Iterator[str]:
        """The URIs of every key of which this home has a record."""
        from meshhw.managers.ssh.keys import SshKeys

        yield from (known.uri for known in KnownKeys(self._home).all())
        handles = (handle for record in Host(self._home).profiles() for handle in record.keys)
        yield from (handle.uri for handle in handles if not handle.is_shared)
        yield from (known.uri for known in SshKeys(self._home).all())
        yield from self._shares()

    def _shares(self) -> Iterator[str]:
        """Those of the threshold keys; a damaged descriptor keeps nobody from making a key."""
        if not (self._home / "threshold").is_dir():
            return
        from meshhw.managers.threshold import descriptor
        from meshhw.managers.threshold.store import Store

        for name in Store(self._home).names():
            with suppress(MeshError):
                value = descriptor.load(Store(self._home).at(name), Host(self._home)).value
                held = value.decryption.holders if value.decryption else ()
                yield from (holder.key for holder in held if holder.key)
                yield from (share.key for share in value.retired if share.key)


def tell(settled: Settled, token: Token) -> None:
    """Warn of what was settled."""
    name = token.info().label or str(token.info().uri)
    if settled.destroyed:
        what = "a key" if settled.destroyed == 1 else f"{settled.destroyed} keys"
        _LOGGER.warning("%s that an interrupted command left on %s: destroyed", what, name)
    for uri in settled.suspects:
        _LOGGER.warning("an interrupted command may have left this key: %s", uri)


def _uris(keys: Iterable[Key]) -> Iterator[str]:
    return (str(key.uri) for key in keys)


@contextmanager
def _locked(path: Path, flags: int = 0) -> Iterator[int]:
    """That file, open and locked. Raises FileNotFoundError, BlockingIOError when a process has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    finally:
        os.close(descriptor)


def _lines(intentions: Sequence[Intention]) -> bytes:
    return b"".join(msgspec.json.encode(one) + b"\n" for one in intentions)


def _read(data: bytes) -> Iterator[Intention]:
    """The whole lines; one that is cut short was never relied on, since its key was not asked for yet."""
    for line in data.split(b"\n")[:-1]:
        with suppress(msgspec.MsgspecError):
            yield msgspec.json.decode(line, type=Intention)
