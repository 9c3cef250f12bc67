"""Vaults that cost little to unlock, for tests that unlock them often."""

from __future__ import annotations

import re
from pathlib import Path

from meshhw_software.driver import SoftwareDriver
from meshhw_software.kdf import ITERATIONS, MEMORY_KIB, Cost

from meshhw.files import private_directory
from meshhw.keystore.api import OpenOptions, StoresData
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.uri import TokenURI

_IN_PIN = re.compile(r"(echo [\"']|printf ')(?P<text>[^\"'\\]+)(\\n.*)?[\"'] > pin(;|$)", re.MULTILINE)


def cheap_vault(home: Path, options: OpenOptions, name: str = "keys") -> list[TokenURI]:
    """A vault below `home` with the least Argon2id parameters that are accepted."""
    uri = TokenURI.make("software", vault=str(home / name))
    token = SoftwareDriver(Cost(MEMORY_KIB[0], ITERATIONS[0])).open(uri, options)
    assert isinstance(token, StoresData)
    token.store_data("made", b"")
    token.close()
    return [uri]


def home_with_cheap_vault(home: Path, passphrase: str) -> None:
    """A home with nothing in it but its usual vault, for programs that unlock it once each."""
    private_directory(home)
    cheap_vault(home, OpenOptions(Scripted({PinKind.VAULT: passphrase})), "vault")


def homes_with_cheap_vaults(transcript: str, directory: Path) -> None:
    """The homes of a transcript about vaults, each with its vault under the passphrase that the transcript
    has in `pin`: at the usual cost unlocking them, once a command, would take most of the run's time."""
    passphrase = _IN_PIN.search(transcript)
    if passphrase is None or "--on software:" not in transcript:
        return
    for home in {"home", *re.findall(r"--home (\w+)", transcript)}:
        home_with_cheap_vault(directory / home, passphrase["text"])
