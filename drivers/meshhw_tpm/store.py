"""The key files of one TPM: `<home>/tpm/<identity>/`, one PEM file a key, and notes on persistent handles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from meshhw import files
from meshhw.errors import FormatError, KeyNotFound, MeshError, NotSupported
from meshhw.keystore.home import state_directory
from meshhw.keystore.room import room
from meshhw_tpm import keyfile
from meshhw_tpm.keyfile import KeyFile

SUFFIX = ".pem"
PIN_FILE = "pin.tss2"
_NOTE = ".handle"
_LIMIT = 2 * keyfile.MAX_OCTETS
_IDENTITY_DIGITS = 32
_PLACE = "the place of the TPM's key files"


@dataclass(frozen=True, slots=True)
class Note:
    """What is kept of a key that lives at a persistent handle: the object's name and a label."""

    name: bytes
    label: str


class Store:
    """The files of the TPM whose storage primary has this name."""

    def __init__(self, identity: bytes, home: Path | None = None) -> None:
        """`home` is the state directory; None takes the user's."""
        self.root = (home or state_directory()) / "tpm"
        self.directory = self.root / identity.hex()[4 : 4 + _IDENTITY_DIGITS]

    def names(self) -> list[str]:
        """The names of the key files."""
        return sorted(path.stem for path in self.directory.glob(f"*{SUFFIX}"))

    def path(self, name: str) -> Path:
        """Where the key of this name is; an absolute path stands for itself. Raises KeyNotFound."""
        if name.startswith("/"):
            return Path(name)
        if not name.isalnum():
            raise KeyNotFound(f"no key file is called {name!r}")
        return self.directory / f"{name}{SUFFIX}"

    def load(self, name: str) -> KeyFile:
        """Read a key file. Raises KeyNotFound, FormatError, NotSupported, InsecurePermissions."""
        return read(self.path(name))

    def add(self, key: KeyFile) -> str:
        """Keep a new key; the name is made of the object's own. Raises TokenFull where there is no room."""
        name = key.area.name.hex()[4:24]
        with room(_PLACE):
            files.replace(self._private() / f"{name}{SUFFIX}", keyfile.to_pem(key))
        return name

    def rewrite(self, path: Path, key: KeyFile) -> None:
        """Put another form of the same key in its place."""
        files.replace(path, keyfile.to_pem(key))

    def remove(self, name: str) -> None:
        """Forget a key for ever. Raises KeyNotFound."""
        self._unlink(self.path(name))

    def pin_path(self) -> Path:
        """The file of the object that knows the PIN."""
        return self.directory / PIN_FILE

    def has_pin(self) -> bool:
        """Whether keys of this TPM and home are protected by a PIN."""
        return self.pin_path().exists()

    def write_pin(self, key: KeyFile) -> None:
        """Keep the object that knows the PIN."""
        self._private()
        with room(_PLACE):
            files.replace(self.pin_path(), keyfile.to_pem(key))

    def remove_pin(self) -> None:
        """Forget the object that knows the PIN; absent is fine."""
        self.pin_path().unlink(missing_ok=True)

    def note(self, handle: int, note: Note) -> None:
        """Remember a key at a persistent handle."""
        text = f"{note.name.hex()}\n{note.label}\n"
        files.replace(self._private() / f"{handle:08x}{_NOTE}", text.encode())

    def noted(self, handle: int) -> Note | None:
        """What is remembered of a handle. Raises FormatError."""
        octets = files.read_private(self.directory / f"{handle:08x}{_NOTE}", 4096)
        if octets is None:
            return None
        name, _, label = octets.decode(errors="replace").partition("\n")
        try:
            return Note(bytes.fromhex(name), label.strip())
        except ValueError as error:
            raise FormatError(f"the note on TPM handle 0x{handle:08x} is broken") from error

    def noted_handles(self) -> list[int]:
        """The handles that are remembered."""
        return sorted(int(path.stem, 16) for path in self.directory.glob(f"8???????{_NOTE}"))

    def forget(self, handle: int) -> None:
        """Remove what is remembered of a handle."""
        self._unlink(self.directory / f"{handle:08x}{_NOTE}")

    def describe_loss(self) -> str:
        """What is lost when this TPM is: a clause for an error message."""
        labels = [self._label(name) for name in self.names()]
        labels += [f"0x{handle:08x}" for handle in self.noted_handles()]
        if not labels:
            return "; secrets sealed by it cannot be opened any more"
        shown = ", ".join(labels[:5]) + (", …" if len(labels) > 5 else "")
        return f"; lost with it: {shown}, and all that was sealed by it"

    def own_keys(self) -> Iterator[tuple[Path, KeyFile]]:
        """Every key file with its path."""
        for name in self.names():
            path = self.path(name)
            yield path, read(path)

    def _label(self, name: str) -> str:
        try:
            return self.load(name).label or name
        except MeshError:  # what is lost is told all the same
            return name

    def prepare(self) -> None:
        """Make the directory."""
        self._private()

    def _private(self) -> Path:
        files.private_directory(self.root)
        return files.private_directory(self.directory)

    @staticmethod
    def _unlink(path: Path) -> None:
        try:
            path.unlink()
        except FileNotFoundError as error:
            raise KeyNotFound(f"{path} does not exist") from error
        files.sync_directory(path.parent)


def read(path: Path) -> KeyFile:
    """Read the key file at `path`, and name it in every error.

    Raises KeyNotFound, FormatError, NotSupported, InsecurePermissions.
    """
    octets = files.read_private(path, _LIMIT)
    if octets is None:
        raise KeyNotFound(f"the TPM key file {path} does not exist")
    try:
        return keyfile.from_pem(octets)
    except FormatError as error:
        raise FormatError(f"{path} is not a TPM key file: {error.message}") from error
    except NotSupported as error:
        raise NotSupported(f"{path}: {error.message}") from error


def file_state(path: Path) -> tuple[int, int] | None:
    """What differs when a file was replaced; None if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns
