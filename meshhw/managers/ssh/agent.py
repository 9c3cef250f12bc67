"""An ssh-agent whose keys stay in tokens (draft-ietf-sshm-ssh-agent).

It lists its keys and signs with them, and does nothing else: keys are neither added nor removed over the
socket. The socket is private to its owner, and a caller of another user is turned away.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Container, Iterable
from contextlib import suppress
from pathlib import Path

from meshhw import files
from meshhw.algorithms import Family
from meshhw.errors import FormatError, KeyNotFound, MeshError, NotSupported, StateError
from meshhw.keystore.api import Key, OpenOptions, Signs, SignsPKCS1, Token
from meshhw.keystore.registry import open_token
from meshhw.keystore.uri import TokenURI
from meshhw.managers.ssh import wire
from meshhw.managers.ssh.keys import SshKey

_FAILURE = b"\x05"
_REQUEST_IDENTITIES, _IDENTITIES_ANSWER = 11, 12
_SIGN_REQUEST, _SIGN_RESPONSE = 13, 14
_MAX_MESSAGE = 256 << 10
_HASH = {"rsa-sha2-256": "sha256", "rsa-sha2-512": "sha512"}


class Agent:
    """Answers the agent protocol with the keys of a list. Tokens are opened at their first use."""

    def __init__(
        self,
        keys: Iterable[SshKey],
        options: OpenOptions,
        report: Callable[[MeshError], None] = lambda _: None,
        mesh_keys: Container[bytes] = (),
    ) -> None:
        """`report` is told why a signature was refused; the protocol itself has no words for it.

        `mesh_keys` are public keys (octets) with a role in a Mesh profile: such a key signs nothing else.
        """
        self._mesh_keys = mesh_keys
        self._keys = {wire.public_blob(key.public_key): key for key in keys}
        self._options = options
        self._report = report
        self._tokens: dict[TokenURI, Token] = {}
        self._lock = threading.Lock()

    def answer(self, message: bytes) -> bytes:
        """The answer to one message (without length). Never raises for what a client can send."""
        try:
            return self._dispatch(wire.Reader(message))
        except MeshError as error:
            self._report(error)
            return _FAILURE

    def close(self) -> None:
        """Close the tokens."""
        with self._lock:
            while self._tokens:
                self._tokens.popitem()[1].close()

    def _dispatch(self, reader: wire.Reader) -> bytes:
        kind = reader.octet()
        if kind == _REQUEST_IDENTITIES:
            reader.end()
            return self._identities()
        if kind == _SIGN_REQUEST:
            blob, data, flags = reader.string(), reader.string(), reader.number()
            reader.end()
            return bytes([_SIGN_RESPONSE]) + wire.string(self._sign(blob, data, flags))
        return _FAILURE

    def _identities(self) -> bytes:
        listed = [wire.string(blob) + wire.string(key.comment.encode()) for blob, key in self._keys.items()]
        return bytes([_IDENTITIES_ANSWER]) + struct.pack(">I", len(listed)) + b"".join(listed)

    def _sign(self, blob: bytes, data: bytes, flags: int) -> bytes:
        if blob not in self._keys:
            raise KeyNotFound("a key was asked for that this agent does not hold")
        listed = self._keys[blob]
        if listed.public in self._mesh_keys:
            raise NotSupported(
                "a key with a role in a Mesh profile signs nothing else", hint="`meshhw ssh add` makes one"
            )
        public = listed.public_key
        name = wire.signature_name(public, flags)
        key = self._open(listed)
        if public.algorithm.family is Family.RSA:
            if not isinstance(key, SignsPKCS1):
                raise NotSupported("this token's RSA keys make no signature that SSH knows")
            return wire.signature_blob(public, name, key.sign_pkcs1(data, _HASH[name]))
        if not isinstance(key, Signs):
            raise NotSupported("this key does not sign")
        return wire.signature_blob(public, name, key.sign(data))

    def _open(self, listed: SshKey) -> Key:
        uri = listed.key_uri
        with self._lock:
            if uri.token not in self._tokens:
                self._tokens[uri.token] = open_token(uri.token, self._options)
            key = self._tokens[uri.token].key(uri)
        if key.public.octets != listed.public:
            raise KeyNotFound(f"{uri} is another key now", hint="`meshhw ssh add` makes a new one")
        return key


class Server:
    """An agent behind a Unix socket. A context manager: it serves from entry to exit."""

    def __init__(self, agent: Agent, path: Path) -> None:
        self.path = path
        self._agent = agent
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def __enter__(self) -> Server:
        files.private_directory(self.path.parent)
        try:
            self._socket.bind(str(self.path))
        except OSError as error:
            raise StateError(
                f"{self.path} cannot be listened on: {error.strerror}",
                hint="another agent may use it; name another place with --socket",
            ) from error
        self.path.chmod(0o600)
        self._socket.listen(8)
        threading.Thread(target=self._serve, name="ssh-agent", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.path.unlink(missing_ok=True)
        self._agent.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # the socket was closed: the end of serving
                return
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rwb") as stream, suppress(OSError, FormatError):
            if _user_of(connection) != os.geteuid():
                return
            while len(head := stream.read(4)) == 4:
                length = int(struct.unpack(">I", head)[0])
                if not 0 < length <= _MAX_MESSAGE:
                    return
                stream.write(wire.string(self._agent.answer(stream.read(length))))
                stream.flush()


def _user_of(connection: socket.socket) -> int:
    """The user at the other end (SO_PEERCRED: pid, uid, gid)."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])
