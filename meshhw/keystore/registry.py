"""Which drivers there are, and how a name becomes a token or a key.

Drivers are plug-ins of the entry-point group `meshhw.drivers`; those of this project use the same door as
anybody's. One that is missing its library, or that speaks another interface number, is unavailable with a
reason and breaks nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from meshhw import files
from meshhw.errors import (
    Ambiguous,
    DriverUnavailable,
    KeyNotFound,
    MeshError,
    TokenError,
    TokenFault,
    TokenNotFound,
)
from meshhw.keystore.api import API, Driver, Key, OpenOptions, Token, TokenInfo
from meshhw.keystore.deadline import gather
from meshhw.keystore.plugins import Plugin, plugins
from meshhw.keystore.uri import GROUP, SCHEMES, KeyURI, TokenURI

NAMES_VARIABLE = "MESHHW_TOKEN_NAMES"
LIST_SECONDS = 12.0
"""How long all drivers together may take to list their tokens; each has shorter limits of its own."""
_NATIVE_FIRST = ("software", "pkcs11", "yubikey", "tpm2", "fido2")


@dataclass(frozen=True, slots=True)
class Found:
    """What one look at every driver brought: the tokens, and why a driver could not be asked."""

    tokens: tuple[TokenInfo, ...]
    unavailable: dict[str, MeshError]


def names() -> tuple[str, ...]:
    """The names of the installed drivers, this project's first; none of them is imported."""
    return tuple(sorted(_points(), key=_rank))


def is_scheme(name: str) -> bool:
    """Whether URIs of that scheme name tokens here."""
    return name.lower() in SCHEMES or name.lower() in _points()


@cache
def driver(name: str) -> Driver:
    """The driver of that URI scheme. Raises DriverUnavailable with the reason."""
    point = _points().get(name)
    if point is None:
        raise DriverUnavailable(f"no driver for {name}: is installed", hint=f"pip install 'meshhw[{name}]'")
    try:
        loaded = point.load()
    except Exception as error:  # whatever a plug-in's import raises, it must not break the others
        raise DriverUnavailable(f"the {name} driver cannot be loaded: {error}") from error
    if not isinstance(loaded, Driver) or loaded.api != API:
        raise DriverUnavailable(
            f"the {name} driver speaks interface {getattr(loaded, 'api', 'unknown')}, this is {API}",
            hint=f"install a release of the {name} driver that fits this release of meshhw",
        )
    return loaded


def discover(only: Iterable[str] | None = None) -> Found:
    """Ask every driver (or those in `only`) at the same time which tokens are there."""
    tokens: list[TokenInfo] = []
    unavailable: dict[str, MeshError] = {}
    for name, result in gather(names() if only is None else only, _tokens_of, LIST_SECONDS):
        if isinstance(result, MeshError):
            unavailable[name] = result
        elif isinstance(result, Exception):
            raise result
        else:
            tokens += sorted(result, key=lambda info: (info.uri.get("module-path") or "", info.label))
    return Found(tuple(tokens), unavailable)


def open_token(uri: TokenURI, options: OpenOptions | None = None) -> Token:
    """Open the token of that URI. Raises TokenNotFound, Ambiguous, DriverUnavailable, TokenFault where this
    process is out of file descriptors, whatever that looked like from below.
    """
    try:
        return driver(uri.scheme).open(uri, options or OpenOptions())
    except TokenError as error:
        if files.descriptors_left():
            raise
        raise TokenFault(
            f"{uri.scheme}: {files.NONE_LEFT} ({error.message})",
            hint=files.MORE,
            code=error.code,
        ) from error


def find_token(text: str) -> TokenURI:
    """The token that a person means: a URI, a bare scheme, a name that the environment gives it
    (`MESHHW_TOKEN_NAMES`), or any unambiguous part of what a list shows.

    Raises TokenNotFound, Ambiguous, InvalidURI.
    """
    text = named().get(text, text)
    if _is_uri(text):
        return TokenURI.parse(text)
    found = discover()
    fitting = [info for info in found.tokens if text in _exact_names(info)] or [
        info for info in found.tokens if any(text.lower() in name.lower() for name in _shown(info))
    ]
    if not fitting:
        raise TokenNotFound(f"no token is called {text!r}", hint=_why_absent(found))
    if len(fitting) > 1:
        raise Ambiguous(
            f"{text!r} fits {len(fitting)} tokens",
            candidates=tuple(str(info.uri) for info in fitting),
            hint="name one of " + "  ".join(str(info.uri) for info in fitting),
        )
    return fitting[0].uri


def named() -> dict[str, str]:
    """The names of one's own for tokens: `NAME=URI` lines of the environment's MESHHW_TOKEN_NAMES."""
    lines = os.environ.get(NAMES_VARIABLE, "").splitlines()
    pairs = (line.strip().partition("=") for line in lines)
    return {name: uri for name, equals, uri in pairs if equals}


def find_key(token: Token, text: str) -> Key:
    """The key on `token` that a person means: its URI, or its label or place.

    Raises KeyNotFound, Ambiguous.
    """
    if _is_uri(text):
        return token.key(KeyURI.parse(text))
    held = token.keys()
    fitting = [key for key in held if text.encode() in key.uri.attributes.values()]
    if not fitting:
        raise KeyNotFound(f"{token.info().label or token.info().uri} holds no key called {text!r}")
    if len(fitting) > 1:
        raise Ambiguous(
            f"{text!r} fits {len(fitting)} keys", candidates=tuple(str(key.uri) for key in fitting)
        )
    return fitting[0]


def _is_uri(text: str) -> bool:
    scheme, colon, _ = text.partition(":")
    return bool(colon) and is_scheme(scheme)


def _points() -> dict[str, Plugin]:
    return plugins(GROUP)


def _rank(name: str) -> tuple[int, str]:
    return (_NATIVE_FIRST.index(name) if name in _NATIVE_FIRST else len(_NATIVE_FIRST), name)


def _tokens_of(name: str) -> Sequence[TokenInfo] | MeshError:
    try:
        return driver(name).tokens()
    except MeshError as error:
        return error


def _exact_names(info: TokenInfo) -> tuple[str, ...]:
    return tuple(text for text in (info.label, info.serial, str(info.uri)) if text)


def _shown(info: TokenInfo) -> tuple[str, ...]:
    return (*_exact_names(info), info.vendor, info.model, info.reader)


def _why_absent(found: Found) -> str | None:
    if not found.unavailable:
        return None
    reasons = "; ".join(f"{name}: {error.message}" for name, error in found.unavailable.items())
    return f"`meshhw token list` shows what is connected (not asked: {reasons})"
