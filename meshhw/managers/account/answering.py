"""What an administrator has answered, and what it has begun to answer: so that a request counts once, and an
interruption at any moment is taken up where it was.

All that an answer changes is made and signed first, then written down as a whole, and only then done step by
step. Each step may be done again. All secrets in what is written down are encrypted to the device.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from meshhw import files
from meshhw.dare.envelope import Envelope
from meshhw.errors import FormatError, StateError
from meshhw.schema.codec import decode
from meshhw.schema.entry import CatalogedDevice
from meshhw.udf.message import response_id

_LIMIT = 1 << 20


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is being given."""

    version: int = 1
    request: str
    """The request's MessageId."""
    roles: tuple[str, ...]
    before: str
    """The digest of the account's profile that it was made under."""
    profile: bytes = b""
    """The account's next profile, where the answer needs one."""
    entry: bytes
    """The device's entry in the catalog."""
    answer: bytes
    pin_id: str = ""

    @property
    def device(self) -> CatalogedDevice:
        """The entry."""
        return decode(self.entry, CatalogedDevice)

    def fits(self, profile: Envelope) -> bool:
        """Whether it was made for the account as it is now: its profile is the one before, or its own."""
        return self.before == digest_of(profile) or self.profile == profile.octets()


class Answers:
    """The answers of one account on this machine."""

    def __init__(self, directory: Path) -> None:
        self._list = directory / "answered.json"
        self._directory = directory / "answers"

    @property
    def lock(self) -> Path:
        """What is locked while one answer is made."""
        return files.private_directory(self._directory) / "lock"

    def has(self, request: str) -> bool:
        """Whether the request was answered. Raises FormatError."""
        return request in self._answered()

    def begun(self, request: str) -> Begun | None:
        """The answer that was begun and not finished. Raises FormatError, InvalidName."""
        found = self._read(self._path(request))
        return found if found is not None and found.request == request else None

    def pins(self) -> set[str]:
        """The PINs of answers that were begun and not finished. Raises FormatError."""
        found = [self._read(self._directory / name) for name in files.names(self._directory, "*.json")]
        return {begun.pin_id for begun in found if begun is not None and begun.pin_id}

    def begin(self, begun: Begun) -> None:
        """Write down what is going to be done."""
        files.private_directory(self._directory)
        files.replace(self._path(begun.request), msgspec.json.encode(begun))

    def drop(self, request: str) -> None:
        """Forget what was begun."""
        self._path(request).unlink(missing_ok=True)

    def finish(self, request: str) -> None:
        """The request is answered, for good."""
        with files.locked(self._list):
            files.replace(self._list, msgspec.json.encode([*self._answered(), request]))
        self.drop(request)

    def refuse_begun(self, request: str) -> None:
        """Raise StateError when an answer was begun, which must be finished first."""
        if self.begun(request) is not None:
            raise StateError(
                "the device's connection was begun and interrupted",
                hint="finish it with `meshhw account connect`, then disconnect the device",
            )

    def _read(self, path: Path) -> Begun | None:
        data = files.read_private(path, _LIMIT)
        try:
            return msgspec.json.decode(data, type=Begun) if data is not None else None
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise FormatError(f"{path} is damaged: {error}", hint="remove it, and connect again") from error

    def _path(self, request: str) -> Path:
        return self._directory / f"{response_id(request)}.json"

    def _answered(self) -> list[str]:
        data = files.read_private(self._list, _LIMIT)
        try:
            return msgspec.json.decode(data or b"[]", type=list[str])
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise FormatError(f"the account's list of answered requests is damaged: {error}") from error


def digest_of(profile: Envelope) -> str:
    """What tells one signed profile from another."""
    return hashlib.sha256(profile.octets()).hexdigest()
