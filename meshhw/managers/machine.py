"""What can be learned of the machine around the tokens by looking at its files, without privileges.

Everything is read below `root`, so that a machine of another kind can be laid out in a directory.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

PCSC_SOCKET = "run/pcscd/pcscd.comm"
PATIENCE = 3.0
"""Seconds within which a service answers."""
_VERSION = struct.pack("=IIiiI", 12, 0x11, 4, 4, 0)
"""CMD_VERSION of pcsc-lite's protocol: the length of what follows the command; major, minor, result."""
_RULES = ("etc/udev/rules.d", "usr/lib/udev/rules.d", "lib/udev/rules.d", "run/udev/rules.d")


class Answer(Enum):
    """What comes back from a service's socket."""

    GIVEN = auto()
    REFUSED = auto()
    """It was closed, as pcscd does to whom polkit does not let in."""
    SILENCE = auto()
    NOBODY = auto()
    """The socket is there, its service is not."""


def rules_file(name: str) -> Path:
    """Where a rules file for udev or polkit is: in the installed package, or in its source tree."""
    packaged = Path(__file__).with_name("rules") / name
    # Not `exists`, which fails where the package is in a directory that this user may not enter.
    return packaged if os.access(packaged, os.F_OK) else Path(__file__).parents[2] / "udev" / name


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine: its root directory, its environment and search path."""

    root: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def path(self, name: str) -> Path:
        """A file of this machine."""
        return self.root / name

    def program(self, name: str) -> str | None:
        """Where a program is; system directories count even when the search path leaves them out."""
        places = (self.environment.get("PATH", ""), self.path("usr/sbin"), self.path("sbin"))
        return shutil.which(name, path=":".join(map(str, places)))

    def text(self, name: str) -> str:
        """A small file's text, empty when it cannot be read."""
        try:
            return self.path(name).read_text(errors="replace")
        except OSError:
            return ""

    def is_wsl(self) -> bool:
        """Windows Subsystem for Linux, where USB devices must be handed over first."""
        return "microsoft" in self.text("proc/sys/kernel/osrelease").lower()

    def is_container(self) -> bool:
        """A container, which sees only the devices it was given."""
        marks = (".dockerenv", "run/.containerenv", "run/systemd/container")
        return any(self.path(mark).exists() for mark in marks)

    def has_systemd(self) -> bool:
        """Whether services are started by systemd (sd_booted(3))."""
        return self.path("run/systemd/system").is_dir()

    def pcsc_socket(self) -> Path:
        """Where PC/SC clients look for pcscd."""
        named = self.environment.get("PCSCLITE_CSOCK_NAME")
        return Path(named) if named else self.path(PCSC_SOCKET)

    def pcsc_answer(self) -> Answer:
        """How pcscd takes a client: asked for its protocol's version, as each one begins."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            try:
                client.connect(str(self.pcsc_socket()))
                client.sendall(_VERSION)
                return Answer.GIVEN if client.recv(1) else Answer.REFUSED
            except (TimeoutError, BlockingIOError):  # the latter when many wait already
                return Answer.SILENCE
            except ConnectionRefusedError:
                return Answer.NOBODY
            except OSError:  # closed before it was asked
                return Answer.REFUSED

    def processes(self) -> Iterator[tuple[int, str]]:
        """The number and name of each running process that can be seen."""
        for entry in self.path("proc").glob("[0-9]*"):
            name = self.text(f"proc/{entry.name}/comm").strip()
            if name:
                yield int(entry.name), name

    def usb_vendors(self) -> set[str]:
        """The vendor numbers (four hex digits) of the USB devices that are plugged in."""
        return {path.read_text().strip() for path in self.path("sys/bus/usb/devices").glob("*/idVendor")}

    def has_rules(self, name: str) -> bool:
        """Whether a udev rules file of that name is installed."""
        return any(self.path(f"{directory}/{name}").exists() for directory in _RULES)
