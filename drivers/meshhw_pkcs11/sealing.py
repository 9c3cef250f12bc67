"""Sealed secrets: encrypted here under a fresh key that only the token can give back.

    magic (4) | keeper (1) | length of reference (2) | reference | nonce (12) | AES-256-GCM ciphertext, tag

The data key is kept in one of two ways, whichever the module offers: wrapped (CKM_AES_KEY_WRAP, RFC 3394)
under an AES key that never leaves the token, the reference being the wrapped key; or as a private data
object, the reference being its name. Everything before the nonce, and the purpose, is authenticated.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11.exceptions import PKCS11Error

from meshhw.algorithms import Operation
from meshhw.errors import DecryptionFailed, KeyNotFound, NotSupported
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.log import in_place_of_key, recorded, recorded_making
from meshhw.keystore.uri import KeyURI
from meshhw_pkcs11 import data
from meshhw_pkcs11.capabilities import Abilities
from meshhw_pkcs11.errors import code_of
from meshhw_pkcs11.search import objects
from meshhw_pkcs11.session import Session

if TYPE_CHECKING:
    import pkcs11

MAGIC = b"MHS1"
BY_WRAPPING, BY_DATA_OBJECT = 1, 2
MAX_SECRET = 4096
SEAL_KEY_LABEL = "meshhw seal"
_NONCE = 12
_KEY_BITS = 256
_REFUSED = frozenset({0x05, 0x06, 0x40, 0x41, 0x110, 0x112})  # a wrapped key that is not this token's


@dataclass(frozen=True, slots=True)
class _SealKey:
    uri: KeyURI


class SealsSecrets:
    """Tokens that keep a small secret such that only they open it again."""

    session: Session
    _abilities: Abilities
    _options: OpenOptions

    def seal(self, secret: bytes, purpose: bytes) -> bytes:
        """A blob that only this token opens. Raises NotSupported for more than 4096 octets."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if len(secret) > MAX_SECRET:
            raise NotSupported(f"a sealed secret has at most {MAX_SECRET} octets")
        if not self._abilities.matrix(self.session.guarded).seals:
            raise NotSupported(f"{self.session.name} cannot seal")
        key, nonce = secrets.token_bytes(_KEY_BITS // 8), secrets.token_bytes(_NONCE)
        keeper = BY_WRAPPING if self._wraps() else BY_DATA_OBJECT
        if keeper == BY_WRAPPING and not self.session.run(_wrapping_keys):
            self._make_wrapping_key()
        keep = _wrap if keeper == BY_WRAPPING else _put
        reference = self.session.run(lambda session: keep(session, key))
        header = MAGIC + bytes((keeper,)) + len(reference).to_bytes(2) + reference
        return header + nonce + AESGCM(key).encrypt(nonce, secret, header + purpose)

    def unseal(self, blob: bytes, purpose: bytes) -> bytes:
        """The secret. Raises DecryptionFailed for another token, another purpose or a changed blob."""
        with recorded(self._options.recorder, in_place_of_key(self.session.found.uri), Operation.UNWRAP):
            return self._opened(blob, purpose)

    def _opened(self, blob: bytes, purpose: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        keeper, reference = _split(blob)
        give_back = _unwrap if keeper == BY_WRAPPING else _get
        key = self.session.run(lambda session: give_back(session, reference))
        end = len(MAGIC) + 3 + len(reference)
        nonce, ciphertext = blob[end : end + _NONCE], blob[end + _NONCE :]
        try:
            return AESGCM(key).decrypt(nonce, ciphertext, blob[:end] + purpose)
        except (InvalidTag, ValueError) as error:
            raise _failed() from error

    def _make_wrapping_key(self) -> None:
        token, identifier = self.session.found.uri, secrets.token_bytes(16)
        uri = token.key(id=identifier, object=SEAL_KEY_LABEL, type="secret-key")

        def make() -> _SealKey:
            self.session.run(lambda session: _new_wrapping_key(session, identifier))
            return _SealKey(uri)

        def undo(_made: KeyURI) -> None:
            self.session.run(lambda session: _destroy(_wrapping_keys(session, identifier)))

        recorded_making(self._options.recorder, token, Operation.GENERATE, make, undo)

    def _wraps(self) -> bool:
        return self._abilities.wraps()


def _split(blob: bytes) -> tuple[int, bytes]:
    start = len(MAGIC) + 3
    if len(blob) < start or not blob.startswith(MAGIC) or blob[4] not in (BY_WRAPPING, BY_DATA_OBJECT):
        raise _failed()
    length = int.from_bytes(blob[5:7])
    if len(blob) < start + length + _NONCE:
        raise _failed()
    return blob[4], blob[start : start + length]


def _failed() -> DecryptionFailed:
    return DecryptionFailed("this token does not open the sealed secret")


def _wrapping_keys(session: pkcs11.Session, identifier: bytes | None = None) -> list[Any]:
    template: dict[Attribute, Any] = {
        Attribute.CLASS: ObjectClass.SECRET_KEY,
        Attribute.LABEL: SEAL_KEY_LABEL,
    }
    return objects(session, template if identifier is None else template | {Attribute.ID: identifier})


def _destroy(found: list[Any]) -> None:
    for one in found:
        one.destroy()


def _wrap(session: pkcs11.Session, key: bytes) -> bytes:
    found = _wrapping_keys(session)
    if not found:
        raise KeyNotFound("the key that secrets are sealed under was deleted meanwhile")
    transient = session.create_object(
        {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: KeyType.AES,
            Attribute.VALUE: key,
            **_transient(),
        }
    )
    try:
        return bytes(found[0].wrap_key(transient, mechanism=Mechanism.AES_KEY_WRAP))
    finally:
        transient.destroy()


def _unwrap(session: pkcs11.Session, wrapped: bytes) -> bytes:
    for wrapping in _wrapping_keys(session):
        try:
            transient = wrapping.unwrap_key(
                ObjectClass.SECRET_KEY,
                KeyType.AES,
                wrapped,
                mechanism=Mechanism.AES_KEY_WRAP,
                capabilities=0,
                template=_transient(),
            )
        except PKCS11Error as error:
            if code_of(error) not in _REFUSED:
                raise
            continue
        try:
            return bytes(transient[Attribute.VALUE])
        finally:
            transient.destroy()
    raise _failed()


def _new_wrapping_key(session: pkcs11.Session, identifier: bytes) -> None:
    session.generate_key(
        KeyType.AES,
        _KEY_BITS,
        id=identifier,
        label=SEAL_KEY_LABEL,
        store=True,
        capabilities=MechanismFlag.WRAP | MechanismFlag.UNWRAP,
        template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True},
    )


def _transient() -> dict[Attribute, Any]:
    return {
        Attribute.TOKEN: False,
        Attribute.PRIVATE: False,
        Attribute.SENSITIVE: False,
        Attribute.EXTRACTABLE: True,
    }


def _put(session: pkcs11.Session, key: bytes) -> bytes:
    name = f"seal {secrets.token_hex(16)}"
    data.store(session, name, key, private=True)
    return name.encode()


def _get(session: pkcs11.Session, reference: bytes) -> bytes:
    key = data.load(session, reference.decode("utf-8", "replace"))
    if key is None:
        raise _failed()
    return key
