"""What the lab's PKCS#11 tokens have in common: how a test names, reaches and opens one."""

from __future__ import annotations

import ctypes
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from meshhw_pkcs11.cryptoki import CKU_SO, Module

from meshhw.errors import TokenNotFound
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.registry import open_token
from meshhw.keystore.uri import TokenURI

if TYPE_CHECKING:
    from meshhw.keystore.api import Token


@dataclass(frozen=True, slots=True)
class Pkcs11Token:
    """An emulated PKCS#11 token. `env` is what another process needs to see it.

    `module_path` is the module, or the `.module` file that says how it is started.
    """

    family: str
    label: str
    module_path: str
    pin: str = field(repr=False)
    so_pin: str = field(repr=False)
    env: Mapping[str, str]

    @property
    def uri(self) -> TokenURI:
        """Its name, with the module that serves it."""
        return TokenURI.make("pkcs11", {"module-path": self.module_path}, token=self.label)

    def options(self, **changes: object) -> OpenOptions:
        """Options whose interaction knows the PINs; keywords are those of OpenOptions."""
        person = Scripted({PinKind.USER: self.pin, PinKind.CONTEXT: self.pin, PinKind.SO: self.so_pin})
        return OpenOptions(**({"interaction": person} | changes))  # type: ignore[arg-type]  # keywords pass through

    def open(self, **changes: object) -> Token:
        """The opened token, through the registry as any caller gets it."""
        return open_token(self.uri, self.options(**changes))


def new_pin() -> str:
    """A random PIN of 8 digits, which every module here accepts."""
    return f"{secrets.randbelow(10**8):08d}"


def initialise(module: Module, slot: int, token: Pkcs11Token, factory_so_pin: str = "") -> None:
    """C_InitToken, then the user's PIN set by the security officer. Raises CryptokiError.

    `factory_so_pin` is the one that a fresh token starts with, where it has one.
    """
    first = factory_so_pin or token.so_pin
    text = ctypes.create_string_buffer(token.label.encode().ljust(32), 32)
    module.call("C_InitToken", ctypes.c_ulong(slot), *counted(first), text)
    with module.session(slot) as session:
        module.call("C_Login", session, ctypes.c_ulong(CKU_SO), *counted(first))
        if factory_so_pin:
            module.call("C_SetPIN", session, *counted(first), *counted(token.so_pin))
        module.call("C_InitPIN", session, *counted(token.pin))
        module.call("C_Logout", session)


def erase(module: Module, token: Pkcs11Token) -> None:
    """Initialise a token again: the same label and PINs, and nothing else is left. Raises TokenNotFound."""
    name = token.label.encode().ljust(32)
    slot = next((slot for slot in module.slots() if module.token_info(slot).label.ljust(32) == name), None)
    if slot is None:
        raise TokenNotFound(f"the module does not show {token.label}")
    initialise(module, slot, token)


def first_module(paths: tuple[str, ...]) -> str | None:
    """The first of these files that exists."""
    return next((path for path in paths if Path(path).exists()), None)


def counted(text: str) -> tuple[bytes, ctypes.c_ulong]:
    """A PIN and its length, as functions of PKCS#11 take it."""
    octets = text.encode()
    return octets, ctypes.c_ulong(len(octets))
