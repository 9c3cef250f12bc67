"""What a card says of the key in a slot: by metadata where it has them, else by the slot's certificate."""

from __future__ import annotations

import zlib
from contextlib import suppress
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from yubikit.core import Tlv
from yubikit.core.smartcard import ApduError

from meshhw.algorithms import Algorithm, Family, Operation, PublicKey
from meshhw.errors import InvalidPublicKey, NotSupported
from meshhw.keystore.api import PinPolicy, TouchPolicy
from meshhw.keystore.attestation_piv import policies
from meshhw.pubkeys import from_cryptography
from meshhw_piv import objects, slots, tlv
from meshhw_piv.codes import ABSENT, LOST_SELECTION, NO_DIAGNOSIS, UNKNOWN
from meshhw_piv.instructions import ATTEST, GET_METADATA, MANAGEMENT
from meshhw_piv.session import CardSession

LONGEST_CERTIFICATE = 16384
CERTIFICATE, ALGORITHM, POLICIES, ORIGIN, PUBLIC = 0x70, 0x01, 0x02, 0x03, 0x04
GENERATOR_P256 = bytes.fromhex(
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
"""The public key of the private key 1: what a slot holds whose key was destroyed by overwriting."""
EMPTIED = bytes(Tlv(0xD0, b"empty"))
"""In place of a slot's certificate, on cards where its key could only be replaced by a random one."""
_UNFINISHED = b"unfinished"
UNTOLD = {ALGORITHM: b"\xff"}
"""In place of the metadata of a key that the card holds, and fails to describe; FF is no algorithm."""
_GZIP_OR_ZLIB = 47
_SEQUENCE = b"\x30"


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
    # Who tells a serial number has the YubiKey's instructions, and most likely its metadata as well.
    told = session.identity.yubikey or session.identity.serial
    facts = None if told else _from_certificate(session, slot, own=True)
    if facts is None:
        facts = _from_metadata(session, slot)
    return None if facts is None or facts.public.octets == GENERATOR_P256 else facts


def tells_metadata(session: CardSession) -> bool:
    """Whether the card answers GET METADATA with what it is asked: YubiKeys do from 5.3, others are asked.

    Cards are known that answer it with nothing.
    """
    if session.metadata is None:
        if session.identity.yubikey:
            session.metadata = session.identity.version >= (5, 3, 0)
        else:
            session.metadata = ALGORITHM in _asked(session, MANAGEMENT)
    return session.metadata


def metadata(session: CardSession, reference: int) -> dict[int, bytes]:
    """What GET METADATA says of a key, the PIN or the PUK; nothing where it is not there, or not known."""
    return _asked(session, reference) if tells_metadata(session) else {}


def certificate(session: CardSession, slot: int) -> bytes | None:
    """The DER certificate in a slot's data object, None without one. Raises ValueError for a torn one."""
    value = objects.read(session, slots.CERTIFICATES[slot])
    if unfinished(value) is not None:
        session.unfinished.add(slot)
        return None
    session.unfinished.discard(slot)
    if not value or is_emptied(value):
        return None
    octets = value if value.startswith(_SEQUENCE) else tlv.fields(value).get(CERTIFICATE)
    if not octets:
        return None
    # The octets show better than the flag that should tell it, which cards leave out or set wrongly.
    return octets if octets.startswith(_SEQUENCE) else _inflated(octets)


def is_emptied(value: bytes | None) -> bool:
    """Whether a certificate's object holds the mark of a slot whose key is worth nothing."""
    return value is not None and value.rstrip(bytes(tlv.PADDING)) == EMPTIED


def unfinished_mark(code: int, room: int) -> bytes:
    """In place of the certificate of a key that is about to be made, by the code of its algorithm, and with
    the room that its certificate will need. A key that was made, and not the certificate, is found by it."""
    return bytes(Tlv(0xD0, _UNFINISHED + bytes([code])) + Tlv(0xD1, bytes(room)))


def unfinished(value: bytes | None) -> int | None:
    """The algorithm's code, if a certificate's object holds that mark."""
    try:
        mark = next(tlv.items(value or b""), None)
    except ValueError:
        return None
    known = mark is not None and mark.tag == 0xD0 and mark.value[:-1] == _UNFINISHED
    return mark.value[-1] if mark and known else None


def parse_public(algorithm: Algorithm, encoded: bytes) -> PublicKey:
    """A public key from the data objects of GENERATE (SP 800-73-4 part 2, table 11). Raises ValueError."""
    fields = tlv.fields(encoded)
    if algorithm.family is Family.RSA:
        numbers = rsa.RSAPublicNumbers(
            int.from_bytes(fields.get(0x82, b""), "big"), int.from_bytes(fields.get(0x81, b""), "big")
        )
        return from_cryptography(numbers.public_key())
    return PublicKey(algorithm, fields.get(0x86, b""))


def _asked(session: CardSession, reference: int) -> dict[int, bytes]:
    try:
        return tlv.fields(session.send(GET_METADATA, 0, reference))
    except ApduError as error:
        if error.sw in ABSENT:
            return {}
        if error.sw == NO_DIAGNOSIS and reference != MANAGEMENT and _describes_others(session):
            return UNTOLD
        elsewhere = error.sw in LOST_SELECTION and not session.fresh  # by another program
        known = session.metadata if not session.identity.yubikey else error.sw not in UNKNOWN
        if elsewhere or known:
            raise
        session.metadata = False  # whatever words it has for that
    return {}


def _describes_others(session: CardSession) -> bool:
    """Whether another maker's card has metadata, and stumbles over this key alone.

    Applets are known that do over an imported key, of which they were never given the public half.
    """
    return not session.identity.yubikey and tells_metadata(session)


def _from_metadata(session: CardSession, slot: int) -> KeyFacts | None:
    if session.identity.yubikey:
        tells_metadata(session)
    fields = _asked(session, slot) if session.metadata is not False else {}
    if session.metadata is None and ALGORITHM in fields:
        session.metadata = True  # as the key itself shows
    if not tells_metadata(session) or fields == UNTOLD:
        return _from_certificate(session, slot)
    algorithm = slots.ALGORITHMS.get(fields.get(ALGORITHM, b"\0")[0])
    told = fields.get(POLICIES, b"\0\0")
    if algorithm is None:
        return None
    try:
        public = parse_public(algorithm, fields.get(PUBLIC, b""))
    except (InvalidPublicKey, ValueError):
        return _from_certificate(session, slot)
    return KeyFacts(
        slot,
        public,
        slots.PIN_POLICIES.get(told[0], slots.usual_pin_policy(slot)),
        slots.TOUCH_POLICIES.get(told[-1], TouchPolicy.NEVER),
        # The codes of the origin are the YubiKey's; others are known that mean the opposite by them.
        fields.get(ORIGIN) == b"\1" if session.identity.yubikey else None,
    )


def _from_certificate(session: CardSession, slot: int, *, own: bool = False) -> KeyFacts | None:
    """With `own`, only a certificate that this program wrote, and that tells the policies, counts."""
    try:
        der = certificate(session, slot)
        if der is None:
            return None
        public = from_cryptography(x509.load_der_x509_certificate(der).public_key())
        told = policies(der)
    except (InvalidPublicKey, ValueError):
        return None
    if told is None and own:
        return None
    if told is None and session.identity.yubikey:
        told = _attested_policies(session, slot, public)
    if told is None:
        return KeyFacts(slot, public, slots.usual_pin_policy(slot))
    return KeyFacts(slot, public, PinPolicy(told[0]), TouchPolicy(told[1]))


def _attested_policies(session: CardSession, slot: int, public: PublicKey) -> tuple[str, str] | None:
    """Firmware before 5.3 tells a generated key's policies only in its attestation, which is a use of the
    attestation key, and asked for once."""
    key = (slot, public)
    if key not in session.attested:
        uri = session.identity.uri.key(slot=slots.name(slot))
        try:
            statement = session.send(ATTEST, slot, 0)
        except ApduError as error:
            session.options.recorder.record(uri, Operation.ATTEST, NotSupported.__name__)
            if error.sw not in LOST_SELECTION:
                session.attested[key] = None
            return None
        session.options.recorder.record(uri, Operation.ATTEST, "ok")
        with suppress(ValueError):
            session.attested[key] = policies(statement)
    return session.attested.get(key)


def _inflated(compressed: bytes) -> bytes:
    """A compressed certificate, of bounded length. Raises ValueError."""
    try:
        engine = zlib.decompressobj(wbits=_GZIP_OR_ZLIB)
        octets = engine.decompress(compressed, LONGEST_CERTIFICATE)
    except zlib.error as error:
        raise ValueError("the certificate's compression is broken") from error
    if engine.unconsumed_tail:
        raise ValueError("the certificate is too long")
    return octets
