"""What a card says of the key in a slot: by metadata where it has them, else by the slot's certificate."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from yubikit.core import Tlv
from yubikit.core.smartcard import ApduError

from meshhw.algorithms import Algorithm, Family, PublicKey
from meshhw.errors import InvalidPublicKey
from meshhw.keystore.api import PinPolicy, TouchPolicy
from meshhw.keystore.attestation_piv import policies
from meshhw.pubkeys import from_cryptography
from meshhw_piv import objects, slots
from meshhw_piv.codes import ABSENT, SECURITY_NOT_SATISFIED
from meshhw_piv.instructions import ATTEST, AUTHENTICATE, GET_METADATA, MANAGEMENT
from meshhw_piv.session import CardSession

UNKNOWN_INSTRUCTION = 0x6D00
LONGEST_CERTIFICATE = 16384
GENERATOR_P256 = bytes.fromhex(
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
"""The public key of the private key 1: what a slot holds whose key was destroyed by overwriting."""
EMPTIED = bytes(Tlv(0xD0, b"empty"))
"""In place of a slot's certificate, on cards where its key could only be replaced by a random one."""


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """A slot's key as far as the card tells; policies are the slot's usual ones where it does not."""

    slot: int
    public: PublicKey
    pin_policy: PinPolicy
    touch_policy: TouchPolicy = TouchPolicy.NEVER
    generated: bool | None = None

    @property
    def algorithm(self) -> Algorithm:
        """The key's algorithm."""
        return self.public.algorithm


def read(session: CardSession, slot: int) -> KeyFacts | None:
    """The key in a slot, None for an empty slot or a key of an unknown algorithm."""
    facts = None if session.identity.yubikey else _from_certificate(session, slot, own=True)
    if facts is None:
        facts = _from_metadata(session, slot) if knows_metadata(session) else _from_certificate(session, slot)
    return None if facts is None or facts.public.octets == GENERATOR_P256 else facts


def knows_metadata(session: CardSession) -> bool:
    """Whether the card may answer GET METADATA (YubiKeys from 5.3; others are asked)."""
    return not session.identity.yubikey or session.identity.version >= (5, 3, 0)


def is_free(session: CardSession, slot: int) -> bool:
    """Whether a new key may go into a slot without destroying anything that can be seen."""
    if read(session, slot) is not None or certificate(session, slot) is not None:
        return False
    if objects.read(session, slots.CERTIFICATES[slot]) == EMPTIED:
        return True
    return tells_metadata(session) or not _seems_used(session, slot)


def certificate(session: CardSession, slot: int) -> bytes | None:
    """The DER certificate in a slot's data object, None without one. Raises ValueError for a torn one."""
    value = objects.read(session, slots.CERTIFICATES[slot])
    fields = Tlv.parse_dict(value) if value is not None else {}
    if 0x70 not in fields:
        return None
    return _inflated(fields[0x70]) if fields.get(0x71, b"\0") == b"\1" else fields[0x70]


def tells_metadata(session: CardSession) -> bool:
    """Whether the card answers GET METADATA at all, asked by its management key."""
    if not knows_metadata(session):
        return False
    try:
        session.send(GET_METADATA, 0, MANAGEMENT)
    except ApduError:
        return False
    return True


def parse_public(algorithm: Algorithm, encoded: bytes) -> PublicKey:
    """A public key from the data objects of GENERATE (SP 800-73-4 part 2, table 11). Raises ValueError."""
    fields = Tlv.parse_dict(encoded)
    if algorithm.family is Family.RSA:
        numbers = rsa.RSAPublicNumbers(
            int.from_bytes(fields.get(0x82, b""), "big"), int.from_bytes(fields.get(0x81, b""), "big")
        )
        return from_cryptography(numbers.public_key())
    return PublicKey(algorithm, fields.get(0x86, b""))


def _from_metadata(session: CardSession, slot: int) -> KeyFacts | None:
    try:
        fields = Tlv.parse_dict(session.send(GET_METADATA, 0, slot))
    except ApduError as error:
        if error.sw == UNKNOWN_INSTRUCTION:
            return _from_certificate(session, slot)
        if error.sw in ABSENT:
            return None
        raise
    algorithm = slots.ALGORITHMS.get(fields.get(0x01, b"\0")[0])
    policies = fields.get(0x02, b"\0\0")
    if algorithm is None:
        return None
    return KeyFacts(
        slot,
        parse_public(algorithm, fields.get(0x04, b"")),
        slots.PIN_POLICIES.get(policies[0], slots.usual_pin_policy(slot)),
        slots.TOUCH_POLICIES.get(policies[1], TouchPolicy.NEVER),
        fields.get(0x03) == b"\1",
    )


def _from_certificate(session: CardSession, slot: int, *, own: bool = False) -> KeyFacts | None:
    """With `own`, only a certificate that this program wrote, and that tells the policies, counts."""
    der = certificate(session, slot)
    if der is None:
        return None
    try:
        public = from_cryptography(x509.load_der_x509_certificate(der).public_key())
        told = policies(der)
    except (InvalidPublicKey, ValueError):
        return None
    if told is None and own:
        return None
    if told is None and session.identity.yubikey:
        told = _attested_policies(session, slot)
    if told is None:
        return KeyFacts(slot, public, slots.usual_pin_policy(slot))
    return KeyFacts(slot, public, PinPolicy(told[0]), TouchPolicy(told[1]))


def _attested_policies(session: CardSession, slot: int) -> tuple[str, str] | None:
    """Firmware before 5.3 tells a generated key's policies only in its attestation."""
    try:
        return policies(session.send(ATTEST, slot, 0))
    except (ApduError, ValueError):
        return None


def _seems_used(session: CardSession, slot: int) -> bool:
    """On a card without metadata: whether a use without the PIN shows a key that was not emptied."""
    if slot == slots.CARD_AUTHENTICATION:  # its key needs no PIN, and would really be used
        return True
    for algorithm in slots.CLASSIC:
        try:
            _exchange(session, slot, algorithm, 0x81, bytes(algorithm.field_length))
        except ApduError as error:
            if error.sw == SECURITY_NOT_SATISFIED:
                return True
        else:
            return algorithm is not Algorithm.P256 or not _is_emptied(session, slot)
    return False


def _is_emptied(session: CardSession, slot: int) -> bool:
    """Whether the key is the private key 1, which returns what it is given."""
    try:
        answer = _exchange(session, slot, Algorithm.P256, 0x85, GENERATOR_P256)
    except ApduError:
        return False
    return answer.endswith(GENERATOR_P256[1:33])


def _exchange(session: CardSession, slot: int, algorithm: Algorithm, tag: int, data: bytes) -> bytes:
    return session.send(AUTHENTICATE, slots.CODES[algorithm], slot, Tlv(0x7C, Tlv(0x82) + Tlv(tag, data)))


def _inflated(compressed: bytes) -> bytes:
    """A gzip certificate, of bounded length. Raises ValueError."""
    try:
        engine = zlib.decompressobj(wbits=31)
        octets = engine.decompress(compressed, LONGEST_CERTIFICATE)
    except zlib.error as error:
        raise ValueError("the certificate's compression is broken") from error
    if engine.unconsumed_tail:
        raise ValueError("the certificate is too long")
    return octets
