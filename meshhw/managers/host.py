"""What this machine knows of profiles and keys: `host.json` in the home directory.

It holds names only: for each profile its signed envelope, and for each of its private keys where it is (a
key URI), its algorithm, tier and policies. A `sealed` key's blob is here too; only its token opens it.
Every change is made under a lock and replaces the whole file, so a crash leaves the old or the new state.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from meshhw import files
from meshhw.algorithms import Algorithm, PublicKey, Suite, Tier
from meshhw.errors import Ambiguous, FormatError, KeyNotFound, NewerVersion
from meshhw.keystore.uri import KeyURI

VERSION = 1
SHARED = "threshold:"
"""What a threshold key is called by in place of a URI."""
_LIMIT = 32 << 20
_MAKE_DEVICE = "`meshhw device list` shows them, `meshhw device create` makes one"
_MAKE_ACCOUNT = "`meshhw account show` tells of it, `meshhw account create` makes one"


class KeyHandle(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a private key is and how it is kept."""

    role: str
    """What it is for in its profile: `profile-signature`, `encryption`, `signature`, `authentication`…"""
    udf: str
    algorithm: Algorithm
    tier: Tier
    uri: str
    """The key's URI; for a sealed key the URI of the token that opens it; for a quorum `threshold:NAME`."""
    public: bytes
    """The public key's octets, as `meshhw.algorithms` writes them."""
    mode: str = ""
    """How it works in its profile: empty for the key itself, else `direct`, `tweaked`, `dual` or `sealed`."""
    touch_policy: str = ""
    pin_policy: str = ""
    sealed: bytes = b""

    @property
    def is_shared(self) -> bool:
        """Whether it is a threshold key: there is no one token that holds it, and no one URI."""
        return self.uri.startswith(SHARED)

    @property
    def key_uri(self) -> KeyURI:
        """The parsed URI. Raises InvalidURI, also for a threshold key."""
        return KeyURI.parse(self.uri)

    @property
    def public_key(self) -> PublicKey:
        """The public key. Raises InvalidPublicKey."""
        return PublicKey(self.algorithm, self.public)


class ProfileRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A profile of this machine: its signed envelope and where its keys are."""

    udf: str
    kind: str
    """The class of the profile, as `ProfileDevice`."""
    suite: Suite
    created: datetime
    envelope: bytes
    """The signed profile, as the octets of a DARE envelope in JSON."""
    keys: tuple[KeyHandle, ...]
    label: str = ""

    def key(self, role: str) -> KeyHandle:
        """The handle of that role. Raises KeyNotFound."""
        for handle in self.keys:
            if handle.role == role:
                return handle
        raise KeyNotFound(f"the profile {self.udf} has no {role} key")


class _State(msgspec.Struct, frozen=True, kw_only=True):
    version: int = VERSION
    profiles: tuple[ProfileRecord, ...] = ()


class _Version(msgspec.Struct):
    version: int


class Host:
    """The host state of one home directory."""

    def __init__(self, home: Path) -> None:
        """Raises InsecurePermissions for a home that others can enter."""
        self.home = files.private_directory(home)
        self._path = self.home / "host.json"

    def profiles(self, kind: str | None = None) -> tuple[ProfileRecord, ...]:
        """All profiles, or those of one class. Raises NewerVersion, FormatError, InsecurePermissions."""
        return tuple(record for record in self._read().profiles if kind in (None, record.kind))

    def profile(self, name: str | None = None, kind: str | None = None) -> ProfileRecord:
        """The profile of that UDF (or its beginning) or label; without a name the only one.

        Raises KeyNotFound, Ambiguous with the candidates.
        """
        found = self.profiles(kind)
        fitting = [record for record in found if name is None or _fits(record, name)]
        if not fitting:
            what = "there is no profile yet" if name is None else f"no profile is called {name!r}"
            hint = _MAKE_ACCOUNT if kind == "ProfileUser" else _MAKE_DEVICE
            raise KeyNotFound(what, hint=hint)
        if len(fitting) > 1:
            raise Ambiguous(
                f"{len(fitting)} profiles fit", candidates=tuple(record.udf for record in fitting)
            )
        return fitting[0]

    def key(self, udf: str) -> tuple[ProfileRecord, KeyHandle]:
        """The private key of that fingerprint. Raises KeyNotFound."""
        for record in self.profiles():
            for handle in record.keys:
                if handle.udf == udf:
                    return record, handle
        raise KeyNotFound(f"this machine has no private key {udf}")

    def add(self, record: ProfileRecord) -> None:
        """Add a profile, or put it in the place of the one with its UDF."""
        self._change(lambda found: (*(item for item in found if item.udf != record.udf), record))

    def remove(self, udf: str) -> None:
        """Forget a profile; an absent one is fine."""
        self._change(lambda found: tuple(item for item in found if item.udf != udf))

    def _change(self, change: Callable[[tuple[ProfileRecord, ...]], tuple[ProfileRecord, ...]]) -> None:
        with files.locked(self._path):
            state = self._read()
            changed = msgspec.structs.replace(state, profiles=change(state.profiles))
            files.replace(self._path, msgspec.json.format(msgspec.json.encode(changed), indent=1) + b"\n")

    def _read(self) -> _State:
        data = files.read_private(self._path, _LIMIT)
        if data is None:
            return _State()
        if self._decode(data, _Version).version > VERSION:
            raise NewerVersion(f"{self._path} was written by a later version")
        state: _State = self._decode(data, _State)
        return state

    def _decode(self, data: bytes, kind: type[Any]) -> Any:
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise FormatError(
                f"{self._path} is damaged: {error}", hint="put a copy back; the tokens still hold the keys"
            ) from error


def now() -> datetime:
    """The time, in UTC to the second, as profiles and records carry it."""
    return datetime.now(UTC).replace(microsecond=0)


def _fits(record: ProfileRecord, name: str) -> bool:
    plain = name.replace("-", "").upper()
    by_udf = len(plain) >= 4 and record.udf.replace("-", "").startswith(plain)
    return by_udf or (bool(record.label) and record.label == name)
