"""A use log in memory, of keys that are in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from meshhw.algorithms import Operation, PublicKey
from meshhw.errors import StateError
from meshhw.keystore.uri import KeyURI
from meshhw.udf import fingerprint


@dataclass
class Log:
    """What the recorder heard of keys in memory."""

    lines: list[tuple[str, str, str]] = field(default_factory=list)
    full: bool = False

    def record(self, key: KeyURI, operation: Operation, result: str) -> None:
        if self.full:
            raise StateError("the use log cannot be written")
        if key.scheme == "memory":
            self.lines.append((str(key), operation.value, result))


def line(public: PublicKey, operation: str, result: str = "ok") -> tuple[str, str, str]:
    return f"memory:udf={fingerprint(public)}", operation, result
