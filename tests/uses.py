"""A use log in memory, which can be as full as a disk."""

from __future__ import annotations

from dataclasses import dataclass, field

from meshhw.algorithms import Operation, PublicKey
from meshhw.errors import StateError
from meshhw.keystore.uri import KeyURI
from meshhw.udf import fingerprint


@dataclass
class Log:
    """What the recorder heard: key, operation and result."""

    lines: list[tuple[str, str, str]] = field(default_factory=list)
    full: bool = False

    def record(self, key: KeyURI, operation: Operation, result: str) -> None:
        if self.full:
            raise StateError("the use log cannot be written")
        self.lines.append((str(key), operation.value, result))

    def of(self, operation: str) -> list[tuple[str, str]]:
        """The names and results of one operation's lines."""
        return [(name.partition("?")[0], result) for name, what, result in self.lines if what == operation]

    @property
    def in_memory(self) -> list[tuple[str, str, str]]:
        """The lines of keys that are in memory and in no token."""
        return [line for line in self.lines if line[0].startswith("memory:")]


def line(public: PublicKey, operation: str, result: str = "ok") -> tuple[str, str, str]:
    return f"memory:udf={fingerprint(public)}", operation, result
