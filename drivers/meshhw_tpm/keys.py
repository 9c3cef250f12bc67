"""Keys inside a TPM. Each class has exactly the operations that the object's attributes allow.

A structure of the vendor library owns its parts' memory: every command turns what it needs into octets while
it still holds the whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from meshhw.algorithms import Algorithm, Family, Operation, PublicKey
from meshhw.errors import DecryptionFailed, NotSupported, TokenError, TokenFault, UsageError
from meshhw.keystore.api import Needs
from meshhw.keystore.log import UseRecorder, recorded
from meshhw.keystore.peer import checked_peer
from meshhw.keystore.tokenkey import TokenKey
from meshhw.keystore.tpm_public import ALG_NULL, HASHES, Attributes, PublicArea
from meshhw.keystore.uri import KeyURI
from meshhw_tpm import errors, policy
from meshhw_tpm.connection import Connection
from meshhw_tpm.context import Context
from meshhw_tpm.pins import Pins
from meshhw_tpm.source import Source
from meshhw_tpm.templates import HASH_NAMES
from meshhw_tpm.tss import Handle, Structure, tss

T = TypeVar("T")
Command = Callable[[Context, Handle, Handle], T]
"""A TPM command on a key's handle, authorised by a session."""

_OAEP = {"oaep-sha1": "SHA1", "oaep-sha256": "SHA256"}
_ECDSA, _RSAPSS, _OAEP_SCHEME, _ECDH = 0x0018, 0x0016, 0x0017, 0x0019


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every key of one open token shares."""

    connection: Connection
    pins: Pins
    recorder: UseRecorder


class TpmKey(TokenKey):
    """A private key in a TPM (see `meshhw.keystore.api.Key`)."""

    def __init__(self, uri: KeyURI, label: str, source: Source, around: Surroundings) -> None:
        public = source.area.public
        if public is None:
            raise NotSupported("this TPM object is no key of an algorithm that is used here")
        super().__init__(uri, public)
        self._around = around
        self.label = label
        self.source = source

    def needs(self) -> Needs:
        """The PIN, if the key has one and it was not given yet."""
        return Needs(pin=self._around.pins.needed(self.source))

    def _use(self, operation: Operation, command: Command[T], *, secret: bool) -> T:
        """Open the key, authorise and run one command; `secret` says that its response must be encrypted."""
        with recorded(self._around.recorder, self._uri, operation):
            return self._around.pins.authorised(
                self.source,
                lambda auth: self._around.connection.run(
                    lambda context: run_command(context, self.source, auth, command, secret=secret)
                ),
            )


class _Signing(TpmKey):
    """The part of a key that signs with ECDSA."""

    def sign(self, message: bytes) -> bytes:
        """r || s, s low, over SHA-256 (P-256) or SHA-384 (P-384) of the message."""
        return self.sign_digest(hashlib.new(HASH_NAMES[self.algorithm].lower(), message).digest())

    def sign_digest(self, digest: bytes) -> bytes:
        """r || s, s low. Raises UsageError for a digest of another length."""
        hash_name = HASH_NAMES[self.algorithm]
        if len(digest) != hashlib.new(hash_name.lower()).digest_size:
            raise UsageError(f"{self.algorithm} signs a {hash_name} digest, not {len(digest)} octets")

        def command(context: Context, handle: Handle, session: Handle) -> bytes:
            scheme = _signature_scheme(_ECDSA, hash_name)
            made = context.esapi.sign(handle, digest, scheme, no_ticket(), session1=session)
            pair = made.signature.ecdsa
            return _fixed(self.algorithm, bytes(pair.signatureR), bytes(pair.signatureS))

        return self._use(Operation.SIGN, command, secret=False)


class _Agreeing(TpmKey):
    """The part of a key that agrees: TPM2_ECDH_ZGen, which returns the whole point."""

    def agree(self, peer: PublicKey) -> bytes:
        """The x-coordinate of scalar * peer."""
        return self.agree_point(peer)[1 : 1 + self.algorithm.field_length]

    def agree_point(self, peer: PublicKey) -> bytes:
        """scalar * peer, SEC 1 uncompressed."""
        octets = checked_peer(self.algorithm, peer).octets[1:]
        size = self.algorithm.field_length

        def command(context: Context, handle: Handle, session: Handle) -> bytes:
            t = context.tss
            point = t.TPM2B_ECC_POINT(t.TPMS_ECC_POINT(x=octets[:size], y=octets[size:]))
            made = context.esapi.ecdh_zgen(handle, point, session1=session)
            shared = made.point
            return b"\4" + bytes(shared.x).rjust(size, b"\0") + bytes(shared.y).rjust(size, b"\0")

        return self._use(Operation.AGREE, command, secret=True)


class _RsaSigning(TpmKey):
    """The part of a key that signs with RSA-PSS."""

    def sign(self, message: bytes) -> bytes:
        """RSASSA-PSS with SHA-256 and a salt of 32 octets."""
        digest = hashlib.sha256(message).digest()

        def command(context: Context, handle: Handle, session: Handle) -> bytes:
            scheme = _signature_scheme(_RSAPSS, "SHA256")
            made = context.esapi.sign(handle, digest, scheme, no_ticket(), session1=session)
            return bytes(made.signature.rsapss.sig)

        return self._use(Operation.SIGN, command, secret=False)


class _RsaDecrypting(TpmKey):
    """The part of a key that decrypts with RSA-OAEP."""

    def decrypt(self, ciphertext: bytes, padding: str) -> bytes:
        """`padding` is "oaep-sha1" or "oaep-sha256"."""
        if padding not in _OAEP:
            raise NotSupported(f"the TPM driver has no padding {padding!r}", hint="oaep-sha1 or oaep-sha256")
        if len(ciphertext) != self.algorithm.field_length:
            raise DecryptionFailed("the ciphertext does not have the key's length")

        def command(context: Context, handle: Handle, session: Handle) -> bytes:
            t = context.tss
            hashed = t.TPMS_SCHEME_HASH(hashAlg=getattr(t.TPM2_ALG, _OAEP[padding]))
            scheme = t.TPMT_RSA_DECRYPT(scheme=t.TPM2_ALG.OAEP, details=t.TPMU_ASYM_SCHEME(oaep=hashed))
            return bytes(context.esapi.rsa_decrypt(handle, ciphertext, scheme, b"", session1=session))

        try:
            return self._use(Operation.DECRYPT, command, secret=True)
        except (NotSupported, TokenFault) as error:
            if self._is_about_the_ciphertext(error):
                raise DecryptionFailed("the ciphertext is not for this key and padding") from error
            raise

    def _is_about_the_ciphertext(self, error: TokenError) -> bool:
        """TPM_RC_VALUE; and TPM_RC_FAILURE of a TPM that is well, as libtpms answers wrong OAEP padding."""
        code = errors.tpm_code(error.code.value) if error.code else None
        if code == errors.FAILURE:
            self._around.connection.run(lambda context: context.esapi.get_random(1))
        return code in (errors.VALUE, errors.FAILURE)


class SigningKey(_Signing):
    """An elliptic-curve key that only signs."""


class AgreementKey(_Agreeing):
    """An elliptic-curve key that only agrees."""


class SigningAgreementKey(_Signing, _Agreeing):
    """An elliptic-curve key that signs and agrees."""


class RsaSigningKey(_RsaSigning):
    """An RSA key that only signs."""


class RsaDecryptionKey(_RsaDecrypting):
    """An RSA key that only decrypts."""


class RsaKey(_RsaSigning, _RsaDecrypting):
    """An RSA key that signs and decrypts."""


_CLASSES: dict[tuple[Family, bool, bool], type[TpmKey]] = {
    (Family.WEIERSTRASS, True, False): SigningKey,
    (Family.WEIERSTRASS, False, True): AgreementKey,
    (Family.WEIERSTRASS, True, True): SigningAgreementKey,
    (Family.RSA, True, False): RsaSigningKey,
    (Family.RSA, False, True): RsaDecryptionKey,
    (Family.RSA, True, True): RsaKey,
}


def key_class(area: PublicArea) -> type[TpmKey] | None:
    """The class of keys with this public area; None for objects that are no keys for use here."""
    if area.public is None or area.has(Attributes.RESTRICTED):
        return None
    family = area.public.algorithm.family
    signs = area.has(Attributes.SIGN) and _scheme_fits(area, _signing(area))
    decrypts = area.has(Attributes.DECRYPT) and _scheme_fits(area, _decrypting(area))
    return _CLASSES.get((family, signs, decrypts))


def run_command(context: Context, source: Source, auth: bytes, command: Command[T], *, secret: bool) -> T:
    """Open, authorise as the key asks, run one command and flush."""
    with source.opened(context) as handle:
        if auth:
            context.esapi.tr_set_auth(handle, auth)
        if source.policy:
            with policy.session(context, source.policy) as session:
                return command(context, handle, session)
        session = context.session(response=secret) if secret or auth else context.password()
        return command(context, handle, session)


@cache
def no_ticket() -> Structure:
    """The proof that a digest was made by the TPM, for keys that do not ask for it."""
    t = tss()
    return t.TPMT_TK_HASHCHECK(tag=t.TPM2_ST.HASHCHECK, hierarchy=t.TPM2_RH.NULL)


@cache
def _signature_scheme(scheme: int, hash_name: str) -> Structure:
    """ECDSA or RSA-PSS with this digest; made once, since a structure takes as long as half a command."""
    t = tss()
    hashed = t.TPMS_SCHEME_HASH(hashAlg=getattr(t.TPM2_ALG, hash_name))
    details = t.TPMU_SIG_SCHEME(ecdsa=hashed) if scheme == _ECDSA else t.TPMU_SIG_SCHEME(rsapss=hashed)
    return t.TPMT_SIG_SCHEME(scheme=scheme, details=details)


def _fixed(algorithm: Algorithm, r: bytes, s: bytes) -> bytes:
    """r || s of the field's length, with the lower one of the two equivalent s."""
    from meshhw.curves.named import curve_named

    order, size = curve_named(algorithm.value).order, algorithm.field_length
    number = int.from_bytes(s, "big")
    return r.rjust(size, b"\0") + min(number, order - number).to_bytes(size, "big")


def _signing(area: PublicArea) -> int:
    return _RSAPSS if area.public and area.public.algorithm.family is Family.RSA else _ECDSA


def _decrypting(area: PublicArea) -> int:
    return _OAEP_SCHEME if area.public and area.public.algorithm.family is Family.RSA else _ECDH


def _scheme_fits(area: PublicArea, wanted: int) -> bool:
    """Whether a scheme that was fixed when the key was made is the one that is used here."""
    if area.scheme == ALG_NULL:
        return True
    if area.scheme != wanted or area.scheme_hash is None or area.public is None:
        return False
    hashed = HASHES.get(area.scheme_hash, "")
    return wanted == _ECDH or hashed == HASH_NAMES.get(area.public.algorithm, "SHA256").lower()
