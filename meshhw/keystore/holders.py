"""Which program may be holding a card: PC/SC does not tell, but its clients can be seen on Linux."""

from __future__ import annotations

import os
from pathlib import Path

LIBRARY = "libpcsclite"
RESTART = "restart it: `sudo systemctl restart pcscd`"
"""What to do about a PC/SC service that does not answer."""
SOCKET_VARIABLE = b"PCSCLITE_CSOCK_NAME="


def holder() -> str | None:
    """The other programs that have the PC/SC library loaded and speak to the same service.

    "scdaemon (pid 4711)"; several are joined by commas, None when none can be seen.
    """
    own = _socket_of(os.getpid())
    found = [
        f"{_name(pid)} (pid {pid})"
        for pid in _processes()
        if pid != os.getpid() and _uses_library(pid) and _socket_of(pid) == own
    ]
    return ", ".join(found) or None


def _processes() -> list[int]:
    try:
        return sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    except OSError:
        return []


def _uses_library(pid: int) -> bool:
    return LIBRARY.encode() in _read(pid, "maps")


def _socket_of(pid: int) -> bytes:
    if pid == os.getpid():  # what /proc shows is the environment at the start
        return os.environb.get(SOCKET_VARIABLE[:-1], b"")
    entries = _read(pid, "environ").split(b"\0")
    return next(
        (entry[len(SOCKET_VARIABLE) :] for entry in entries if entry.startswith(SOCKET_VARIABLE)), b""
    )


def _name(pid: int) -> str:
    return _read(pid, "comm").decode(errors="replace").strip() or "a program"


def _read(pid: int, what: str) -> bytes:
    """Empty for processes of others, and for those that have just ended."""
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes()
    except OSError:
        return b""
