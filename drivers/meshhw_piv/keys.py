"""Handles on keys in slots: one class for each algorithm's powers."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from yubikit.core import Tlv
from yubikit.core.smartcard import ApduError

from meshhw.algorithms import Algorithm, Family, Operation, PublicKey
from meshhw.errors import (
    DecryptionFailed,
    InvalidPublicKey,
    KeyNotFound,
    NotSupported,
    TokenFault,
    TouchTimeout,
    UsageError,
    WireCode,
)
from meshhw.keystore.api import Needs, PinPolicy, TouchPolicy
from meshhw.keystore.log import recorded
from meshhw.keystore.peer import checked_peer
from meshhw.keystore.tokenkey import TokenKey
from meshhw.keystore.uri import KeyURI
from meshhw.pubkeys import to_cryptography
from meshhw_piv import eddsa, facts, slots, tlv
from meshhw_piv.codes import SECURITY_NOT_SATISFIED
from meshhw_piv.facts import KeyFacts
from meshhw_piv.instructions import AUTHENTICATE, PIN, VERIFY
from meshhw_piv.login import Login
from meshhw_piv.rsa import block_for_pss, open_oaep
from meshhw_piv.session import CardSession

Result = TypeVar("Result")

CHALLENGE, RESPONSE, EXPONENTIATION, DYNAMIC = 0x81, 0x82, 0x85, 0x7C
UNCOMPRESSED = 0x04
ORDERS = {
    Algorithm.P256: 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    Algorithm.P384: int(
        "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16
    ),
}


class PivKey(TokenKey):
    """What all handles share (`meshhw.keystore.api.Key`)."""

    def __init__(self, session: CardSession, login: Login, uri: KeyURI, key: KeyFacts) -> None:
        self._session = session
        self._login = login
        super().__init__(uri, key.public)
        self._facts = key

    def needs(self) -> Needs:
        """By the key's policies; a cached touch may not be asked again within 15 s."""
        policy = self._facts.pin_policy
        once = policy is PinPolicy.ONCE and self._session.pin is None
        pin = policy is PinPolicy.ALWAYS or once
        return Needs(pin=pin, touch=self._facts.touch_policy is not TouchPolicy.NEVER)

    def _use(self, operation: Operation, tag: int, data: bytes) -> bytes:
        """GENERAL AUTHENTICATE with this key, logged in as its policy wants."""
        touch = self._facts.touch_policy is not TouchPolicy.NEVER
        if self.public in self._session.destroyed:
            raise self._gone()

        def attempt() -> bytes:
            self._session.measure(len(data))
            self._log_in()
            return (
                self._session.touched(lambda: self._exchange(tag, data))
                if touch
                else self._exchange(tag, data)
            )

        def work() -> bytes:
            try:
                return self._session.steady(self._explained(attempt, touch=touch))
            except ApduError as error:
                raise self._refusal(error, operation, len(data)) from error

        return self._session.run(
            f"{operation} with slot {slots.name(self._facts.slot)}", work, limited=not touch
        )

    def _log_in(self) -> None:
        if self._facts.pin_policy is PinPolicy.ALWAYS:
            self._login.afresh()
        elif self._facts.pin_policy is not PinPolicy.NEVER:
            self._login.user()

    def _exchange(self, tag: int, data: bytes) -> bytes:
        request = Tlv(DYNAMIC, Tlv(RESPONSE) + Tlv(tag, data))
        answer = self._session.send(AUTHENTICATE, slots.CODES[self.algorithm], self._facts.slot, request)
        return tlv.unwrap(RESPONSE, tlv.unwrap(DYNAMIC, answer))

    def _explained(self, attempt: Callable[[], bytes], *, touch: bool) -> Callable[[], bytes]:
        """`attempt`, with a refusal for want of a touch told apart from one for want of the PIN."""

        def explained() -> bytes:
            try:
                return attempt()
            except ApduError as error:
                if touch and error.sw == SECURITY_NOT_SATISFIED and self._still_verified():
                    code = WireCode("SW", error.sw, "security condition not satisfied")
                    raise TouchTimeout(
                        f"{self._session.identity.label} was not touched", code=code
                    ) from error
                raise

        return explained

    def _still_verified(self) -> bool:
        if self._facts.pin_policy in (PinPolicy.NEVER, PinPolicy.ALWAYS):
            return True  # no PIN was lacking: none is wanted, or it was verified just before
        try:
            self._session.send(VERIFY, 0, self._session.pin_reference or PIN)
        except ApduError:
            return False
        return True

    def _refusal(self, error: ApduError, operation: Operation, length: int) -> Exception:
        """Why the card refused: the key may be gone, or another's; else its word stands."""
        self._session.renew()
        now = facts.read(self._session, self._facts.slot)
        if now is None or now.public != self.public:
            return self._gone()
        unsigned = error.sw != SECURITY_NOT_SATISFIED and operation is Operation.SIGN
        if self.algorithm is Algorithm.ED25519 and unsigned and length > eddsa.SHORT:
            self._session.signs_long = False
            return eddsa.too_long(self._session)
        if error.sw == SECURITY_NOT_SATISFIED and self._wants_more_than_the_pin():
            label, slot = self._session.identity.label, slots.name(self._facts.slot)
            code = WireCode("SW", error.sw, "security condition not satisfied")
            return NotSupported(f"{label} keeps slot {slot} for other uses than to {operation}", code=code)
        return error

    def _wants_more_than_the_pin(self) -> bool:
        """Whether another maker's card refuses what the PIN that was verified just before should allow."""
        return not self._session.identity.yubikey and self._facts.pin_policy is not PinPolicy.NEVER

    def _gone(self) -> KeyNotFound:
        return KeyNotFound(
            f"slot {slots.name(self._facts.slot)} of {self._session.identity.label} holds the key no more"
        )

    def _coordinate(self, result: bytes) -> bytes:
        """The coordinate of an agreed point, which some cards give whole, or without its zeros in front."""
        length = self.algorithm.field_length
        if len(result) == 2 * length + 1 and result[0] == UNCOMPRESSED:
            result = result[1 : 1 + length]
        big_endian = self.algorithm.family is Family.WEIERSTRASS
        if not (0 < len(result) <= length if big_endian else len(result) == length):
            raise self._nonsense()
        return result.rjust(length, b"\0")

    def _nonsense(self) -> TokenFault:
        return TokenFault(f"{self._session.identity.label} gives an answer that is none of {self.algorithm}")

    @contextmanager
    def _recorded(self, operation: Operation) -> Iterator[None]:
        with recorded(self._session.options.recorder, self._uri, operation):
            yield

    def _own(self, check: Callable[[], None]) -> None:
        """The slot may have been given another key since: its signature is not passed on."""
        try:
            check()
        except InvalidSignature as error:
            raise self._gone() from error


class Ed25519Key(PivKey):
    """Ed25519."""

    def sign(self, message: bytes) -> bytes:
        """Pure EdDSA; the card hashes."""
        with self._recorded(Operation.SIGN):
            signature = self._use(Operation.SIGN, CHALLENGE, message)
            self._own(lambda: eddsa.verify(self._session, self.public.octets, signature, message))
            return signature


class X25519Key(PivKey):
    """X25519."""

    def agree(self, peer: PublicKey) -> bytes:
        """The u-coordinate."""
        with self._recorded(Operation.AGREE):
            return self.agreed(peer)

    def agreed(self, peer: PublicKey) -> bytes:
        """The same for the token, which records what it agrees for."""
        octets = checked_peer(self.algorithm, peer).u
        return _not_trivial(self._coordinate(self._use(Operation.AGREE, EXPONENTIATION, octets)))


class NistKey(PivKey):
    """P-256, P-384: both signatures and agreement."""

    def sign(self, message: bytes) -> bytes:
        """ECDSA over SHA-256 or SHA-384."""
        with self._recorded(Operation.SIGN):
            name = "sha256" if self.algorithm is Algorithm.P256 else "sha384"
            return self._ecdsa(Operation.SIGN, hashlib.new(name, message).digest())

    def sign_digest(self, digest: bytes) -> bytes:
        """ECDSA over a digest of the field's length."""
        if len(digest) != self.algorithm.field_length:
            raise UsageError(f"a digest for {self.algorithm} has {self.algorithm.field_length} octets")
        with self._recorded(Operation.SIGN_DIGEST):
            return self._ecdsa(Operation.SIGN_DIGEST, digest)

    def agree(self, peer: PublicKey) -> bytes:
        """The x-coordinate."""
        with self._recorded(Operation.AGREE):
            return self.agreed(peer)

    def agreed(self, peer: PublicKey) -> bytes:
        """The same for the token, which records what it agrees for."""
        octets = checked_peer(self.algorithm, peer).octets
        result = self._coordinate(self._use(Operation.AGREE, EXPONENTIATION, octets))
        if result == octets[1 : 1 + len(result)]:  # what the private key 1 of an emptied slot returns
            raise self._gone()
        return result

    def _ecdsa(self, operation: Operation, digest: bytes) -> bytes:
        r, s = self._pair(self._use(operation, CHALLENGE, digest))
        s = min(s, ORDERS[self.algorithm] - s)
        public = to_cryptography(self.public)
        assert isinstance(public, ec.EllipticCurvePublicKey)
        algorithm = hashes.SHA256() if self.algorithm is Algorithm.P256 else hashes.SHA384()
        self._own(lambda: public.verify(encode_dss_signature(r, s), digest, ec.ECDSA(Prehashed(algorithm))))
        length = self.algorithm.field_length
        return r.to_bytes(length, "big") + s.to_bytes(length, "big")

    def _pair(self, signature: bytes) -> tuple[int, int]:
        """The two numbers, in DER or side by side. Raises TokenFault."""
        try:
            return decode_dss_signature(signature)
        except ValueError as error:
            length = self.algorithm.field_length
            if len(signature) != 2 * length:
                raise self._nonsense() from error
            return int.from_bytes(signature[:length], "big"), int.from_bytes(signature[length:], "big")


class RsaKey(PivKey):
    """RSA: signatures and decryption."""

    def sign(self, message: bytes) -> bytes:
        """RSA-PSS with SHA-256 and a salt of 32 octets."""
        with self._recorded(Operation.SIGN):
            block = block_for_pss(message, self.algorithm.field_length)
            signature = self._number(self._use(Operation.SIGN, CHALLENGE, block))
            public = to_cryptography(self.public)
            assert isinstance(public, rsa.RSAPublicKey)
            scheme = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
            self._own(lambda: public.verify(signature, message, scheme, hashes.SHA256()))
            return signature

    def decrypt(self, ciphertext: bytes, padding: str) -> bytes:
        """RSA-OAEP. Raises DecryptionFailed, NotSupported."""
        with self._recorded(Operation.DECRYPT):
            if len(ciphertext) != self.algorithm.field_length:
                raise DecryptionFailed(
                    f"a ciphertext for {self.algorithm} has {self.algorithm.field_length} octets"
                )
            block = self._number(self._use(Operation.DECRYPT, CHALLENGE, ciphertext))
            return open_oaep(block, padding)

    def _number(self, result: bytes) -> bytes:
        """The result in the modulus's length: cards are known that leave out zeros in front, or add one."""
        length = self.algorithm.field_length
        whole = result.lstrip(b"\0").rjust(length, b"\0")
        if len(whole) != length:
            raise self._nonsense()
        return whole


_CLASSES: dict[Algorithm, type[PivKey]] = {
    Algorithm.ED25519: Ed25519Key,
    Algorithm.X25519: X25519Key,
    Algorithm.P256: NistKey,
    Algorithm.P384: NistKey,
}


def handle(session: CardSession, login: Login, key: KeyFacts) -> PivKey:
    """The handle of the class that fits the key's algorithm."""
    uri = session.identity.uri.key(slot=slots.name(key.slot))
    return _CLASSES.get(key.algorithm, RsaKey)(session, login, uri, key)


def agrees_rightly(key: X25519Key) -> bool:
    """Whether it agrees on the same as a key of this program does with its public key."""
    ours = x25519.X25519PrivateKey.generate()
    theirs = x25519.X25519PublicKey.from_public_bytes(key.public.octets)
    result = key.agree(PublicKey(Algorithm.X25519, ours.public_key().public_bytes_raw()))
    return hmac.compare_digest(result, ours.exchange(theirs))


def _not_trivial(result: bytes) -> bytes:
    if not any(result):
        raise InvalidPublicKey("the agreement is zero: the other side's key is of small order")
    return result
