"""What a process that handles scalars does for itself: no core dump, no debugger, no swap where it may lock.

docs/security.md says what this is worth. Nothing here can fail the command.
"""

from __future__ import annotations

import ctypes
import os
import resource
from contextlib import suppress

_PR_SET_DUMPABLE = 4
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4


def harden() -> None:
    """Harden this process for the rest of its life."""
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    library = ctypes.CDLL(None, use_errno=True)
    with suppress(AttributeError):  # only Linux has it
        library.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    with suppress(AttributeError):
        wanted = _MCL_CURRENT | (_MCL_FUTURE if _may_lock_everything() else 0)
        # Locked as they are touched: several of these run at once, and most of their libraries is never used.
        if library.mlockall(wanted | _MCL_ONFAULT):
            library.mlockall(wanted)


def _may_lock_everything() -> bool:
    """With a limit, locking what is yet to come would make later allocations fail."""
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return soft == resource.RLIM_INFINITY or os.geteuid() == 0


def wipe(secret: bytearray) -> None:
    """Overwrite octets in place. Copies that Python made elsewhere are beyond reach."""
    secret[:] = bytes(len(secret))
