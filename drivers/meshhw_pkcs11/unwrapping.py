"""A key unwrapped under an agreement, while neither the agreed secret nor the wrapping key leaves the token.

Three steps, each from an object of the token to the next: CKM_ECDH1_DERIVE, CKM_HKDF_DERIVE (PKCS#11 v3.0;
python-pkcs11 does not have it) and CKM_AES_KEY_WRAP. The last is a decryption, not C_UnwrapKey: what that
makes is an object, and in FIPS mode one that cannot be read.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

from meshhw.algorithms import PublicKey
from meshhw.errors import DecryptionFailed
from meshhw_pkcs11.cryptoki import Module
from meshhw_pkcs11.keytypes import token_octets

HKDF_DERIVE = 0x402A
NEEDED = (int(Mechanism.ECDH1_DERIVE), HKDF_DERIVE, int(Mechanism.AES_KEY_WRAP))
"""The mechanisms that a token must list."""
_KDF_NULL, _SALT_NULL = 1, 1
_KEY_OCTETS = 32
_LEAST, _MOST = 24, 1024
"""RFC 3394 wraps at least two blocks of 8 octets, and adds one."""
_ULONG = ctypes.c_ulong


class _Mechanism(ctypes.Structure):
    """CK_MECHANISM."""

    _fields_ = (("mechanism", _ULONG), ("pParameter", ctypes.c_void_p), ("ulParameterLen", _ULONG))


class _Attribute(ctypes.Structure):
    """CK_ATTRIBUTE."""

    _fields_ = (("type", _ULONG), ("pValue", ctypes.c_void_p), ("ulValueLen", _ULONG))


class _Ecdh(ctypes.Structure):
    """CK_ECDH1_DERIVE_PARAMS."""

    _fields_ = (
        ("kdf", _ULONG),
        ("ulSharedDataLen", _ULONG),
        ("pSharedData", ctypes.c_void_p),
        ("ulPublicDataLen", _ULONG),
        ("pPublicData", ctypes.c_char_p),
    )


class _Hkdf(ctypes.Structure):
    """CK_HKDF_PARAMS."""

    _fields_ = (
        ("bExtract", ctypes.c_ubyte),
        ("bExpand", ctypes.c_ubyte),
        ("prfHashMechanism", _ULONG),
        ("ulSaltType", _ULONG),
        ("pSalt", ctypes.c_void_p),
        ("ulSaltLen", _ULONG),
        ("hSaltKey", _ULONG),
        ("pInfo", ctypes.c_char_p),
        ("ulInfoLen", _ULONG),
    )


def unwrap(module: Module, key: Any, peer: PublicKey, info: bytes, wrapped: bytes) -> bytes:
    """What is wrapped under HKDF-SHA-512 of the agreement with `peer`, a key that was checked.

    `key` is python-pkcs11's object. It happens in a session of its own, which no other thread's operation
    disturbs and at whose end nothing derived is left. Raises DecryptionFailed, CryptokiError.
    """
    if len(wrapped) % 8 or not _LEAST <= len(wrapped) <= _MOST:
        raise DecryptionFailed("what is wrapped has a length that no wrapped key has")
    slot = key.session.token.slot.slot_id
    octets = token_octets(peer)
    ecdh = _Ecdh(_KDF_NULL, 0, None, len(octets), octets)
    hkdf = _Hkdf(1, 1, int(Mechanism.SHA512), _SALT_NULL, None, 0, 0, info, len(info))
    agreed = _secret(KeyType.GENERIC_SECRET, peer.algorithm.field_length, Attribute.DERIVE)
    wrapping = _secret(KeyType.AES, _KEY_OCTETS, Attribute.DECRYPT)
    with (
        module.session(slot, writable=False) as session,
        _derived(module, session, _mechanism(Mechanism.ECDH1_DERIVE, ecdh), key.handle, agreed) as secret,
        _derived(module, session, _mechanism(HKDF_DERIVE, hkdf), secret, wrapping) as kek,
    ):
        return _decrypted(module, session, kek, wrapped)


def _secret(key_type: KeyType, length: int, use: Attribute) -> dict[Attribute, int | bool]:
    """The template of a secret that nobody can read and that goes with its session."""
    return {
        Attribute.CLASS: int(ObjectClass.SECRET_KEY),
        Attribute.KEY_TYPE: int(key_type),
        Attribute.VALUE_LEN: length,
        Attribute.TOKEN: False,
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: False,
        use: True,
    }


@contextmanager
def _derived(
    module: Module,
    session: ctypes.c_ulong,
    mechanism: _Mechanism,
    base: int,
    template: Mapping[Attribute, int | bool],
) -> Iterator[int]:
    """An object of C_DeriveKey, destroyed at the end."""
    values = [ctypes.c_ubyte(v) if isinstance(v, bool) else _ULONG(v) for v in template.values()]
    attributes = (_Attribute * len(template))(
        *(
            _Attribute(int(name), ctypes.addressof(value), ctypes.sizeof(value))
            for name, value in zip(template, values, strict=True)
        )
    )
    handle, count = _ULONG(), _ULONG(len(attributes))
    arguments = ctypes.byref(mechanism), _ULONG(base), attributes, count, ctypes.byref(handle)
    module.call("C_DeriveKey", session, *arguments)
    try:
        yield handle.value
    finally:
        module.call("C_DestroyObject", session, handle)


def _decrypted(module: Module, session: ctypes.c_ulong, kek: int, wrapped: bytes) -> bytes:
    mechanism = _Mechanism(int(Mechanism.AES_KEY_WRAP), None, 0)
    module.call("C_DecryptInit", session, ctypes.byref(mechanism), _ULONG(kek))
    plain, length = ctypes.create_string_buffer(len(wrapped)), _ULONG(len(wrapped))
    module.call("C_Decrypt", session, wrapped, _ULONG(len(wrapped)), plain, ctypes.byref(length))
    return plain.raw[: length.value]


def _mechanism(number: int, parameters: ctypes.Structure) -> _Mechanism:
    return _Mechanism(int(number), ctypes.addressof(parameters), ctypes.sizeof(parameters))
