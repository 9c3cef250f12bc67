"""Keys on a PKCS#11 token. A key that may not do an operation is of a class without it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pkcs11 import MGF, Attribute, Mechanism
from pkcs11.exceptions import (
    ArgumentsBad,
    DataInvalid,
    DataLenRange,
    FunctionFailed,
    GeneralError,
    ObjectHandleInvalid,
)

from meshhw.algorithms import Algorithm, Family, Operation, PublicKey
from meshhw.errors import DecryptionFailed, InvalidPublicKey, MeshError, NotSupported
from meshhw.keystore.api import Needs
from meshhw.keystore.interaction import PinKind
from meshhw.keystore.log import UseRecorder
from meshhw.keystore.peer import checked_peer
from meshhw.keystore.tokenkey import TokenKey
from meshhw.keystore.uri import KeyURI
from meshhw_pkcs11 import edwards, unwrapping
from meshhw_pkcs11.cryptoki import Module
from meshhw_pkcs11.keytypes import token_octets
from meshhw_pkcs11.objects import Described, private_keys
from meshhw_pkcs11.proof import belongs, derive
from meshhw_pkcs11.session import Session

if TYPE_CHECKING:
    import pkcs11

Result = TypeVar("Result")

_HASHES = {Algorithm.P256: hashlib.sha256, Algorithm.P384: hashlib.sha384}
_ORDERS = {
    Algorithm.P256: 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    Algorithm.P384: int(
        "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973", 16
    ),
}
_PKCS1 = {"sha256": Mechanism.SHA256_RSA_PKCS, "sha512": Mechanism.SHA512_RSA_PKCS}
_PSS = (Mechanism.SHA256, MGF.SHA256, 32)
# How modules say that a ciphertext does not decrypt, beside CKR_ENCRYPTED_DATA_INVALID: SoftHSM the first,
# NSS the last, for a number above the modulus.
_WRONG_PADDING = (GeneralError, FunctionFailed, DataInvalid, DataLenRange, ArgumentsBad)
# How a token says that the agreed secret does not leave it: the value, or such a secret at all, is refused.
_WITHHELD = frozenset({0x11, 0x13, 0x1B, 0xD1})
_KEEPS = "if it keeps agreed secrets, write `x-meshhw-agreed-secrets: inside` into its .module file"
_OAEP = {
    "oaep-sha1": (Mechanism.SHA_1, MGF.SHA1, None),
    "oaep-sha256": (Mechanism.SHA256, MGF.SHA256, None),
}


class Pkcs11Key(TokenKey):
    """A private key object: what all kinds share. The object is looked up when it is first used."""

    def __init__(
        self,
        session: Session,
        uri: KeyURI,
        described: Described,
        public: PublicKey,
        *,
        recorder: UseRecorder,
        oaep_sha256: bool = True,
    ) -> None:
        self._session = session
        super().__init__(uri, public)
        self._described = described
        self._recorder = recorder
        self._oaep_sha256 = oaep_sha256
        self._epoch = -1
        self._cached: Any = None

    def needs(self) -> Needs:
        """The PIN, when it was not given yet or is wanted each time."""
        return Needs(pin=self._session.login.needed or self._described.always_authenticate)

    def remember(self, found: Any) -> None:
        """The token's object, which was just seen, so that the first use need not look for it."""
        self._cached, self._epoch = found, self._session.epoch

    def _use(self, operation: Operation, work: Callable[[pkcs11.Session], Result]) -> Result:
        """Run an operation and tell the recorder how it went."""
        try:
            result = self._session.run(work)
        except MeshError as error:
            self._recorder.record(self._uri, operation, type(error).__name__)
            raise
        self._recorder.record(self._uri, operation, "ok")
        return result

    def _object(self, session: pkcs11.Session) -> Any:
        """The token's object, looked up again when handles have lost their meaning."""
        if self._epoch != self._session.epoch:
            epoch = self._session.epoch
            self._cached, self._epoch = self._found(session), epoch
        return self._cached

    def _found(self, session: pkcs11.Session) -> Any:
        said = self._described
        found = private_keys(session, said.id, said.label)
        fitting = [one for one in found if one[Attribute.KEY_TYPE] == said.key_type]
        if len(fitting) > 1:  # neither CKA_ID nor CKA_LABEL is unique: let each prove that it is the one
            used = partial(self._recorder.record, self._uri)
            fitting = [one for one in fitting if belongs(self._module, one, said, self._public, used)]
        if not fitting:
            raise ObjectHandleInvalid  # looked for once more, logged in anew, before it is given up
        return fitting[0]

    @property
    def _module(self) -> Module:
        return self._session.login.found.library.module

    def _context_pin(self) -> str | None:
        if not self._described.always_authenticate:
            return None
        return self._session.login.ask(PinKind.CONTEXT)


class EcdsaKey(Pkcs11Key):
    """P-256 and P-384 keys that sign: CKM_ECDSA over a digest that is made here."""

    def sign(self, message: bytes) -> bytes:
        """ECDSA with SHA-256 or SHA-384; r || s, s low."""
        digest = _HASHES[self.algorithm](message).digest()
        return self._signed(Operation.SIGN, digest)

    def sign_digest(self, digest: bytes) -> bytes:
        """r || s (s low) over a digest. Raises NotSupported for one of another length."""
        if len(digest) != self.algorithm.field_length:
            raise NotSupported(f"a digest for {self.algorithm} has {self.algorithm.field_length} octets")
        return self._signed(Operation.SIGN_DIGEST, digest)

    def _signed(self, operation: Operation, digest: bytes) -> bytes:
        pin = self._context_pin()
        signature = self._use(
            operation,
            lambda session: self._object(session).sign(digest, mechanism=Mechanism.ECDSA, pin=pin),
        )
        return _low_s(self.algorithm, signature)


class EddsaKey(Pkcs11Key):
    """Ed25519 and Ed448 keys: pure EdDSA. Contexts and prehashing have no way in: modules ignore them."""

    def sign(self, message: bytes) -> bytes:
        """The signature (RFC 8032: 64 or 114 octets)."""
        pin = self._context_pin()
        return self._use(
            Operation.SIGN,
            lambda session: edwards.sign(self._module, self._object(session), self.algorithm, message, pin),
        )


class AgreeingKey(Pkcs11Key):
    """Keys that agree by CKM_ECDH1_DERIVE. The derived object is read and destroyed at once."""

    def agree(self, peer: PublicKey) -> bytes:
        """The raw u or x coordinate. Raises InvalidPublicKey for a bad peer or an all-zero result."""
        octets = token_octets(checked_peer(self.algorithm, peer))
        try:
            secret = self._use(
                Operation.AGREE, lambda session: derive(self._object(session), self.algorithm, octets)
            )
        except NotSupported as error:
            if error.code is not None and error.code.value in _WITHHELD:
                error.hint = _KEEPS
            raise
        if not any(secret):
            raise InvalidPublicKey("the agreement is zero: the other side's key is of small order")
        return secret


class UnwrappingKey(Pkcs11Key):
    """NIST keys whose agreed secrets stay in the token, which unwraps under them itself."""

    def unwrap(self, peer: PublicKey, kdf_info: bytes, wrapped: bytes) -> bytes:
        """As `UnwrapsAgreed`. Raises InvalidPublicKey for a bad peer, DecryptionFailed."""
        checked = checked_peer(self.algorithm, peer)
        return self._use(
            Operation.UNWRAP,
            lambda session: unwrapping.unwrap(
                self._module, self._object(session), checked, kdf_info, wrapped
            ),
        )


class RsaSigningKey(Pkcs11Key):
    """RSA keys that sign: PSS with SHA-256, hashed by the token."""

    def sign(self, message: bytes) -> bytes:
        """RSASSA-PSS (RFC 8017) with SHA-256, MGF1-SHA-256 and a salt of 32 octets."""
        pin = self._context_pin()
        return self._use(
            Operation.SIGN,
            lambda session: bytes(
                self._object(session).sign(
                    message, mechanism=Mechanism.SHA256_RSA_PKCS_PSS, mechanism_param=_PSS, pin=pin
                )
            ),
        )

    def sign_pkcs1(self, message: bytes, hash_name: str) -> bytes:
        """RSASSA-PKCS1-v1_5 (RFC 8017, 8.2), hashed by the token with "sha256" or "sha512".

        Raises NotSupported.
        """
        if hash_name not in _PKCS1:
            raise NotSupported(f"no PKCS #1 signature with {hash_name!r}", hint="one of " + ", ".join(_PKCS1))
        pin = self._context_pin()
        return self._use(
            Operation.SIGN,
            lambda session: bytes(self._object(session).sign(message, mechanism=_PKCS1[hash_name], pin=pin)),
        )


class RsaDecryptingKey(Pkcs11Key):
    """RSA keys that decrypt OAEP."""

    def decrypt(self, ciphertext: bytes, padding: str) -> bytes:
        """`padding` is "oaep-sha1" or "oaep-sha256". Raises DecryptionFailed, NotSupported."""
        parameters = _OAEP.get(padding)
        if parameters is None or (padding == "oaep-sha256" and not self._oaep_sha256):
            raise NotSupported(f"{self._session.name} does not decrypt RSA with {padding}")
        if len(ciphertext) != self.algorithm.field_length:
            raise DecryptionFailed(
                f"a ciphertext for {self.algorithm} has {self.algorithm.field_length} octets"
            )
        pin = self._context_pin()
        return self._use(Operation.DECRYPT, lambda session: self._plain(session, ciphertext, parameters, pin))

    def _plain(self, session: pkcs11.Session, ciphertext: bytes, parameters: Any, pin: str | None) -> bytes:
        key = self._object(session)
        try:
            return bytes(
                key.decrypt(
                    ciphertext, mechanism=Mechanism.RSA_PKCS_OAEP, mechanism_param=parameters, pin=pin
                )
            )
        except _WRONG_PADDING as error:
            raise DecryptionFailed(f"{self._session.name}: the ciphertext does not decrypt") from error


class SilentKey(Pkcs11Key):
    """A key whose flags allow nothing that this project does."""


class EcdsaAgreeingKey(EcdsaKey, AgreeingKey):
    """A NIST key that signs and agrees."""


class EcdsaUnwrappingKey(EcdsaKey, UnwrappingKey):
    """A NIST key that signs and unwraps."""


class RsaKey(RsaSigningKey, RsaDecryptingKey):
    """An RSA key that signs and decrypts."""


_CLASSES: dict[tuple[Family, frozenset[Operation]], type[Pkcs11Key]] = {
    (Family.WEIERSTRASS, frozenset({Operation.SIGN})): EcdsaKey,
    (Family.WEIERSTRASS, frozenset({Operation.AGREE})): AgreeingKey,
    (Family.WEIERSTRASS, frozenset({Operation.SIGN, Operation.AGREE})): EcdsaAgreeingKey,
    (Family.WEIERSTRASS, frozenset({Operation.UNWRAP})): UnwrappingKey,
    (Family.WEIERSTRASS, frozenset({Operation.SIGN, Operation.UNWRAP})): EcdsaUnwrappingKey,
    (Family.EDWARDS, frozenset({Operation.SIGN})): EddsaKey,
    (Family.MONTGOMERY, frozenset({Operation.AGREE})): AgreeingKey,
    (Family.RSA, frozenset({Operation.SIGN})): RsaSigningKey,
    (Family.RSA, frozenset({Operation.DECRYPT})): RsaDecryptingKey,
    (Family.RSA, frozenset({Operation.SIGN, Operation.DECRYPT})): RsaKey,
}


def key_class(algorithm: Algorithm, uses: frozenset[Operation]) -> type[Pkcs11Key]:
    """The class with exactly the operations that the key may do."""
    return _CLASSES.get((algorithm.family, uses), SilentKey)


def _low_s(algorithm: Algorithm, signature: bytes) -> bytes:
    """r || s with the smaller of s and n - s, so that a signature has one form."""
    order, half = _ORDERS[algorithm], len(signature) // 2
    s = int.from_bytes(signature[half:])
    if s <= order // 2:
        return signature
    return signature[:half] + (order - s).to_bytes(half)
