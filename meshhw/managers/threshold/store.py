"""What this machine keeps of threshold keys: `threshold/NAME/` in the home directory.

| file | what |
|---|---|
| `descriptor.dare` | the signed descriptor |
| `signing-G-I` | the signing share of holder I, generation G, as its token sealed it |
| `copy-G-I.dare` | the renewal copy of share I: sealed to its token, and that encrypted to the group's key |
| `nonce-I` | 32 random octets that go into each of holder I's nonces |
| `request-ID` | what is kept of a request until its answers come, sealed by the device's token |
| `strays.json` | new shares of renewals that were given up, which may be on tokens that were not here then |
| `successor` | the name of the key that takes this one's place |
| `holders.json` | when each holder's token was seen here last |
| `journal.json` | what is under way, so that a crash can be rolled back or resumed |

`threshold/seen.json` keeps the newest descriptor that was accepted of each key: none lower, nor another of
the same version, is accepted again.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Required, TypedDict, TypeVar

import msgspec

from meshhw import files
from meshhw.errors import FormatError, IntegrityError, InvalidName, KeyNotFound, SignatureInvalid, StateError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LIMIT = 1 << 20
_NONCE_OCTETS = 32
DELETING, MAKING = "deleting", "making new shares"
T = TypeVar("T")


class Seen(msgspec.Struct, frozen=True):
    """The newest descriptor that was accepted: what the next one must carry on from."""

    version: int
    digest: str
    """SHA-512 of its body."""
    signers: tuple[str, ...] = ()
    """Fingerprints of the keys that may sign the next: its devices' and its own signing key's."""
    keys: tuple[str, ...] = ()
    """Fingerprints of the group's keys, which no renewal changes."""


class Journal(TypedDict, total=False):
    """What is under way. The keys and shares that it may leave are named before they are made."""

    doing: Required[str]
    use: str
    generation: int
    algorithm: str
    keys: Sequence[str]
    shares: Sequence[tuple[str, str]]


class Stray(TypedDict):
    """What a renewal that was given up may have left: keys, and public shares by the tokens that may hold
    them."""

    algorithm: str
    keys: Sequence[str]
    shares: Sequence[tuple[str, str]]


class Store:
    """The threshold keys of one home."""

    def __init__(self, home: Path) -> None:
        """Raises InsecurePermissions for a home that others can enter."""
        self.root = files.private_directory(files.private_directory(home) / "threshold")

    def names(self) -> list[str]:
        """The keys that have a descriptor here."""
        return sorted(path.parent.name for path in self.root.glob("*/descriptor.dare"))

    def unfinished(self) -> list[str]:
        """The keys with something under way."""
        return sorted(path.parent.name for path in self.root.glob("*/journal.json"))

    def at(self, name: str) -> KeyStore:
        """The files of one key, whether they exist or not. Raises InvalidName."""
        if not _NAME.fullmatch(name):
            raise InvalidName(
                f"{name!r} cannot name a threshold key",
                hint="letters, digits, dots, dashes and underscores; at most 64",
            )
        return KeyStore(self.root / name, name, self.root / "seen.json")


class KeyStore:
    """The files of one threshold key."""

    def __init__(self, path: Path, name: str, seen: Path) -> None:
        self.path = path
        self.name = name
        self._seen = seen

    @property
    def exists(self) -> bool:
        """Whether it has a descriptor."""
        return (self.path / "descriptor.dare").exists()

    def descriptor(self) -> bytes:
        """The envelope's octets. Raises KeyNotFound."""
        found = files.read_private(self.path / "descriptor.dare", _LIMIT)
        if found is None:
            raise KeyNotFound(
                f"no threshold key is called {self.name!r}", hint="`meshhw threshold list` shows them"
            )
        return found

    def save_descriptor(self, octets: bytes) -> None:
        """Replace the descriptor."""
        files.private_directory(self.path)
        files.replace(self.path / "descriptor.dare", octets)

    def load(self, name: str) -> bytes:
        """A file of the key. Raises StateError when it is missing."""
        found = files.read_private(self.path / name, _LIMIT)
        if found is None:
            raise StateError(f"{self.path / name} is missing", hint="put a copy of the home directory back")
        return found

    def has(self, name: str) -> bool:
        """Whether the file is there."""
        return (self.path / name).exists()

    def save(self, name: str, octets: bytes) -> None:
        """Write a file of the key."""
        files.private_directory(self.path)
        files.replace(self.path / name, octets)

    def discard(self, *names: str) -> None:
        """Remove files; absent ones are fine."""
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def files(self) -> list[str]:
        """The names of the files that hold shares or copies of them."""
        return sorted(path.name for path in self.path.glob("*-*"))

    def nonce_key(self, index: int) -> bytes:
        """The secret that holder `index` mixes into its nonces; made when first asked for."""
        name = f"nonce-{index}"
        if not self.has(name):
            self.save(name, secrets.token_bytes(_NONCE_OCTETS))
        return self.load(name)

    def saw(self, present: Iterable[int]) -> dict[int, str]:
        """Note that the tokens of these holders are here now; when each holder's token was here last.

        Raises FormatError when the note is damaged.
        """
        name, moment = "holders.json", datetime.now(UTC).isoformat(timespec="seconds")
        hint = "remove it; when a holder's token was here last is then not known"
        seen = (self._decoded(name, dict[int, str], hint) or {}) | dict.fromkeys(present, moment)
        self.save(name, msgspec.json.encode(seen))
        return seen

    def journal(self) -> dict[str, Any] | None:
        """What is under way. Raises FormatError when it is damaged."""
        journal = self._decoded("journal.json", Journal)
        if journal is None:
            return None
        needed = {"use", "generation", "algorithm"} if journal["doing"] == MAKING else set()
        if journal.get("shares"):
            needed.add("algorithm")
        if not needed <= journal.keys():
            raise self._damaged("journal.json")
        return dict(journal)

    def write_journal(self, members: dict[str, Any] | None) -> None:
        """Say what is under way, or with None that nothing is."""
        if members is None:
            self.discard("journal.json")
        else:
            self.save("journal.json", msgspec.json.encode(members))

    def strays(self) -> list[Stray]:
        """What renewals that were given up may have left on tokens that were not here.

        Raises FormatError when it is damaged.
        """
        return self._decoded("strays.json", list[Stray]) or []

    def write_strays(self, strays: Sequence[Stray]) -> None:
        """Keep them in mind; with none, forget."""
        if strays:
            self.save("strays.json", msgspec.json.encode(strays))
        else:
            self.discard("strays.json")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let nobody else change this key meanwhile. Raises StateError when somebody does."""
        with files.locked(self.path.with_name(f".{self.name}"), timeout=1.0):
            yield

    def erase(self) -> None:
        """Remove all files of the key; the descriptor and the journal last, so that it can be repeated."""
        last = {"descriptor.dare", "journal.json"}
        self.discard(*(path.name for path in self.path.glob("*") if path.name not in last))
        shutil.rmtree(self.path, ignore_errors=True)

    def accept(
        self, identifier: bytes, found: Seen, signer: str, *, trusted: bool, remember: bool = True
    ) -> None:
        """Remember a descriptor as seen, if it carries on from the one before, or `trusted` vouches for it.

        Raises IntegrityError for an older one, another of the same version, or other keys; SignatureInvalid
        when the one before did not list its signer.
        """
        with files.locked(self._seen):
            seen = self._all_seen()
            last = seen.get(identifier.hex())
            if last and (last.version, last.digest) == (found.version, found.digest):
                return
            if last:
                self._check_order(last, found)
            if not trusted and not (last and signer in last.signers):
                raise SignatureInvalid(
                    f"the descriptor of {self.name} is signed by a device that is not known here",
                    hint="`meshhw threshold respond` asks whether to trust it",
                )
            if not remember:
                return
            seen[identifier.hex()] = found
            files.replace(self._seen, msgspec.json.encode(seen))

    def was_seen(self, identifier: bytes) -> bool:
        """Whether any descriptor of this key was accepted before."""
        return identifier.hex() in self._all_seen()

    def may_sign(self, identifier: bytes, signer: str) -> bool:
        """Whether the last accepted descriptor of this key lets that fingerprint's owner sign the next."""
        last = self._all_seen().get(identifier.hex())
        return last is not None and signer in last.signers

    def _decoded(self, name: str, kind: type[T], hint: str | None = None) -> T | None:
        """A file of the key; None where there is none. Raises FormatError when it is damaged."""
        if not self.has(name):
            return None
        try:
            return msgspec.json.decode(self.load(name), type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._damaged(name, hint) from error

    def _damaged(self, name: str, hint: str | None = None) -> FormatError:
        return FormatError(f"{self.path / name} is damaged", hint=hint)

    def _check_order(self, last: Seen, found: Seen) -> None:
        if found.version <= last.version:
            raise IntegrityError(
                f"the descriptor of {self.name} has version {found.version}, "
                f"and {last.version} was seen here",
                hint="an older copy was put in its place; bring the newest one back",
            )
        if last.keys and found.keys != last.keys:
            raise IntegrityError(
                f"the descriptor of {self.name} has other public keys than before",
                hint="a renewal changes none: somebody made another key under this name",
            )

    def _all_seen(self) -> dict[str, Seen]:
        data = files.read_private(self._seen, _LIMIT)
        try:
            return msgspec.json.decode(data, type=dict[str, Seen]) if data else {}
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise FormatError(f"{self._seen} is damaged") from error
