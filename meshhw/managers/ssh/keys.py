"""The list of SSH keys of one home directory: `ssh.json`, names of keys in tokens and nothing secret."""

from __future__ import annotations

from pathlib import Path

import msgspec

from meshhw import files
from meshhw.algorithms import Algorithm, Operation, PublicKey
from meshhw.errors import FormatError, NewerVersion, NotSupported, UsageError
from meshhw.keystore.api import Key, KeySpec, Signs, SignsPKCS1, Token
from meshhw.keystore.uri import KeyURI
from meshhw.managers.keymaking import make_key
from meshhw.managers.ssh import wire

VERSION = 1
_LIMIT = 1 << 20
_PREFERRED = (Algorithm.ED25519, Algorithm.P256, Algorithm.P384, Algorithm.RSA3072, Algorithm.RSA2048)


class SshKey(msgspec.Struct, frozen=True, kw_only=True):
    """One SSH key: where its private part is, and its public part."""

    uri: str
    algorithm: Algorithm
    public: bytes
    comment: str = ""

    @property
    def key_uri(self) -> KeyURI:
        """Where the private key is."""
        return KeyURI.parse(self.uri)

    @property
    def public_key(self) -> PublicKey:
        """The public key."""
        return PublicKey(self.algorithm, self.public)

    @property
    def line(self) -> str:
        """The line for `authorized_keys`."""
        return wire.authorized_key(self.public_key, self.comment)


class _File(msgspec.Struct, frozen=True, kw_only=True):
    version: int = VERSION
    keys: tuple[SshKey, ...] = ()


class SshKeys:
    """The SSH keys that this home directory knows."""

    def __init__(self, home: Path) -> None:
        """Raises InsecurePermissions for a home that others can enter."""
        self._path = files.private_directory(home) / "ssh.json"

    def all(self) -> tuple[SshKey, ...]:
        """Every key, oldest first. Raises NewerVersion, FormatError, InsecurePermissions."""
        data = files.read_private(self._path, _LIMIT)
        if data is None:
            return ()
        try:
            read = msgspec.json.decode(data, type=_File)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise FormatError(f"{self._path} is damaged: {error}", hint="restore it from a copy") from error
        if read.version > VERSION:
            raise NewerVersion(f"{self._path} is of version {read.version}, this program writes {VERSION}")
        return read.keys

    def add(self, token: Token, comment: str, algorithm: Algorithm | None = None) -> SshKey:
        """Make a key of its own for SSH on a token and list it.

        Raises NotSupported when the token makes no key that SSH knows.
        """
        chosen = algorithm or _preferred(token)
        if not chosen.signs or chosen is Algorithm.ED448:
            raise NotSupported(f"SSH knows no {chosen} keys", hint="one of " + ", ".join(_PREFERRED))
        spec = KeySpec(chosen, f"ssh {comment}".strip(), frozenset({Operation.SIGN}))
        key = make_key(self._path.parent, token, spec, record=lambda made: self._append(made, comment))
        return _entry(key, comment)

    def _append(self, key: Key, comment: str) -> None:
        _require_signer(key)
        entry = _entry(key, comment)
        with files.locked(self._path):
            keys = self.all()
            if any(other.public == entry.public for other in keys):
                raise UsageError("this key is listed already")
            files.replace(self._path, msgspec.json.encode(_File(keys=(*keys, entry))))


def _entry(key: Key, comment: str) -> SshKey:
    return SshKey(uri=str(key.uri), algorithm=key.algorithm, public=key.public.octets, comment=comment)


def _preferred(token: Token) -> Algorithm:
    capabilities = token.capabilities()
    for algorithm in _PREFERRED:
        if capabilities.can(algorithm, Operation.GENERATE, Operation.SIGN):
            return algorithm
    raise NotSupported(f"{token.info().label or token.info().uri} makes no key that SSH knows")


def _require_signer(key: Key) -> None:
    wanted = SignsPKCS1 if key.algorithm.field_length > 97 else Signs
    if not isinstance(key, wanted):
        raise NotSupported(f"this token's {key.algorithm} keys make no signature that SSH knows")
