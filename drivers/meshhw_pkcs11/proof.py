"""Which private key belongs to a public one, by use: CKA_ID and CKA_LABEL may both be given twice."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from pkcs11 import KDF, Attribute, KeyType, Mechanism
from pkcs11.exceptions import PKCS11Error

from meshhw.algorithms import Algorithm, Family, Operation, PublicKey
from meshhw.errors import DecryptionFailed
from meshhw_pkcs11 import edwards, unwrapping
from meshhw_pkcs11.cryptoki import CryptokiError, Module
from meshhw_pkcs11.errors import fold
from meshhw_pkcs11.keytypes import token_octets
from meshhw_pkcs11.objects import Described

_PROOF = b"meshhw/proof/1"
_READABLE = {
    Attribute.TOKEN: False,
    Attribute.PRIVATE: False,
    Attribute.SENSITIVE: False,
    Attribute.EXTRACTABLE: True,
}


def derive(key: Any, algorithm: Algorithm, peer: bytes) -> bytes:
    """CKM_ECDH1_DERIVE with a peer's octets: the raw coordinate. The derived object is destroyed at once."""
    derived = key.derive_key(
        KeyType.GENERIC_SECRET,
        algorithm.field_length * 8,
        mechanism=Mechanism.ECDH1_DERIVE,
        mechanism_param=(KDF.NULL, None, peer),
        capabilities=0,
        template=_READABLE,
    )
    try:
        return bytes(derived[Attribute.VALUE])
    finally:
        derived.destroy()


Used = Callable[[Operation, str], None]
"""Told of a use of the key, and how it ended."""


def belongs(module: Module, key: Any, said: Described, public: PublicKey, used: Used) -> bool:
    """Whether a private key object is that of `public`: it signs, agrees or unwraps accordingly.

    A key that does none of these is believed.
    """
    algorithm = said.algorithm
    if Operation.SIGN in said.uses:
        return _told(Operation.SIGN, used, lambda: _signs_for(module, key, algorithm, public))
    if Operation.AGREE in said.uses:
        return _told(Operation.AGREE, used, lambda: _agrees_for(key, algorithm, public))
    if Operation.UNWRAP in said.uses:
        return _told(Operation.UNWRAP, used, lambda: _unwraps_for(module, key, algorithm, public))
    return True


def _told(operation: Operation, used: Used, use: Callable[[], bool]) -> bool:
    try:
        fits = use()
    except (PKCS11Error, CryptokiError) as error:
        used(operation, type(fold(error, "")).__name__)
        raise
    used(operation, "ok")
    return fits


def _signs_for(module: Module, key: Any, algorithm: Algorithm, public: PublicKey) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    from meshhw.pubkeys import to_cryptography

    verifier: Any = to_cryptography(public)
    message = secrets.token_bytes(32)
    try:
        if algorithm.family is Family.EDWARDS:
            verifier.verify(edwards.sign(module, key, algorithm, message), message)
        elif algorithm.family is Family.WEIERSTRASS:
            raw = key.sign(message, mechanism=Mechanism.ECDSA)
            half = len(raw) // 2
            der = utils.encode_dss_signature(int.from_bytes(raw[:half]), int.from_bytes(raw[half:]))
            verifier.verify(der, message, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
    except InvalidSignature:
        return False
    return True


def _agrees_for(key: Any, algorithm: Algorithm, public: PublicKey) -> bool:
    peer, expected = _agreement(algorithm, public)
    return secrets.compare_digest(derive(key, algorithm, token_octets(peer)), expected)


def _unwraps_for(module: Module, key: Any, algorithm: Algorithm, public: PublicKey) -> bool:
    from cryptography.hazmat.primitives.hashes import SHA512
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    from cryptography.hazmat.primitives.keywrap import aes_key_wrap

    peer, agreed = _agreement(algorithm, public)
    wrapped = aes_key_wrap(HKDF(SHA512(), 32, None, _PROOF).derive(agreed), secrets.token_bytes(32))
    try:
        unwrapping.unwrap(module, key, peer, _PROOF, wrapped)
    except CryptokiError as error:
        if isinstance(fold(error, ""), DecryptionFailed):
            return False
        raise
    return True


def _agreement(algorithm: Algorithm, public: PublicKey) -> tuple[PublicKey, bytes]:
    """A fresh public key, and its agreement with `public`."""
    from cryptography.hazmat.primitives.asymmetric import ec, x448, x25519

    from meshhw.pubkeys import from_cryptography, to_cryptography

    other: Any
    theirs: Any = to_cryptography(public)
    if algorithm.family is Family.WEIERSTRASS:
        other = ec.generate_private_key(theirs.curve)
        expected = other.exchange(ec.ECDH(), theirs)
    else:
        other = (x25519.X25519PrivateKey if algorithm is Algorithm.X25519 else x448.X448PrivateKey).generate()
        expected = other.exchange(theirs)
    return from_cryptography(other.public_key()), expected
