"""Administrators' updates in a shared directory: each device takes its own, administrators write all.

`devices/DEVICE.AUTHOR.dare` is for the device of that UDF alone, by the administrator of that name.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress

from meshhw import files
from meshhw.errors import MeshError, Replayed
from meshhw.keystore.api import OpenOptions
from meshhw.managers.account.complete import receive
from meshhw.managers.account.standing import Standing
from meshhw.managers.sync.folder import SUFFIX, Folder
from meshhw.managers.sync.memory import Memory

DEVICES = "devices"
_LIMIT = 1 << 20


def take_updates(found: Standing, folder: Folder, memory: Memory, options: OpenOptions) -> list[str]:
    """Install the updates for this device that were not seen yet; what was refused, one line each.

    Raises what the token raises.
    """
    refused = []
    for name in folder.names(DEVICES, f"{found.device_udf}."):
        with suppress(FileNotFoundError):
            try:
                octets = folder.read(name, _LIMIT) or b""
                digest = hashlib.sha256(octets).digest()
                if digest in memory.updates:
                    continue
                with suppress(Replayed):
                    receive(found.host, octets, options)
                memory.updates.append(digest)
            except MeshError as error:
                refused.append(f"{name}: {error.message}")
    return refused


def write_updates(found: Standing, folder: Folder) -> int:
    """Write the updates that wait here for other devices; how many were not there yet."""
    written = 0
    for path in sorted((found.directory.path / "updates").glob(f"*{SUFFIX}")):
        octets = files.read_private(path, _LIMIT) or b""
        name = f"{DEVICES}/{path.name.removesuffix(SUFFIX)}.{found.author}{SUFFIX}"
        if folder.read(name, _LIMIT) != octets:
            folder.write(name, octets)
            written += 1
    return written
