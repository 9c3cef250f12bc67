"""A small in-memory token that keeps every promise, except the one that it is told to break.

The conformance checks are themselves checked against it: each of them must notice its lie.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from meshhw.algorithms import Algorithm, Operation, PrivateKey, PublicKey, Tier
from meshhw.conformance.model import Promise
from meshhw.errors import DecryptionFailed, KeyNotFound, NotSupported
from meshhw.keystore.api import Capabilities, Key, KeySpec, Needs, Protection, TokenInfo
from meshhw.keystore.peer import checked_peer
from meshhw.keystore.uri import KeyURI, TokenURI
from meshhw.pubkeys import from_cryptography, to_cryptography

N256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
INFO = TokenInfo(TokenURI.make("software", vault="liar"), "software", "vault", label="liar")


class _Handle:
    tier = Tier.SOFTWARE

    def __init__(self, token: LyingToken, uri: KeyURI, algorithm: Algorithm, public: PublicKey) -> None:
        self.token, self.uri, self.algorithm, self.public = token, uri, algorithm, public

    def needs(self) -> Needs:
        return Needs()


class _NistKey(_Handle):
    def sign(self, message: bytes) -> bytes:
        return self.sign_digest(hashlib.sha256(message + self.token.extra(Promise.SIGNS)).digest())

    def sign_digest(self, digest: bytes) -> bytes:
        private = self.token.nist(self.uri)
        r, s = decode_dss_signature(private.sign(digest, ec.ECDSA(Prehashed(SHA256()))))
        low = min(s, N256 - s)
        s = N256 - low if self.token.lie is Promise.SIGNS_DIGEST else low
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


class _X25519Key(_Handle):
    def agree(self, peer: PublicKey) -> bytes:
        if self.token.lie is not Promise.REFUSES_PEERS:
            checked_peer(self.algorithm, peer)
        other = to_cryptography(peer)
        assert isinstance(other, x25519.X25519PublicKey)
        try:
            shared = self.token.montgomery(self.uri).exchange(other)
        except ValueError:
            return bytes(32)
        return bytes(32) if self.token.lie is Promise.AGREES else shared

    def agree_point(self, peer: PublicKey) -> bytes:
        shared = self.agree(peer)
        return (shared[::-1] if self.token.lie is Promise.POINT else shared) + b"\0"


class LyingToken:
    """Generates and imports P-256 and X25519 keys, deletes, seals, stores data."""

    def __init__(self, lie: Promise | None = None) -> None:
        self.lie = lie
        self._keys: dict[KeyURI, ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey] = {}
        self._last: tuple[KeyURI, ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey] | None = None
        self._data: dict[str, bytes] = {}
        self._sealed: dict[bytes, tuple[bytes, bytes]] = {}

    def extra(self, promise: Promise) -> bytes:
        return b"!" if self.lie is promise else b""

    def nist(self, uri: KeyURI) -> ec.EllipticCurvePrivateKey:
        key = self._private(uri)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key

    def montgomery(self, uri: KeyURI) -> x25519.X25519PrivateKey:
        key = self._private(uri)
        assert isinstance(key, x25519.X25519PrivateKey)
        return key

    def info(self) -> TokenInfo:
        return INFO

    def capabilities(self) -> Capabilities:
        both = (Operation.GENERATE, Operation.IMPORT)
        matrix = {(Algorithm.P256, operation): Tier.SOFTWARE for operation in both}
        matrix |= {(Algorithm.X25519, operation): Tier.SOFTWARE for operation in both}
        for operation in (Operation.SIGN, Operation.SIGN_DIGEST):
            matrix[Algorithm.P256, operation] = Tier.SOFTWARE
        for operation in (Operation.AGREE, Operation.AGREE_POINT):
            matrix[Algorithm.X25519, operation] = Tier.SOFTWARE
        return Capabilities(matrix, seals=True, stores_data=True)

    def keys(self) -> Sequence[Key]:
        return [self.key(uri) for uri in self._keys]

    def key(self, uri: KeyURI) -> Key:
        private = self._private(uri)
        if isinstance(private, x25519.X25519PrivateKey):
            return _X25519Key(self, uri, Algorithm.X25519, from_cryptography(private.public_key()))
        return _NistKey(self, uri, Algorithm.P256, from_cryptography(private.public_key()))

    @contextmanager
    def hold(self) -> Iterator[None]:
        yield

    def close(self) -> None:
        self._keys.clear()

    def generate(self, spec: KeySpec) -> Key:
        if spec.algorithm is Algorithm.X25519:
            return self._keep(spec, x25519.X25519PrivateKey.generate())
        if spec.algorithm is Algorithm.P256 or self.lie is Promise.HONEST:
            return self._keep(spec, ec.generate_private_key(ec.SECP256R1()))
        raise NotSupported(f"no {spec.algorithm} here")

    def import_key(self, private: PrivateKey, spec: KeySpec) -> Key:
        octets = bytearray(private.octets)
        if self.lie is Promise.IMPORTS:
            octets[-9] ^= 0x55
        if spec.algorithm is Algorithm.P256:
            return self._keep(spec, ec.derive_private_key(int.from_bytes(octets, "big"), ec.SECP256R1()))
        if self.lie is Promise.CLAMPS and octets[0] & 7:
            octets[5] ^= 1
        return self._keep(spec, x25519.X25519PrivateKey.from_private_bytes(bytes(octets)))

    def delete(self, key: KeyURI) -> None:
        if key not in self._keys:
            raise KeyNotFound("no such key")
        if self.lie is not Promise.DELETES:
            del self._keys[key]

    def protection(self, key: KeyURI) -> Protection:
        return Protection(extractable=self.lie is Promise.CONFINED, generated_inside=True)

    def seal(self, secret: bytes, purpose: bytes) -> bytes:
        blob = secrets.token_bytes(32)
        self._sealed[blob] = (secret, purpose)
        return blob

    def unseal(self, blob: bytes, purpose: bytes) -> bytes:
        secret, bound = self._sealed.get(blob, (b"", b""))
        if not secret or (bound != purpose and self.lie is not Promise.SEALS):
            raise DecryptionFailed("not a blob of this token and purpose")
        return secret

    def store_data(self, name: str, data: bytes, *, private: bool = True) -> None:
        self._data.setdefault(name, data) if self.lie is Promise.STORES else self._data.update({name: data})

    def load_data(self, name: str) -> bytes | None:
        return self._data.get(name)

    def delete_data(self, name: str) -> None:
        self._data.pop(name, None)

    def data_names(self) -> Sequence[str]:
        return list(self._data)

    def _private(self, uri: KeyURI) -> ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey:
        if uri not in self._keys:
            raise KeyNotFound("no such key")
        return self._keys[uri]

    def _keep(self, spec: KeySpec, private: ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey) -> Key:
        name = spec.label if self.lie is Promise.DUPLICATES else f"{spec.label}-{secrets.token_hex(4)}"
        uri = INFO.uri.key(id=name)
        self._keys[uri] = private
        return self.key(uri)
