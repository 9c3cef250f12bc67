"""A small in-memory token that keeps every promise, except the one that it is told to break.

The conformance checks are themselves checked against it: each of them must notice its lie. Where a promise
can be broken in several ways, `how` says which.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

from meshhw.algorithms import Algorithm, Operation, PrivateKey, PublicKey, Tier
from meshhw.conformance.model import Promise
from meshhw.errors import DecryptionFailed, KeyNotFound, NotSupported, TokenFull
from meshhw.keystore.api import Capabilities, Key, KeySpec, Needs, Protection, TokenInfo
from meshhw.keystore.attestation import Attestation
from meshhw.keystore.peer import checked_peer
from meshhw.keystore.uri import KeyURI, TokenURI
from meshhw.pubkeys import from_cryptography, to_cryptography
from tests.conformance import attesting

Private = ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
RSA = rsa.generate_private_key(65537, 2048)
"""Slow to make, so that one serves all."""
CAN = {
    Algorithm.P256: (
        Operation.GENERATE,
        Operation.IMPORT,
        Operation.SIGN,
        Operation.SIGN_DIGEST,
        Operation.UNWRAP,
    ),
    Algorithm.X25519: (Operation.GENERATE, Operation.IMPORT, Operation.AGREE, Operation.AGREE_POINT),
    Algorithm.ED25519: (Operation.GENERATE, Operation.SIGN),
    Algorithm.RSA2048: (Operation.GENERATE, Operation.DECRYPT),
}
N256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
INFO = TokenInfo(TokenURI.make("software", vault="liar"), "software", "vault", label="liar")


class _Handle:
    tier = Tier.SOFTWARE

    def __init__(self, token: LyingToken, uri: KeyURI, algorithm: Algorithm, public: PublicKey) -> None:
        self.token, self.uri, self.algorithm, self.public = token, uri, algorithm, public

    def needs(self) -> Needs:
        return Needs()


class _NistKey(_Handle):
    def __init__(self, token: LyingToken, uri: KeyURI, algorithm: Algorithm, public: PublicKey) -> None:
        super().__init__(token, uri, algorithm, public)
        self._cached = token.nist(uri)  # what outlives the key, if it lies

    def sign(self, message: bytes) -> bytes:
        return self.sign_digest(hashlib.sha256(message + self.token.extra(Promise.SIGNS)).digest())

    def sign_digest(self, digest: bytes) -> bytes:
        private = self._cached if self.token.lies(Promise.DELETES, "cached") else self.token.nist(self.uri)
        r, s = decode_dss_signature(private.sign(digest, ec.ECDSA(Prehashed(SHA256()))))
        low = min(s, N256 - s)
        s = N256 - low if self.token.lie is Promise.SIGNS_DIGEST else low
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def unwrap(self, peer: PublicKey, kdf_info: bytes, wrapped: bytes) -> bytes:
        other = to_cryptography(checked_peer(self.algorithm, peer))
        assert isinstance(other, ec.EllipticCurvePublicKey)
        if self.token.lies(Promise.UNWRAPS, "info"):
            kdf_info = kdf_info.rstrip(b"\0")
        agreed = self._cached.exchange(ec.ECDH(), other)
        try:
            opened = aes_key_unwrap(HKDF(SHA512(), 32, None, kdf_info).derive(agreed), wrapped)
        except (InvalidUnwrap, ValueError) as error:
            if self.token.lies(Promise.UNWRAPS, "unchecked"):
                return wrapped[8:]
            raise DecryptionFailed("it does not unwrap") from error
        return opened[:32] if self.token.lies(Promise.UNWRAPS, "cut") else opened


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


class _OpenNistKey(_NistKey):
    def export(self) -> bytes:
        return self._cached.private_numbers().private_value.to_bytes(32, "big")


class _EdwardsKey(_Handle):
    def sign(self, message: bytes) -> bytes:
        private = self.token.private(self.uri)
        assert isinstance(private, ed25519.Ed25519PrivateKey)
        return private.sign(message)


class _ContextKey(_EdwardsKey):
    """Takes a context and does not use it, as some modules do."""

    def sign(self, message: bytes, context: bytes = b"") -> bytes:
        return super().sign(message)


class _PrehashKey(_EdwardsKey):
    def sign(self, message: bytes, *, prehash: bool = False) -> bytes:
        return super().sign(message)


class _RsaKey(_Handle):
    def decrypt(self, ciphertext: bytes, name: str) -> bytes:
        if self.token.lies(Promise.DECRYPTS, "nothing"):
            raise NotSupported("no padding at all")
        private = self.token.private(self.uri)
        assert isinstance(private, rsa.RSAPrivateKey)
        hashed = SHA1() if name == "oaep-sha1" else SHA256()
        opened = private.decrypt(ciphertext, padding.OAEP(padding.MGF1(hashed), hashed, None))
        return opened[1:] if self.token.lies(Promise.DECRYPTS, name) else opened


class LyingToken:
    """Generates keys of four kinds, imports two of them, deletes, seals, stores data and attests."""

    def __init__(self, lie: Promise | None = None, how: str = "") -> None:
        self.lie, self._how = lie, how
        self._keys: dict[KeyURI, Private] = {}
        self._data: dict[str, bytes] = {}
        self._sealed: dict[bytes, tuple[bytes, bytes]] = {}
        self._unlisted: set[Algorithm] = set()

    def extra(self, promise: Promise) -> bytes:
        return b"!" if self.lie is promise else b""

    def lies(self, promise: Promise, how: str) -> bool:
        """Whether it breaks that promise in that way."""
        return self.lie is promise and self._how == how

    def nist(self, uri: KeyURI) -> ec.EllipticCurvePrivateKey:
        key = self.private(uri)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key

    def montgomery(self, uri: KeyURI) -> x25519.X25519PrivateKey:
        key = self.private(uri)
        assert isinstance(key, x25519.X25519PrivateKey)
        return key

    def info(self) -> TokenInfo:
        return INFO

    def capabilities(self) -> Capabilities:
        matrix = {(algorithm, use): Tier.SOFTWARE for algorithm, uses in CAN.items() for use in uses}
        if self.lies(Promise.HONEST, "told late"):
            matrix |= {(algorithm, Operation.GENERATE): Tier.SOFTWARE for algorithm in self._unlisted}
        incomplete = self.lies(Promise.HONEST, "never told")
        return Capabilities(matrix, seals=True, stores_data=True, complete=not incomplete)

    def keys(self) -> Sequence[Key]:
        return [self.key(uri) for uri in self._keys]

    def key(self, uri: KeyURI) -> Key:
        private = self.private(uri)
        public = from_cryptography(private.public_key())
        if isinstance(private, x25519.X25519PrivateKey):
            return _X25519Key(self, uri, Algorithm.X25519, public)
        if isinstance(private, rsa.RSAPrivateKey):
            return _RsaKey(self, uri, Algorithm.RSA2048, public)
        if isinstance(private, ed25519.Ed25519PrivateKey):
            liars = {"context": _ContextKey, "prehash": _PrehashKey}
            chosen = liars.get(self._how, _EdwardsKey) if self.lie is Promise.PURE else _EdwardsKey
            return chosen(self, uri, Algorithm.ED25519, public)
        kind = _OpenNistKey if self.lies(Promise.CONFINED, "export") else _NistKey
        return kind(self, uri, Algorithm.P256, public)

    @contextmanager
    def hold(self) -> Iterator[None]:
        yield

    def close(self) -> None:
        self._keys.clear()

    def generate(self, spec: KeySpec) -> Key:
        if self._says_it_is_full(spec):
            raise TokenFull("no room")
        if spec.algorithm is Algorithm.X25519:
            return self._keep(spec, x25519.X25519PrivateKey.generate())
        if spec.algorithm is Algorithm.ED25519:
            return self._keep(spec, ed25519.Ed25519PrivateKey.generate())
        if spec.algorithm is Algorithm.RSA2048:
            return self._keep(spec, RSA)
        if spec.algorithm is Algorithm.P256 or self.lie is Promise.HONEST:
            self._unlisted.add(spec.algorithm)
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
        if not self.lies(Promise.DELETES, ""):
            del self._keys[key]

    def protection(self, key: KeyURI) -> Protection:
        return Protection(extractable=self.lies(Promise.CONFINED, ""), generated_inside=True)

    def seal(self, secret: bytes, purpose: bytes) -> bytes:
        blob = secrets.token_bytes(32)
        self._sealed[blob] = (secret, purpose)
        return blob

    def unseal(self, blob: bytes, purpose: bytes) -> bytes:
        if self.lies(Promise.SEALS, "blob"):
            blob = next((known for known in self._sealed if known[:-1] == blob[:-1]), blob)
        secret, bound = self._sealed.get(blob, (b"", b""))
        if not secret or (bound != purpose and not self.lies(Promise.SEALS, "purpose")):
            raise DecryptionFailed("not a blob of this token and purpose")
        return secret[:128] if self.lies(Promise.SEALS, "cut") else secret

    def store_data(self, name: str, data: bytes, *, private: bool = True) -> None:
        if len(data) > (32 if self.lies(Promise.STORES, "tiny") else 4096):
            raise TokenFull("no room")
        if name in self._data and self.lies(Promise.STORES, "full for others"):
            raise TokenFull("no room")
        if name in self._data and self.lies(Promise.STORES, "lost"):
            del self._data[name]
            raise TokenFull("no room")
        if not (name in self._data and self.lies(Promise.STORES, "kept")):
            self._data[name] = data

    def load_data(self, name: str) -> bytes | None:
        return self._data.get(name)

    def delete_data(self, name: str) -> None:
        if not self.lies(Promise.STORES, "stays"):
            self._data.pop(name, None)

    def data_names(self) -> Sequence[str]:
        return list(self._data)

    def attest(self, key: KeyURI) -> Attestation:
        public = self.private(key).public_key()
        if self.lies(Promise.ATTESTS, "another key"):
            public = x25519.X25519PrivateKey.generate().public_key()
        said = attesting.attest(public)
        return replace(said, chain=()) if self.lies(Promise.ATTESTS, "no chain") else said

    def private(self, uri: KeyURI) -> Private:
        if uri not in self._keys:
            raise KeyNotFound("no such key")
        return self._keys[uri]

    def _says_it_is_full(self, spec: KeySpec) -> bool:
        """With one key in it, which is no reason."""
        return self._how == "full" and spec.algorithm is Algorithm.X25519 and RSA in self._keys.values()

    def _keep(self, spec: KeySpec, private: Private) -> Key:
        name = spec.label if self.lie is Promise.DUPLICATES else f"{spec.label}-{secrets.token_hex(4)}"
        uri = INFO.uri.key(id=name)
        self._keys[uri] = private
        return self.key(uri)
