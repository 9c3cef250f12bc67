"""Single keys: how a name becomes an open key, and which keys were made here (`keys.json`).

A key is named by its URI, by its UDF, or by its label. A UDF or label is looked up among the profiles' keys
and the keys made here first, so that only the one token that holds the key is opened; a token is never sent a
PIN merely to look whether the key might be there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from meshhw import files
from meshhw.algorithms import Algorithm
from meshhw.dare.naming import spellings
from meshhw.errors import (
    Ambiguous,
    FormatError,
    InvalidName,
    KeyNotFound,
    NewerVersion,
    PinRequired,
    UsageError,
)
from meshhw.keystore import registry
from meshhw.keystore.api import Key, OpenOptions, Token
from meshhw.keystore.interaction import REFUSING
from meshhw.keystore.uri import KeyURI
from meshhw.managers.host import Host, KeyHandle, ProfileRecord
from meshhw.udf.form import same_name
from meshhw.udf.key import fingerprint

VERSION = 1
_LIMIT = 16 << 20
_FEW = 4


class KnownKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was generated or imported here; no secret is in it."""

    udf: str
    uri: str
    algorithm: Algorithm
    label: str = ""
    others: tuple[str, ...] = ()
    """Its UDF in other spellings: as that of an X448 key which came out of a PEM file, without its sign."""

    @property
    def names(self) -> tuple[str, ...]:
        """The UDFs that it answers to."""
        return self.udf, *self.others


class _State(msgspec.Struct, frozen=True, kw_only=True):
    version: int = VERSION
    keys: tuple[KnownKey, ...] = ()


class KnownKeys:
    """The keys made here, by UDF and label."""

    def __init__(self, home: Path) -> None:
        """Raises InsecurePermissions for a home that others can enter."""
        self._path = files.private_directory(home) / "keys.json"

    def all(self) -> tuple[KnownKey, ...]:
        """Every one. Raises NewerVersion, FormatError, InsecurePermissions."""
        data = files.read_private(self._path, _LIMIT)
        if data is None:
            return ()
        try:
            state: _State = msgspec.json.decode(data, type=_State)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise FormatError(
                f"{self._path} is damaged: {error}", hint="move it away; keys are found by their URIs still"
            ) from error
        if state.version > VERSION:
            raise NewerVersion(f"{self._path} was written by a later version")
        return state.keys

    def label(self, uri: KeyURI) -> str:
        """The label that a key was given here; empty if none."""
        return next((known.label for known in self.all() if known.uri == str(uri)), "")

    def add(self, key: Key, label: str = "") -> KnownKey:
        """Remember a key."""
        udf, *others = map(fingerprint, spellings(key.public))
        known = KnownKey(
            udf=udf, uri=str(key.uri), algorithm=key.algorithm, label=label, others=tuple(others)
        )
        self._write(lambda keys: (*(item for item in keys if item.uri != known.uri), known))
        return known

    def remove(self, uri: KeyURI) -> None:
        """Forget a key; an unknown one is fine."""
        self._write(lambda keys: tuple(item for item in keys if item.uri != str(uri)))

    def _write(self, change: Any) -> None:
        with files.locked(self._path):
            state = _State(keys=change(self.all()))
            files.replace(self._path, msgspec.json.format(msgspec.json.encode(state), indent=1) + b"\n")


@dataclass(frozen=True, slots=True)
class OpenKey:
    """A key, its open token, its UDF, and its place in a profile if it has one."""

    key: Key
    token: Token
    udf: str
    role: tuple[ProfileRecord, KeyHandle] | None = None

    def require_no_role(self, purpose: str) -> None:
        """Raise UsageError for a profile's key: a signature by it would speak for the profile."""
        if self.role is not None:
            record, handle = self.role
            raise UsageError(
                f"this is the {handle.role} key of {record.kind} {record.udf}, which is not {purpose}",
                hint="use a key of its own: `meshhw key generate`",
            )


@contextmanager
def opened(name: str, home: Path, options: OpenOptions) -> Iterator[OpenKey]:
    """The key of that URI, UDF or label, its token open until the end.

    Raises KeyNotFound, Ambiguous, TokenNotFound, InvalidURI.
    """
    uri = locate(name, home)
    token = registry.open_token(uri.token, options)
    try:
        key = token.key(uri)
        udf = fingerprint(key.public)
        yield OpenKey(key, token, udf, role_of(udf, home))
    finally:
        token.close()


def locate(name: str, home: Path) -> KeyURI:
    """The URI of the key that a person means. Raises KeyNotFound, Ambiguous, InvalidURI."""
    scheme, colon, _ = name.partition(":")
    if colon and registry.is_scheme(scheme):
        return KeyURI.parse(name)
    found = set(_known(name, home))
    if not found:
        found = set(_on_open_tokens(name))
    if len(found) > 1:
        raise Ambiguous(f"{name!r} fits {len(found)} keys", candidates=tuple(sorted(map(str, found))))
    return found.pop()


def role_of(udf: str, home: Path) -> tuple[ProfileRecord, KeyHandle] | None:
    """The profile and handle of a key that has a Mesh role."""
    try:
        return Host(home).key(udf)
    except KeyNotFound:
        return None


def _known(name: str, home: Path) -> Iterator[KeyURI]:
    for known in KnownKeys(home).all():
        if name == known.label or any(_is_same(name, udf) for udf in known.names):
            yield KeyURI.parse(known.uri)
    for record in Host(home).profiles():
        for handle in record.keys:
            if not handle.is_shared and _is_same(name, handle.udf):
                yield handle.key_uri


def _is_same(name: str, udf: str) -> bool:
    try:
        return same_name(name, udf)
    except InvalidName:
        return False


def _on_open_tokens(name: str) -> Iterator[KeyURI]:
    """Keys of that label or UDF on tokens that show their keys without a PIN."""
    closed = []
    found = []
    for info in registry.discover().tokens:
        if not (info.initialised and info.stores_keys):
            continue
        token = registry.open_token(info.uri, OpenOptions(interaction=REFUSING))
        try:
            held = token.keys()
            found += [key.uri for key in held if _is_called(key, name)]
        except PinRequired:
            closed.append(info.label or str(info.uri))
        finally:
            token.close()
    if not found:
        raise KeyNotFound(
            f"no key is called {name!r}" + (f"; not asked without a PIN: {_few(closed)}" if closed else ""),
            hint=_hint(name),
        )
    yield from found


def _few(labels: list[str]) -> str:
    """Some of them, each once: a machine may have dozens of tokens."""
    once = list(dict.fromkeys(labels))
    rest = len(once) - _FEW
    return ", ".join(once[:_FEW]) + (f" and {rest} more" if rest > 0 else "")


def _hint(name: str) -> str:
    if Path(name).is_file():
        return (
            f"keys work in tokens: `meshhw key import {name} --on TOKEN` puts a private key from a file there"
        )
    return "`meshhw token keys TOKEN` lists the keys with their URIs"


def _is_called(key: Key, name: str) -> bool:
    return name.encode() in key.uri.attributes.values() or any(
        _is_same(name, fingerprint(spelled)) for spelled in spellings(key.public)
    )
