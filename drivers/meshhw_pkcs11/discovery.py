"""Finding tokens: all modules are asked at the same time; one that does not answer in time is left out."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pkcs11.exceptions import PKCS11Error

from meshhw.errors import Ambiguous, MeshError, OperationTimeout, TokenFault, TokenNotFound
from meshhw.keystore.api import TokenInfo
from meshhw.keystore.deadline import gather
from meshhw.keystore.uri import TokenURI
from meshhw_pkcs11 import modules
from meshhw_pkcs11.cryptoki import CryptokiError
from meshhw_pkcs11.errors import fold
from meshhw_pkcs11.library import PAUSE_SECONDS, Library, library, loaded
from meshhw_pkcs11.modules import ModuleSpec

if TYPE_CHECKING:
    from pkcs11 import Token

LIST_SECONDS = 8.0
MISSED = tuple(PAUSE_SECONDS * (1 + times / 8) for times in range(10))
"""After how long, each time, a module that may have missed a token is asked again: on a busy machine one look
in five is in vain while others log in. Who misspells a token's name waits for all of them, some 0.4 s."""
CKF_WRITE_PROTECTED = 0x2
CKF_TOKEN_INITIALIZED = 0x400
# Modules that show what another driver of this project serves natively, and the library that driver needs.
_NATIVE = {"ykcs11": "ykman", "tpm2_pkcs11": "tpm2_pytss", "opensc": "ykman"}


@dataclass(frozen=True, slots=True)
class Found:
    """A token and the module that serves it."""

    library: Library
    token: Token

    @property
    def uri(self) -> TokenURI:
        """Its short name: label, serial and module; the slot of one that has neither, as an empty one has."""
        nameless = not (self.serial or self.token.label)
        return TokenURI.make(
            "pkcs11",
            {"module-path": self.library.spec.path},
            slot_id=str(self.token.slot.slot_id) if nameless else None,
            serial=self.serial or None,
            token=self.token.label or None,
        )

    @property
    def serial(self) -> str:
        """The serial number as text."""
        return self.token.serial.decode("ascii", "replace").strip("\0 ")

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self.token.label or self.serial or f"slot {self.token.slot.slot_id}"

    def full_uri(self) -> TokenURI:
        """Everything that RFC 7512 lets a URI say about it."""
        slot, wrapper = self.token.slot, self.library.wrapper
        attributes = {
            "library-manufacturer": wrapper.manufacturer_id,
            "library-description": wrapper.library_description,
            "library-version": ".".join(map(str, wrapper.library_version)),
            "slot-manufacturer": slot.manufacturer_id,
            "slot-description": slot.slot_description,
            "slot-id": str(slot.slot_id),
            "manufacturer": self.token.manufacturer_id,
            "model": self.token.model,
            "serial": self.serial,
            "token": self.token.label,
        }
        pairs = tuple((name, value.encode()) for name, value in attributes.items())
        return TokenURI("pkcs11", pairs)

    def info(self) -> TokenInfo:
        """What can be said of it without its PIN."""
        flags = int(self.token.flags)
        initialised = bool(flags & CKF_TOKEN_INITIALIZED)
        return TokenInfo(
            uri=self.uri,
            driver="pkcs11",
            kind=_kind(self.library),
            vendor=self.token.manufacturer_id,
            model=self.token.model,
            serial=self.serial,
            firmware=".".join(map(str, self.token.firmware_version)),
            label=self.token.label,
            reader=self.token.slot.slot_description if _kind(self.library) == "smartcard" else "",
            initialised=initialised,
            stores_keys=initialised and not flags & CKF_WRITE_PROTECTED,
        )


def look(
    specs: Iterable[ModuleSpec], seconds: float = LIST_SECONDS
) -> list[tuple[ModuleSpec, list[Found] | MeshError]]:
    """What each module shows now, or why it cannot be asked."""
    answers = gather(specs, _tokens_of, seconds)
    return [(spec, _told(spec, answer)) for spec, answer in answers]


def _look_here(spec: ModuleSpec) -> list[Found] | MeshError:
    """What one module shows, asked in this thread for as long as it takes."""
    try:
        return _tokens_of(spec)
    except (PKCS11Error, CryptokiError, MeshError) as error:
        return _told(spec, error)


def _told(spec: ModuleSpec, answer: list[Found] | Exception) -> list[Found] | MeshError:
    if isinstance(answer, OperationTimeout):
        return OperationTimeout(f"{spec.path}: {answer.message}")
    return fold(answer, spec.path) if isinstance(answer, Exception) else answer


def listed(specs: Iterable[ModuleSpec]) -> list[Found]:
    """The tokens for a list: those that a native driver serves are left to it unless named explicitly."""
    return [
        found
        for spec, answer in look(specs)
        if not isinstance(answer, MeshError)
        for found in answer
        if spec.explicit or not _served_natively(found)
    ]


def find(uri: TokenURI, seconds: float | None = None) -> Found:
    """The one token that a URI names, sought for `seconds` at most; without, in the caller's own thread.

    Raises TokenNotFound, Ambiguous, DriverUnavailable, OperationTimeout.
    """
    fitting, reasons = _fitting(uri, seconds)
    for seconds_later in MISSED:
        if fitting or not _read_anew(uri, seconds_later):
            break
        fitting, reasons = _fitting(uri, seconds)
    if reasons and not fitting and len(_specs(uri)) == 1:
        raise reasons[0]
    if not fitting:
        raise TokenNotFound(f"no PKCS#11 token fits {_bare(uri)}", hint=_hint(reasons))
    if len(fitting) > 1:
        raise Ambiguous(
            f"{len(fitting)} PKCS#11 tokens fit {_bare(uri)}",
            candidates=tuple(str(found.uri) for found in fitting),
            hint="add the serial: " + "  ".join(str(found.uri) for found in fitting),
        )
    return fitting[0]


def _read_anew(uri: TokenURI, seconds_later: float) -> bool:
    """Whether a module that may have missed the token was started anew, after so long.

    SoftHSM and opencryptoki read their tokens when they start, and leave out one whose file another process,
    which logs in at that moment, is about to write; one whose file SoftHSM could not open once (no descriptor
    was left) it gives up for good. They cannot be started anew while this process has a session with them.
    """
    anew = False
    for spec in _specs(uri):
        known = loaded(spec.path)
        if known is not None and _reads_tokens_once(known):
            with known.lock:
                if not known.users.total():
                    time.sleep(seconds_later)
                    with suppress(CryptokiError):  # it is started again when it is asked next
                        known.module.restart()
                    anew = True
    return anew


def _reads_tokens_once(module: Library) -> bool:
    maker, description = module.wrapper.manufacturer_id, module.wrapper.library_description
    return "softhsm" in maker.lower() or "Meta PKCS11" in description  # as opencryptoki calls itself


def _fitting(uri: TokenURI, seconds: float | None) -> tuple[list[Found], list[MeshError]]:
    named = _specs(uri)
    bare = TokenURI(uri.scheme, uri.path)
    fitting: list[Found] = []
    reasons: list[MeshError] = []
    alone = len(named) == 1 and seconds is None
    answers = [_look_here(named[0])] if alone else [said for _, said in look(named, seconds or LIST_SECONDS)]
    for answer in answers:
        if isinstance(answer, MeshError):
            reasons.append(answer)
        else:
            fitting += [found for found in answer if found.full_uri().fits(bare) and _usable(found, bare)]
    if len(named) == 1 and reasons and not isinstance(reasons[0], TokenFault):
        raise reasons[0]
    return fitting, reasons


def _usable(found: Found, name: TokenURI) -> bool:
    """A name that says nothing means the initialised token, not an empty slot beside it."""
    return bool(int(found.token.flags) & CKF_TOKEN_INITIALIZED) or bool(name.path)


def _specs(uri: TokenURI) -> tuple[ModuleSpec, ...]:
    path, name = uri.get("module-path"), uri.get("module-name")
    if path is not None:
        known = loaded(path)
        return (modules.at(path) if known is None else known.spec,)
    return (modules.named(name),) if name is not None else modules.configured()


def _tokens_of(spec: ModuleSpec) -> list[Found]:
    module = library(spec)
    return [Found(module, token) for token in module.tokens()]


def _served_natively(found: Found) -> bool:
    file = Path(found.library.spec.path).name
    for part, needs in _NATIVE.items():
        if part in file and find_spec(needs) is not None:
            return part != "opensc" or "piv" in found.token.manufacturer_id.lower()
    return False


def _kind(module: Library) -> str:
    maker = module.wrapper.manufacturer_id.lower()
    if any(name in maker for name in ("softhsm", "mozilla")) or "opencryptoki" in module.spec.path:
        return "softtoken"
    if any(name in maker for name in ("opensc", "yubico")):
        return "smartcard"
    return "tpm" if "tpm" in module.spec.path else "hsm"


def _bare(uri: TokenURI) -> str:
    return str(TokenURI(uri.scheme, uri.path))


def _hint(reasons: list[MeshError]) -> str | None:
    if not reasons:
        return None
    said = "; ".join(reason.message for reason in reasons)
    return f"`meshhw token list` shows what is connected (not asked: {said})"
