"""Where the demo plays: two SoftHSM tokens in a private directory, or the software vault where none is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from meshhw import files
from meshhw.errors import DriverUnavailable
from meshhw.keystore.api import TellsProtection, Token
from meshhw.keystore.uri import KeyURI, TokenURI
from meshhw.lab.pkcs11_token import Pkcs11Token
from meshhw.lab.softhsm import SoftHSM


class Stage(Protocol):
    """What the demo needs of a token."""

    @property
    def name(self) -> str:
        """How a command names it."""
        ...

    @property
    def env(self) -> Mapping[str, str]:
        """What a command needs to reach it, its PIN source included."""
        ...

    @property
    def holders(self) -> tuple[str, str, str]:
        """Three tokens for a key in shares."""
        ...

    @property
    def spare(self) -> str:
        """A token that takes a lost one's place."""
        ...

    def answers(self) -> list[str]:
        """What the token itself says when its private keys are asked for."""
        ...

    def away(self) -> AbstractContextManager[None]:
        """Without the token, for as long as the block lasts."""
        ...

    def lost(self) -> AbstractContextManager[None]:
        """Without the second of the holders' tokens."""
        ...


class SoftHsmStage:
    """Two tokens; the profile goes to the first, and the second shows that nothing is sent to it."""

    def __init__(self, directory: Path) -> None:
        """Raises DriverUnavailable without SoftHSM or the library that speaks PKCS#11."""
        if find_spec("pkcs11") is None:
            raise DriverUnavailable("python-pkcs11 is not installed", hint="pip install 'meshhw[pkcs11]'")
        lab = SoftHSM(files.private_directory(directory / "softhsm"))
        self._tokens = lab.directory / "tokens"
        self._first, second = lab.add("demo one"), lab.add("demo two")
        self.name = self._first.label
        sources = [_source(token, directory / f"pin-{i}") for i, token in enumerate((self._first, second), 1)]
        sources.append(f"software:=file:{_passphrase(directory)}")
        self.holders = (self._first.label, second.label, _vault(directory, "third"))
        self.spare = _vault(directory, "spare")
        self.env = dict(lab.env) | {"MESHHW_PIN_SOURCE": "\n".join(sources)}

    def answers(self) -> list[str]:
        token = self._first.open()
        try:
            held = token.keys()
            return [line for key in held for line in (f"{key.uri.get('object')}:", _told(token, key.uri))]
        finally:
            token.close()

    @contextmanager
    def away(self) -> Iterator[None]:
        """SoftHSM keeps a token in a directory; without the directory there is no token."""
        with self._without(self._first.label):
            yield

    @contextmanager
    def lost(self) -> Iterator[None]:
        with self._without(self.holders[1]):
            yield

    @contextmanager
    def _without(self, label: str) -> Iterator[None]:
        held = next(path for path in self._tokens.iterdir() if _holds(path, label))
        with _moved(held, self._tokens.parent / "pulled"):
            yield


class VaultStage:
    """The software vault of the demo's home."""

    name = "software:"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._vault = directory / "home" / "vault"
        self.env = {"MESHHW_PIN_SOURCE": f"file:{_passphrase(directory)}"}
        self.holders = ("software:", _vault(directory, "second"), _vault(directory, "third"))
        self.spare = _vault(directory, "spare")

    def answers(self) -> list[str]:
        sizes = [f"{path.name}: {path.stat().st_size} octets, AES-256-GCM" for path in self._keys()]
        return [*sizes, "a vault protects its keys by a passphrase; a token would never let them out"]

    @contextmanager
    def away(self) -> Iterator[None]:
        """The vault's directory is moved aside."""
        with _moved(self._vault, self._vault.with_name("vault-moved")):
            yield

    @contextmanager
    def lost(self) -> Iterator[None]:
        with _moved(self._directory / "second", self._directory / "second-moved"):
            yield

    def _keys(self) -> list[Path]:
        return sorted((self._vault / "keys").iterdir())


def make_stage(directory: Path) -> tuple[Stage, str]:
    """The best stage that this machine has, and what to say of it."""
    try:
        return SoftHsmStage(directory), "two SoftHSM tokens, each with a PIN of its own, and a software vault"
    except DriverUnavailable as missing:
        return VaultStage(directory), f"the software vault ({missing.message}; {missing.hint})"


@contextmanager
def _moved(held: Path, aside: Path) -> Iterator[None]:
    held.rename(aside)
    try:
        yield
    finally:
        aside.rename(held)


def _passphrase(directory: Path) -> Path:
    source = directory / "passphrase"
    files.replace(source, b"correct horse battery staple\nnew=correct horse battery staple\n")
    return source


def _vault(directory: Path, name: str) -> str:
    """A vault outside of the home, as a token of its own."""
    return str(TokenURI.make("software", vault=str(directory / name)))


def _source(token: Pkcs11Token, path: Path) -> str:
    files.replace(path, f"{token.pin}\n".encode())
    return f"pkcs11:token={token.label.replace(' ', '%20')}=file:{path}"


def _told(token: Token, key: KeyURI) -> str:
    if not isinstance(token, TellsProtection):
        return "it cannot be asked"
    told = token.protection(key)
    answers = [f"{question} -> {answer}" for question, answer in told.answers.items()]
    return "  " + ", ".join(answers)


def _holds(directory: Path, label: str) -> bool:
    return any(label.encode() in path.read_bytes() for path in directory.glob("token.object"))
