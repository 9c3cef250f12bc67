"""Names of tokens and keys: RFC 7512 `pkcs11:` URIs and the same grammar for the other schemes.

    scheme ":" [ name "=" value *( ";" name "=" value ) ] [ "?" name "=" value *( "&" name "=" value ) ]

A value is octets, percent-encoded where the grammar needs it. No URI ever holds a PIN: `pin-value` is
refused. Attributes keep no order: two URIs with the same attributes are equal and print alike.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote_to_bytes

from meshhw.errors import InvalidURI

GROUP = "meshhw.drivers"
"""The entry-point group of drivers; each one's name is its URI scheme."""
MAX_LENGTH = 4096
_UNRESERVED = (string.ascii_letters + string.digits + "-._~").encode()
_PATH_SAFE = _UNRESERVED + b":[]@!$'()*+,=&"  # RFC 7512 pk11-path-res-avail
_OWN_PATH_SAFE = _PATH_SAFE + b"/"  # the other schemes name files, and have no need to forbid it
_QUERY_SAFE = _UNRESERVED + b":[]@!$'()*+,=/?|"  # RFC 7512 pk11-query-res-avail
_ESCAPES = frozenset(string.hexdigits)
_SECRET = frozenset({"pin-value", "pin", "password", "passphrase"})


@dataclass(frozen=True, slots=True)
class Scheme:
    """The attributes of one scheme in the order they are written, and which of them name a key."""

    name: str
    token: tuple[str, ...]
    key: tuple[str, ...]
    query: tuple[str, ...] = ("pin-source",)
    vendor: bool = False
    """Whether attributes beyond the listed ones are let through (RFC 7512 section 2.3, vendor attributes)."""


SCHEMES: dict[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme(
            "pkcs11",
            token=(
                "library-manufacturer",
                "library-description",
                "library-version",
                "slot-manufacturer",
                "slot-description",
                "slot-id",
                "manufacturer",
                "model",
                "serial",
                "token",
            ),
            key=("object", "type", "id"),
            query=("module-name", "module-path", "pin-source"),
            vendor=True,
        ),
        Scheme("yubikey", token=("serial", "chuid", "reader"), key=("slot",)),
        Scheme(
            "tpm2",
            token=("name", "tcti"),
            key=("handle", "file", "id"),
            query=("pin-source", "sessions", "pcrs", "primary"),
        ),
        Scheme("fido2", token=("aaguid", "serial", "path"), key=("credential",)),
        Scheme("software", token=("vault",), key=("id",), query=("pin-source", "sealed-by")),
    )
}


def register(scheme: Scheme) -> None:
    """Make the URIs of a driver from elsewhere parse. Raises InvalidURI when the name is taken otherwise."""
    if SCHEMES.setdefault(scheme.name, scheme) != scheme:
        raise InvalidURI(f"the URI scheme {scheme.name}: belongs to another driver")


@dataclass(frozen=True, slots=True)
class _URI:
    """What token and key URIs share. `path` and `query` are (name, value) pairs in the scheme's order."""

    scheme: str
    path: tuple[tuple[str, bytes], ...] = ()
    query: tuple[tuple[str, bytes], ...] = ()

    def __post_init__(self) -> None:
        self._check()

    def _check(self) -> None:
        """What a subclass demands beyond the grammar."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URI. Raises InvalidURI for any text outside the grammar, or that carries a PIN."""
        scheme, path, query = _parse(text)
        return cls._checked(scheme, path, query)

    @classmethod
    def make(
        cls, scheme: str, /, query: Mapping[str, str | bytes] | None = None, **path: str | bytes | None
    ) -> Self:
        """Build a URI from attributes; `_` in a keyword stands for `-`, None leaves it out."""
        pairs = {name.replace("_", "-"): _octets(value) for name, value in path.items() if value is not None}
        return cls._checked(
            _scheme(scheme), pairs, {name: _octets(value) for name, value in (query or {}).items()}
        )

    @classmethod
    def _checked(cls, scheme: Scheme, path: dict[str, bytes], query: dict[str, bytes]) -> Self:
        return cls(
            scheme.name,
            _ordered(scheme, scheme.token + scheme.key, path),
            _ordered(scheme, scheme.query, query),
        )

    def get(self, name: str) -> str | None:
        """A path or query attribute as text, None if absent. Raises InvalidURI if it is not UTF-8."""
        octets = self.octets(name)
        try:
            return None if octets is None else octets.decode()
        except UnicodeDecodeError as error:
            raise InvalidURI(f"{name} in the URI is not UTF-8") from error

    def octets(self, name: str) -> bytes | None:
        """A path or query attribute as octets (RFC 7512 `id` is one), None if absent."""
        return dict(self.path + self.query).get(name)

    def __str__(self) -> str:
        path = ";".join(
            f"{name}={_encode(value, name, _path_safe(self.scheme))}" for name, value in self.path
        )
        query = "&".join(f"{name}={_encode(value, name, _QUERY_SAFE)}" for name, value in self.query)
        return f"{self.scheme}:{path}" + (f"?{query}" if query else "")

    def brief(self) -> str:
        """The URI as lists for people show it: without a module's path, and without the `type` and `id` of a
        key that has a label. It still finds the key, unless two keys share the label."""
        noise = {"module-path"} | ({"type", "id"} if "object" in dict(self.path) else set())
        path, query = (
            tuple(pair for pair in pairs if pair[0] not in noise) for pairs in (self.path, self.query)
        )
        return str(type(self)(self.scheme, path, query))

    def _split(self) -> tuple[tuple[tuple[str, bytes], ...], tuple[tuple[str, bytes], ...]]:
        names = SCHEMES[self.scheme].key
        key = tuple(pair for pair in self.path if pair[0] in names)
        return tuple(pair for pair in self.path if pair[0] not in names), key


class TokenURI(_URI):
    """The name of a token: a PKCS#11 token, a card, a TPM, an authenticator, a vault."""

    __slots__ = ()

    def _check(self) -> None:
        if self._split()[1]:
            raise InvalidURI(
                "this URI names a key where a token is meant", hint="leave the key's attributes out"
            )

    def key(self, **attributes: str | bytes) -> KeyURI:
        """The URI of a key on this token."""
        return KeyURI._checked(
            SCHEMES[self.scheme],
            dict(self.path) | {name.replace("_", "-"): _octets(value) for name, value in attributes.items()},
            dict(self.query),
        )

    def fits(self, name: TokenURI) -> bool:
        """Whether every path attribute of `name` is here too, with the same value (RFC 7512 section 2.5)."""
        return self.scheme == name.scheme and set(name.path) <= set(self.path)


class KeyURI(_URI):
    """The name of a private key on a token."""

    __slots__ = ()

    @property
    def token(self) -> TokenURI:
        """The token's part of the name, with its query."""
        return TokenURI(self.scheme, self._split()[0], self.query)

    @property
    def attributes(self) -> dict[str, bytes]:
        """The key's own part of the name; empty when the URI names only a token."""
        return dict(self._split()[1])


def _parse(text: str) -> tuple[Scheme, dict[str, bytes], dict[str, bytes]]:
    if len(text) > MAX_LENGTH:
        raise InvalidURI(f"a token URI has at most {MAX_LENGTH} characters")
    name, colon, rest = text.partition(":")
    if not colon:
        raise InvalidURI(
            f"{text!r} is not a token URI", hint="one begins with " + ", ".join(f"{s}:" for s in SCHEMES)
        )
    scheme = _scheme(name.lower())
    path, _, query = rest.partition("?")
    return (
        scheme,
        dict(_attributes(path, ";", _path_safe(scheme.name))) if path else {},
        dict(_attributes(query, "&", _QUERY_SAFE)) if query else {},
    )


def _path_safe(scheme: str) -> bytes:
    return _PATH_SAFE if scheme == "pkcs11" else _OWN_PATH_SAFE


def _scheme(name: str) -> Scheme:
    if name not in SCHEMES:
        _load_driver_of(name)
    if name not in SCHEMES:
        raise InvalidURI(
            f"no driver serves {name}: URIs", hint="one of " + ", ".join(f"{s}:" for s in SCHEMES)
        )
    return SCHEMES[name]


def _load_driver_of(name: str) -> None:
    """A driver from elsewhere registers its scheme when it is imported."""
    from meshhw.keystore.plugins import plugins

    if plugin := plugins(GROUP).get(name):
        try:
            plugin.load()
        except Exception as error:  # whatever a plug-in's import raises, the URI cannot be read
            raise InvalidURI(f"the driver of {name}: URIs cannot be loaded: {error}") from error


def _attributes(text: str, separator: str, safe: bytes) -> Iterator[tuple[str, bytes]]:
    seen: set[str] = set()
    for part in text.split(separator):
        name, equals, value = part.partition("=")
        if not equals or not name:
            raise InvalidURI(f"{part!r} in the URI is not name=value")
        if name in seen:
            raise InvalidURI(f"{name} stands twice in the URI")
        seen.add(name)
        yield name, _decode(name, value, safe)


def _decode(name: str, value: str, safe: bytes) -> bytes:
    _no_secret(name)
    pieces = value.split("%")
    if any(len(piece) < 2 or not _ESCAPES.issuperset(piece[:2]) for piece in pieces[1:]):
        raise InvalidURI(f"{name} in the URI has a broken percent escape")
    bare = "".join([pieces[0], *(piece[2:] for piece in pieces[1:])])
    if not set(bare.encode("utf-8", "surrogateescape")) <= set(safe):
        raise InvalidURI(f"{name} in the URI has a character that must be percent-encoded")
    return unquote_to_bytes(value)


def _no_secret(name: str) -> None:
    if name in _SECRET:
        raise InvalidURI(
            f"a URI never holds a PIN, and this one has {name}",
            hint="use pin-source=file:PATH in the URI, or --pin-source",
        )


def _ordered(
    scheme: Scheme, known: tuple[str, ...], found: dict[str, bytes]
) -> tuple[tuple[str, bytes], ...]:
    for name in found:
        _no_secret(name)
        if name not in known and not scheme.vendor:
            raise InvalidURI(f"{scheme.name}: URIs have no {name}", hint="they have " + ", ".join(known))
    extra = sorted(set(found) - set(known))
    return tuple((name, found[name]) for name in (*known, *extra) if name in found)


def _octets(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _encode(value: bytes, name: str, safe: bytes) -> str:
    if name == "id":  # RFC 7512 section 2.3: the whole id should be percent-encoded
        return "".join(f"%{octet:02X}" for octet in value)
    return "".join(chr(octet) if octet in safe else f"%{octet:02X}" for octet in value)
