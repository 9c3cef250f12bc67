"""Messages between a manager and the process that it started: MessagePack, each after its length.

They go through pipes that only these two processes have, and are bounded.
"""

from __future__ import annotations

import struct
import threading
from dataclasses import dataclass, field
from typing import IO, Any

import msgspec

from meshhw import errors
from meshhw.errors import MeshError, WireCode

_MAX = 80 << 20
_LENGTH = struct.Struct(">I")
_TYPED = ("retries_left", "holder", "candidates", "unlock_hint")


class Message(msgspec.Struct, frozen=True):
    """A kind and its value."""

    kind: str
    value: Any = None


@dataclass
class Channel:
    """One end. `ask` may be called from any thread; one question is under way at a time."""

    source: IO[bytes]
    sink: IO[bytes]
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def send(self, kind: str, value: Any = None) -> None:
        """Raises BrokenPipeError when the other process is gone."""
        octets = msgspec.msgpack.encode(Message(kind, value))
        self.sink.write(_LENGTH.pack(len(octets)) + octets)
        self.sink.flush()

    def receive(self) -> Message:
        """The next message. Raises EOFError when the other process is gone."""
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        if length > _MAX:
            raise EOFError("an impossible message")
        return msgspec.msgpack.decode(self._exactly(length), type=Message)

    def ask(self, kind: str, value: Any = None) -> Any:
        """Send a question and wait for its answer; an answer that is an error is raised."""
        with self._lock:
            self.send(kind, value)
            answer = self.receive()
        if answer.kind == "failed":
            raise error_from(answer.value)
        return answer.value

    def _exactly(self, count: int) -> bytes:
        octets = self.source.read(count)
        if len(octets) < count:
            raise EOFError("the other process is gone")
        return octets


def error_members(error: MeshError) -> dict[str, Any]:
    """What the other process needs to raise the same error."""
    code = error.code
    return {
        "class": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "code": [code.layer, code.value, code.name] if code else None,
        "typed": {name: getattr(error, name) for name in _TYPED if hasattr(error, name)},
    }


def error_from(members: dict[str, Any]) -> MeshError:
    """The error that was raised in the other process."""
    kind = getattr(errors, members["class"], MeshError)
    error: MeshError = kind(members["message"])
    error.hint = members["hint"]
    error.code = WireCode(*members["code"]) if members["code"] else None
    for name, value in members["typed"].items():
        setattr(error, name, tuple(value) if isinstance(value, list) else value)
    return error
