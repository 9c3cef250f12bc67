"""A PKCS#11 module between a program and a real one, that counts calls and misbehaves on demand (shim.c).

It is compiled by `cc` into the user's cache at first use. Each lab has a copy, with its real module and its
control file named beside it; what is written into the control file holds at once in every process.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntFlag
from pathlib import Path

from meshhw.errors import DriverUnavailable, TokenNotFound, UsageError

SOURCE = Path(__file__).with_name("shim.c")
HEADER = SOURCE.with_suffix(".h")
COMPILE = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden")
MAGIC = b"MMHSHIM1"
# The layout of shim.h's `struct control`.
_CALLS = struct.Struct("=128Q")
_TARGET = struct.Struct("=32sIIIIIIQ")
_CALLS_AT = len(MAGIC)
_TARGETS_AT = _CALLS_AT + _CALLS.size
_TARGETS = 256
SIZE = _TARGETS_AT + _TARGETS * _TARGET.size


class State(IntFlag):
    """What has befallen a token."""

    PULLED = 1
    SWAPPED = 2
    LOCKED = 4
    FINAL_TRY = 8
    FULL = 16
    READ_ONLY = 32
    BUSY = 64
    MONTGOMERY = 128
    """No trouble: X25519 and X448 keys are CKK_EC_MONTGOMERY, whatever the module itself calls them."""


class Control:
    """The control file of one shim: counts, and the tokens' troubles."""

    def __init__(self, path: Path) -> None:
        """Map it. Raises TokenNotFound when there is none."""
        try:
            with path.open("r+b") as file:
                self._map = mmap.mmap(file.fileno(), SIZE)
        except (OSError, ValueError) as error:
            raise TokenNotFound(f"{path} is not the control file of a lab's module") from error

    @classmethod
    def create(cls, path: Path) -> Control:
        """A new control file in which nothing is wrong."""
        path.touch(mode=0o600)
        path.write_bytes(MAGIC.ljust(SIZE, b"\0"))
        return cls(path)

    def calls(self) -> dict[str, int]:
        """How often each function was called since `reset`; functions never called are left out."""
        counts = _CALLS.unpack_from(self._map, _CALLS_AT)
        return {name: count for name, count in zip(functions(), counts, strict=False) if count}

    def reset(self) -> None:
        """Count from zero."""
        _CALLS.pack_into(self._map, _CALLS_AT, *(0,) * 128)

    @contextmanager
    def counted(self) -> Iterator[dict[str, int]]:
        """The calls made within, filled in at the end."""
        self.reset()
        counts: dict[str, int] = {}
        yield counts
        counts.update(self.calls())

    def trouble(self, label: str) -> Trouble:
        """The troubles of one token."""
        name = label.encode().ljust(32)
        for index in range(_TARGETS):
            offset = _TARGETS_AT + index * _TARGET.size
            there = self._map[offset : offset + 32]
            if there[0] == 0:
                self._map[offset : offset + 32] = name
            elif there != name:
                continue
            return Trouble(self._map, offset)
        raise UsageError(f"a lab's module has troubles for {_TARGETS} tokens at most")


class Trouble:
    """What is wrong with one token, for every process that uses it through the shim."""

    def __init__(self, control: mmap.mmap, offset: int) -> None:
        self._map = control
        self._offset = offset

    @property
    def state(self) -> State:
        """What has befallen it."""
        return State(self._get(0))

    def pull(self) -> None:
        """The token is gone, and every session with it."""
        self._become(self.state | State.PULLED)

    def put_back(self) -> None:
        """It is there again (and it is itself again), with no session and nobody logged in."""
        self._become(self.state & ~(State.PULLED | State.SWAPPED))

    def swap(self) -> None:
        """Another token is in its slot."""
        self._become(self.state & ~State.PULLED | State.SWAPPED)

    def be(self, state: State) -> None:
        """LOCKED, FINAL_TRY, FULL, READ_ONLY, BUSY: sessions stay."""
        self._set(0, int(self.state | state))

    def delay(self, seconds: float, function: str | None = None) -> None:
        """Every call, or those of one function, take that much longer."""
        self._only(function)
        self._set(3, int(seconds * 1000))

    def hang(self, function: str | None = None) -> None:
        """No call, or none of one function, returns before `clear`."""
        self._only(function)
        self._set(4, 1)

    def fail(self, code: int, function: str | None = None, times: int = 1) -> None:
        """The next `times` calls are answered with a CKR_* code and not made."""
        self._only(function)
        struct.pack_into("=Q", self._map, self._offset + 56, code)
        self._set(5, times)

    def clear(self) -> None:
        """Nothing is wrong any more."""
        gone = self.state & (State.PULLED | State.SWAPPED)
        for number in (2, 3, 4, 5):
            self._set(number, 0)
        if gone:
            self._become(State(0))
        else:
            self._set(0, 0)

    def _become(self, state: State) -> None:
        """The token leaves or comes: sessions of before are void."""
        self._set(0, int(state))
        self._set(1, self._get(1) + 1)

    def _only(self, function: str | None) -> None:
        self._set(2, 0 if function is None else functions().index(function) + 1)

    def _get(self, number: int) -> int:
        value: int = struct.unpack_from("=I", self._map, self._offset + 32 + 4 * number)[0]
        return value

    def _set(self, number: int, value: int) -> None:
        struct.pack_into("=I", self._map, self._offset + 32 + 4 * number, value)


def functions() -> tuple[str, ...]:
    """The names of CK_FUNCTION_LIST in their order, read from the one list of them in shim.h."""
    text = HEADER.read_text()
    table = text[text.index("#define FUNCTIONS(X)") : text.index("#define AS_INDEX")]
    return tuple("C_" + part.partition(",")[0] for part in table.split("X(")[1:])


def place(real: str, directory: Path, name: str) -> Path:
    """A shim before the module `real`, in `directory`: the path to load (`control_of` has its control).

    Raises DriverUnavailable where there is no compiler.
    """
    path = directory / f"{name}.so"
    shutil.copyfile(compiled(), path)
    Control.create(control_of(path))
    Path(f"{path}.conf").write_text(f"{real}\n{control_of(path)}\n")
    return path


def control_of(shim: Path) -> Path:
    """Where the control file of a shim is."""
    return shim.with_suffix(".control")


def compiled(source: Path = SOURCE) -> Path:
    """A compiled shim in the user's cache. Raises DriverUnavailable where it cannot be compiled."""
    from platformdirs import user_cache_path

    texts = (path.read_bytes() for path in (source, source.with_suffix(".h")) if path.exists())
    digest = hashlib.sha256(b"\0".join(texts)).hexdigest()[:16]
    target = user_cache_path("meshhw", appauthor=False) / f"{source.stem}-{digest}.so"
    if not target.exists():
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _compile(source, target)
    return target


def _compile(source: Path, target: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        raise DriverUnavailable("faults need a C compiler, and there is no cc", hint="apt-get install gcc")
    handle, new = tempfile.mkstemp(dir=target.parent, suffix=".so")
    os.close(handle)
    arguments = [compiler, *COMPILE, "-o", new, str(source), "-ldl", "-lpthread"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        Path(new).unlink()
        raise DriverUnavailable(f"cc does not compile the fault module: {done.stderr.strip()[:200]}")
    Path(new).replace(target)
