"""Keys made, imported and destroyed."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from yubikit.core import Tlv
from yubikit.core.smartcard import ApduError

from meshhw.algorithms import Algorithm, Family, PrivateKey, PublicKey, SecretForm
from meshhw.errors import Cancelled, KeyNotFound, NotSupported, TokenFull, UsageError
from meshhw.keystore.api import KeySpec, PinPolicy, TouchPolicy
from meshhw.keystore.attestation_piv import POLICIES
from meshhw.pubkeys import from_cryptography, to_cryptography
from meshhw_piv import facts, objects, slots, tlv, vacancy
from meshhw_piv.begun import RESERVED, Begun
from meshhw_piv.codes import NO_SUCH_SLOT, UNKNOWN, WRONG_DATA
from meshhw_piv.facts import KeyFacts
from meshhw_piv.instructions import GENERATE, IMPORT, MOVE
from meshhw_piv.login import Login
from meshhw_piv.session import CardSession

NOWHERE = 0xFF
FILLER = 0xD1
"""The tag of what makes room in a certificate's object for a later one."""
TAG_PUBLIC_KEY = 0x7F49
TAG_PIN_POLICY, TAG_TOUCH_POLICY = 0xAA, 0xAB
_PIN_CODES = {policy: code for code, policy in slots.PIN_POLICIES.items()}
_TOUCH_CODES = {policy: code for code, policy in slots.TOUCH_POLICIES.items()}
_EXPONENT = 65537

Loaded = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | x25519.X25519PrivateKey


class Maker:
    """Changes what keys a card holds; everything here runs inside `CardSession.run`."""

    def __init__(self, session: CardSession, login: Login) -> None:
        self._session = session
        self._login = login
        self.begun = Begun(session, self._erase)

    def generate(self, spec: KeySpec) -> KeyFacts:
        """A new key, made in the card. Raises NotSupported, TokenFull, Cancelled."""

        def make(slot: int) -> PublicKey:
            def ask(policies: bytes) -> bytes:
                request = Tlv(0xAC, Tlv(0x80, bytes([slots.CODES[spec.algorithm]])) + policies)
                return self._send(GENERATE, 0, slot, request, None if policies else spec.algorithm)

            return _generated(spec.algorithm, self._under_policies(spec, slot, ask))

        return self._put(spec, make, imported=False)

    def import_key(self, private: PrivateKey, spec: KeySpec) -> KeyFacts:
        """A key from outside. Raises NotSupported for a form that the card cannot take, TokenFull."""
        loaded = _loaded(private)

        def take(slot: int) -> PublicKey:
            def give(policies: bytes) -> bytes:
                return self._send(IMPORT, slots.CODES[private.algorithm], slot, _parts(loaded) + policies)

            self._under_policies(spec, slot, give)
            return from_cryptography(loaded.public_key())

        return self._put(spec, take, imported=True)

    def can_import(self) -> bool:
        """Whether the card knows the instruction, asked with nothing to import."""
        try:
            self._session.settle()
            self._session.send(IMPORT, 0, slots.AUTHENTICATION)
        except ApduError as error:
            return error.sw not in UNKNOWN
        return True

    def delete(self, slot: int) -> None:
        """Destroy a key, finished or not, and its certificate; where the card cannot delete, a worthless key
        replaces it. Raises KeyNotFound.
        """
        session = self._session
        found = facts.read(session, slot)
        code = self._begun_in(slot) if found is None else slots.CODES[found.algorithm]
        if code is None:
            raise KeyNotFound(f"slot {slots.name(slot)} of {session.identity.label} holds no key")
        self._login.management()
        self._erase(slot, code)
        if found is not None:
            session.destroyed.add(found.public)

    def unfinished(self) -> list[int]:
        """The slots whose key was begun and not finished."""
        if self._session.identity.yubikey and facts.tells_metadata(self._session):
            return []  # it tells every key itself
        return [slot for slot in slots.SLOTS if self._begun_in(slot) is not None]

    def _begun_in(self, slot: int) -> int | None:
        return facts.unfinished(objects.read(self._session, slots.CERTIFICATES[slot]))

    def _erase(self, slot: int, code: int) -> None:
        session = self._session
        instead = b""
        if not self._removed(slot):
            if not self._overwritten(slot):
                # Of the same algorithm: cards are known that keep one key of each algorithm in a slot.
                session.send(GENERATE, 0, slot, Tlv(0xAC, Tlv(0x80, bytes([code]))))
                instead = facts.EMPTIED
            elif facts.metadata(session, slot) == facts.UNTOLD:
                instead = facts.EMPTIED
        if instead or objects.read(session, slots.CERTIFICATES[slot]) is not None:
            objects.write(session, slots.CERTIFICATES[slot], instead)

    def _removed(self, slot: int) -> bool:
        try:
            self._session.send(MOVE, NOWHERE, slot)
        except ApduError:
            return False
        return True

    def _overwritten(self, slot: int) -> bool:
        """Import the private key 1, whose public key anyone recognises as "no key"."""
        worthless = Tlv(0x06, (1).to_bytes(32, "big")) + Tlv(
            TAG_PIN_POLICY, bytes([_PIN_CODES[PinPolicy.NEVER]])
        )
        try:
            self._session.send(IMPORT, slots.CODES[Algorithm.P256], slot, worthless)
        except ApduError:
            return False
        return True

    def _put(self, spec: KeySpec, work: Callable[[int], PublicKey], *, imported: bool) -> KeyFacts:
        """`work` on the given slot, or on the best free one that the card really has. A key that cannot be
        finished is taken back."""
        session = self._session
        refusal: ApduError | None = None
        for slot in self._places(spec):
            self._login.management()
            try:
                self.begun.begin(slot, spec.algorithm, imported=imported)
                public = work(slot)
            except ValueError:  # the key was made, and told in an answer that cannot be read
                self.begun.take_back()
                raise
            except ApduError as error:
                self.begun.refused()
                refusal = error
                if spec.place is not None or not self._may_go_on(slot, spec.algorithm, error):
                    raise
            else:
                return self._finished(slot, public, spec)
        if refusal is not None and refusal.sw == WRONG_DATA:
            if all((slot, spec.algorithm) in session.unfit for slot in slots.preferred(spec)):
                session.refused.add(spec.algorithm)
            raise refusal
        raise TokenFull(f"every slot of {session.identity.label} is in use")

    def _finished(self, slot: int, public: PublicKey, spec: KeySpec) -> KeyFacts:
        try:
            made = self._made(slot, public, spec)
        except (ApduError, ValueError):
            self.begun.take_back()
            raise
        self.begun.finish()
        return made

    def _may_go_on(self, slot: int, algorithm: Algorithm, error: ApduError) -> bool:
        """Whether another slot may take a key that this one refuses; what was learned is remembered.

        Cards of other makers are known on which each slot takes keys of some algorithms only, and the
        retired ones all the same.
        """
        session = self._session
        if error.sw == WRONG_DATA and not session.identity.yubikey:
            alike = slots.RETIRED if slot in slots.RETIRED else (slot,)
            session.unfit.update((other, algorithm) for other in alike)
            return True
        if slot in slots.STANDARD or error.sw not in NO_SUCH_SLOT:
            return False
        session.missing.add(slot)
        return True

    def _send(self, ins: int, p1: int, slot: int, data: bytes, asked: Algorithm | None = None) -> bytes:
        """Send, and remember when the card takes `asked` in no slot."""
        try:
            return self._session.send(ins, p1, slot, data)
        except ApduError as error:
            everywhere = error.sw == WRONG_DATA and self._session.identity.yubikey
            unknown = everywhere or (error.sw in NO_SUCH_SLOT and slot in slots.STANDARD)
            if asked is not None and unknown:
                self._session.refused.add(asked)
            raise

    def _places(self, spec: KeySpec) -> Iterator[int]:
        if spec.place is None:
            yield from vacancy.free(self._session, self._login, spec)
            return
        slot = slots.parse(spec.place)
        if not vacancy.is_free(self._session, slot):
            question = f"overwrite the key in slot {spec.place} of {self._session.identity.label}?"
            if not self._session.options.interaction.confirm(question):
                raise Cancelled(f"slot {spec.place} of {self._session.identity.label} is in use")
        yield slot

    def _under_policies(self, spec: KeySpec, slot: int, work: Callable[[bytes], bytes]) -> bytes:
        """`work` with the policies. Other makers' cards are told the usual one, too, unless they refuse it:
        applets are known that leave a new key the policy of the one before, which may ask for no PIN.
        """
        policies = self._policies(spec, slot)
        if not policies and not self._session.identity.yubikey:
            with suppress(ApduError):
                return work(bytes(Tlv(TAG_PIN_POLICY, bytes([_PIN_CODES[slots.usual_pin_policy(slot)]]))))
        return work(policies)

    def _policies(self, spec: KeySpec, slot: int) -> bytes:
        """The YubiKey's policy objects; left out where the slot's usual policy is what was asked."""
        octets = b""
        if spec.pin_policy not in (PinPolicy.DEFAULT, slots.usual_pin_policy(slot)):
            octets += Tlv(TAG_PIN_POLICY, bytes([_PIN_CODES[spec.pin_policy]]))
        if spec.touch_policy not in (TouchPolicy.DEFAULT, TouchPolicy.NEVER):
            octets += Tlv(TAG_TOUCH_POLICY, bytes([_TOUCH_CODES[spec.touch_policy]]))
        return octets

    def _made(self, slot: int, public: PublicKey, spec: KeySpec) -> KeyFacts:
        pin = spec.pin_policy if spec.pin_policy is not PinPolicy.DEFAULT else slots.usual_pin_policy(slot)
        touch = spec.touch_policy if spec.touch_policy is not TouchPolicy.DEFAULT else TouchPolicy.NEVER
        made = KeyFacts(slot, public, pin, touch)
        self._session.destroyed.discard(public)  # the same key may be imported again
        if self._session.identity.yubikey and facts.tells_metadata(self._session):
            return made
        return self._told(slot) or self._certified(made, spec)

    def _told(self, slot: int) -> KeyFacts | None:
        """What another maker's card with metadata says of a key just made; None where it does not."""
        session = self._session
        if not facts.tells_metadata(session) or facts.metadata(session, slot) == facts.UNTOLD:
            return None
        self.begun.unmark()
        return facts.read(session, slot)

    def _certified(self, made: KeyFacts, spec: KeySpec) -> KeyFacts:
        """The key with a certificate of ours beside it, which tells what it is."""
        certificate = _certificate(made, spec.label or f"slot {slots.name(made.slot)}")
        value = Tlv(0x70, certificate) + Tlv(0x71, b"\0")
        filler = Tlv(FILLER, bytes(max(0, RESERVED - len(value))))
        objects.write(self._session, slots.CERTIFICATES[made.slot], value + filler + Tlv(0xFE))
        return made


def _generated(algorithm: Algorithm, answer: bytes) -> PublicKey:
    """The public key that GENERATE answered, in its template or bare. Raises ValueError."""
    try:
        return facts.parse_public(algorithm, tlv.unwrap(TAG_PUBLIC_KEY, answer))
    except ValueError:
        return facts.parse_public(algorithm, answer)


def _certificate(made: KeyFacts, label: str) -> bytes:
    """A wrapper for the public key on cards that tell it no other way; nobody vouches by its signature.

    The policies stand in it as they do in a YubiKey's attestation.
    """
    key = to_cryptography(made.public)
    told = bytes([_PIN_CODES[made.pin_policy], _TOUCH_CODES[made.touch_policy]])
    assert isinstance(
        key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | x25519.X25519PublicKey
    )
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, label[:64])]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "meshhw key holder")]))
        .public_key(key)
        .serial_number(secrets.randbits(120) | 1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=36500))
        .add_extension(x509.UnrecognizedExtension(POLICIES, told), critical=False)
    )
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.DER)


def _loaded(private: PrivateKey) -> Loaded:
    """The key as a library object. Raises NotSupported, UsageError."""
    algorithm, octets = private.algorithm, private.octets
    try:
        if algorithm.family is Family.WEIERSTRASS:
            big_endian = octets[::-1] if private.form is SecretForm.SCALAR else octets
            curve = ec.SECP256R1() if algorithm is Algorithm.P256 else ec.SECP384R1()
            return ec.derive_private_key(int.from_bytes(big_endian, "big"), curve)
        if algorithm is Algorithm.X25519:
            if private.form is SecretForm.SCALAR and octets != _clamped(octets):
                raise NotSupported("the card would clamp this scalar", hint="give it in the clamp's shape")
            return x25519.X25519PrivateKey.from_private_bytes(octets)
        if private.form is SecretForm.SCALAR:
            raise NotSupported(f"PIV cards take {algorithm} keys as seeds, not as scalars")
        if algorithm is Algorithm.ED25519:
            return ed25519.Ed25519PrivateKey.from_private_bytes(octets)
        key = serialization.load_der_private_key(octets, None)
    except ValueError as error:
        raise UsageError(f"these are not the octets of a private key of {algorithm}") from error
    if not isinstance(key, rsa.RSAPrivateKey) or key.private_numbers().public_numbers.e != _EXPONENT:
        raise NotSupported(f"PIV cards take RSA keys with the exponent {_EXPONENT} alone")
    return key


def _parts(key: Loaded) -> bytes:
    """The data objects of the YubiKey's import instruction."""
    if isinstance(key, rsa.RSAPrivateKey):
        numbers, length = key.private_numbers(), key.key_size // 16
        values = (numbers.p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp)
        return b"".join(Tlv(tag, value.to_bytes(length, "big")) for tag, value in enumerate(values, 1))
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return bytes(Tlv(0x06, key.private_numbers().private_value.to_bytes(key.key_size // 8, "big")))
    return bytes(Tlv(0x07 if isinstance(key, ed25519.Ed25519PrivateKey) else 0x08, key.private_bytes_raw()))


def _clamped(octets: bytes) -> bytes:
    """RFC 7748 section 5."""
    if len(octets) != 32:
        return b""
    return bytes([octets[0] & 0xF8]) + octets[1:-1] + bytes([octets[-1] & 0x7F | 0x40])
