"""SoftHSM 2 tokens in a private directory; as many as wanted, added while the module runs.

SoftHSM reads SOFTHSM2_CONF when it is initialised and a process initialises a module once, so one process
works with one directory: that of its first token. A second directory is refused.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Self

from meshhw_pkcs11 import cryptoki

from meshhw.errors import DriverUnavailable, StateError
from meshhw.lab.pkcs11_token import Pkcs11Token, first_module, initialise, new_pin

MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
)
CKF_TOKEN_INITIALIZED = 0x400


class SoftHSM:
    """A directory of SoftHSM tokens, as a context manager. Raises DriverUnavailable without SoftHSM."""

    _here: Path | None = None

    def __init__(self, directory: Path | None = None) -> None:
        """Keep the tokens below `directory`; None makes a private temporary one that goes at the end."""
        self.module_path = _module_path()
        self._temporary = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="meshhw-softhsm-"))
        self.configuration = self.directory / "softhsm2.conf"
        self._prepare()
        self.tokens: list[Pkcs11Token] = []

    @property
    def env(self) -> dict[str, str]:
        """What another process needs to see these tokens and no other ones."""
        return {"SOFTHSM2_CONF": str(self.configuration), "MESHHW_PKCS11_MODULES": self.module_path}

    def add(self, label: str, *, pin: str = "", so_pin: str = "") -> Pkcs11Token:
        """A new token, seen at once by this process. PINs that are not given are random."""
        module = self._module()
        free = [slot for slot in module.slots() if not module.token_info(slot).flags & CKF_TOKEN_INITIALIZED]
        token = Pkcs11Token(
            "softhsm", label, self.module_path, pin or new_pin(), so_pin or new_pin(), self.env
        )
        initialise(module, free[-1], token)
        self.tokens.append(token)
        return token

    def close(self) -> None:
        """Remove what is temporary. The module stays loaded, as modules do."""
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _prepare(self) -> None:
        tokens = self.directory / "tokens"
        for directory in (self.directory, tokens):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.configuration.write_text(
            f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )

    def _module(self) -> cryptoki.Module:
        if SoftHSM._here not in (None, self.directory):
            raise StateError(
                f"this process works with the SoftHSM tokens in {SoftHSM._here} already",
                hint="add tokens to that directory, or use another process",
            )
        first, SoftHSM._here = SoftHSM._here is None, self.directory
        os.environ["SOFTHSM2_CONF"] = str(self.configuration)
        module = cryptoki.load(self.module_path)
        if first:  # a look for any token may have started it before, with the machine's own tokens
            module.restart()
        return module


def _module_path() -> str:
    path = first_module(MODULES)
    if path is None:
        raise DriverUnavailable("SoftHSM 2 is not installed", hint="apt-get install softhsm2")
    return path
