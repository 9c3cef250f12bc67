"""Root reads every file there is; here it is asked for a while to be like everybody else."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

_VERSION_3 = 0x20080522
_OVERRIDES = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Set(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inherited", ctypes.c_uint32),
    )


@contextmanager
def modes_count() -> Iterator[None]:
    """The modes of files bind this thread, whoever it runs as (capget(2), capset(2))."""
    header, sets = _Header(_VERSION_3, 0), (_Set * 2)()
    _called(_libc.capget(ctypes.byref(header), sets))
    had = sets[0].effective
    sets[0].effective &= ~_OVERRIDES
    _called(_libc.capset(ctypes.byref(header), sets))
    try:
        yield
    finally:
        sets[0].effective = had
        _called(_libc.capset(ctypes.byref(header), sets))


def _called(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), "capabilities")
    assert os.geteuid() >= 0
