"""Which slots may be given a new key without destroying anything.

Cards with metadata are asked. On others a key shows by its certificate, or by a use: without the PIN a slot
that holds a key asks for it, and an empty one says that nothing is there. Cards are known that ask for the
PIN before they look; there a use with the PIN tells. What is signed then is a digest of zeros, which is no
message's, so the signature is worth nothing; the use log has it. The private key 1, which everybody knows,
is nobody's, and not in the log.
"""

from __future__ import annotations

from collections.abc import Iterator

from yubikit.core import Tlv
from yubikit.core.smartcard import ApduError

from meshhw.algorithms import Algorithm, Family, Operation
from meshhw.keystore.api import KeySpec
from meshhw.keystore.uri import KeyURI
from meshhw_piv import facts, objects, slots, tlv
from meshhw_piv.codes import SECURITY_NOT_SATISFIED
from meshhw_piv.instructions import AUTHENTICATE
from meshhw_piv.login import Login
from meshhw_piv.session import CardSession

CHALLENGE, RESPONSE, EXPONENTIATION, DYNAMIC = 0x81, 0x82, 0x85, 0x7C
RSA1024, RSA1024_LENGTH = 0x06, 128
BASE_POINT = b"\x09" + bytes(31)
"""Of X25519 (RFC 7748, 4.1)."""


def free(session: CardSession, login: Login, spec: KeySpec) -> Iterator[int]:
    """The free slots, best first; where none shows without the PIN, those that show with it."""
    told = facts.tells_metadata(session)
    for slot in _places(session, spec):
        if (told or slot not in slots.last_resort(spec)) and is_free(session, slot):
            yield slot
    if told:
        return
    login.user()
    yield from (slot for slot in _places(session, spec) if is_free(session, slot, login))


def _places(session: CardSession, spec: KeySpec) -> Iterator[int]:
    """The slots that the card has, and that it has not refused such a key in meanwhile."""
    for slot in slots.preferred(spec):
        if slot not in session.missing and (slot, spec.algorithm) not in session.unfit:
            yield slot


def is_free(session: CardSession, slot: int, login: Login | None = None) -> bool:
    """Whether a new key may go into a slot without destroying anything that can be seen.

    With `login` the PIN has been verified, and is again for a slot that wants it each time.
    """
    try:
        if facts.read(session, slot) is not None or facts.certificate(session, slot) is not None:
            return False
    except ValueError:  # a certificate that cannot be read
        return False
    mark = objects.read(session, slots.CERTIFICATES[slot])
    if facts.is_emptied(mark) or facts.unfinished(mark) is not None:
        return True
    if facts.tells_metadata(session):
        algorithm = facts.metadata(session, slot).get(facts.ALGORITHM, b"\0")[0]
        return not algorithm or algorithm in slots.ALGORITHMS  # what `read` knows, it would have shown
    return not _seems_used(session, slot, login)


def _seems_used(session: CardSession, slot: int, login: Login | None) -> bool:
    """On a card without metadata: whether a use shows a key that was not emptied."""
    if slot == slots.CARD_AUTHENTICATION:  # its key needs no PIN, and would really be used
        return True
    for code, tag, data in _uses():
        if login is not None and slot == slots.SIGNATURE:
            login.again()
        try:
            _exchange(session, slot, code, tag, data)
        except ApduError as error:
            if error.sw == SECURITY_NOT_SATISFIED:
                return True
        else:
            if code == slots.CODES[Algorithm.P256] and _is_emptied(session, slot):
                return False
            used = Operation.AGREE if tag == EXPONENTIATION else Operation.SIGN
            session.options.recorder.record(_uri(session, slot), used, "ok")
            return True
    return False


def _uri(session: CardSession, slot: int) -> KeyURI:
    return session.identity.uri.key(slot=slots.name(slot))


def _uses() -> Iterator[tuple[int, int, bytes]]:
    """One use for each algorithm that a card may have."""
    for algorithm, code in slots.CODES.items():
        montgomery = algorithm.family is Family.MONTGOMERY
        length = 32 if algorithm is Algorithm.ED25519 else algorithm.field_length
        yield code, EXPONENTIATION if montgomery else CHALLENGE, BASE_POINT if montgomery else bytes(length)
    yield RSA1024, CHALLENGE, bytes(RSA1024_LENGTH)


def _is_emptied(session: CardSession, slot: int) -> bool:
    """Whether the key is the private key 1, which returns what it is given; another one's use is recorded."""
    code = slots.CODES[Algorithm.P256]
    try:
        answer = _exchange(session, slot, code, EXPONENTIATION, facts.GENERATOR_P256)
        result = tlv.unwrap(RESPONSE, tlv.unwrap(DYNAMIC, answer))
    except (ApduError, ValueError):
        return False
    if result == facts.GENERATOR_P256[1:33]:
        return True
    session.options.recorder.record(_uri(session, slot), Operation.AGREE, "ok")
    return False


def _exchange(session: CardSession, slot: int, code: int, tag: int, data: bytes) -> bytes:
    return session.send(AUTHENTICATE, code, slot, Tlv(DYNAMIC, Tlv(RESPONSE) + Tlv(tag, data)))
