"""Asking holders on other machines: the signed request, and what is kept until their answers come.

The blinding of the verification point and the response key are sealed by the device's own token meanwhile.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import msgspec

from meshhw.algorithms import Algorithm, PrivateKey, PublicKey
from meshhw.curves.check import decode_checked
from meshhw.curves.named import curve_named
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import KeyRing
from meshhw.dare.header import Header, Recipient, parse_header
from meshhw.dare.keys import public_from_jose
from meshhw.dare.local import LocalKey
from meshhw.dare.naming import same_kid
from meshhw.dare.stream import EnvelopeStream
from meshhw.errors import FormatError, IntegrityError, KeyNotFound, ShareError, StateError
from meshhw.jsonbcd import canonical
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.log import UseRecorder
from meshhw.managers.host import Host, now
from meshhw.managers.threshold import descriptor
from meshhw.managers.threshold.demand import Demand, unseal_needs
from meshhw.managers.threshold.descriptor import Loaded
from meshhw.managers.threshold.signed import open_object, sign_object
from meshhw.managers.threshold.store import KeyStore, Store
from meshhw.managers.threshold.tokens import OpenTokens
from meshhw.managers.threshold.use import Say, ThresholdPrivateKey, saying
from meshhw.privkeys import public_key_of
from meshhw.schema.threshold import ThresholdAnswer, ThresholdKey, ThresholdRequest, ThresholdResponse
from meshhw.threshold.followup import FollowUp, blinded_follow_up
from meshhw.threshold.holders import GivenHolder
from meshhw.udf import fingerprint

DECRYPT = "decrypt"
LIFETIME = timedelta(days=7)
_ID_OCTETS = 16
_LIMIT = 1 << 20
_SEAL = b"meshhw/threshold/request/1"


class _Pending(msgspec.Struct, frozen=True):
    """What is kept of a request: where its secrets are sealed, and for which response key."""

    response_udf: str
    token: str
    expires: datetime
    sealed: bytes


class _Secrets(msgspec.Struct, frozen=True):
    response_key: bytes
    epk: bytes
    point: bytes
    scale: str
    shift: str

    def __repr__(self) -> str:
        return "_Secrets()"


def request(source: BinaryIO, home: Path, options: OpenOptions) -> bytes:
    """The request's envelope for the threshold key that this envelope is encrypted to.

    Raises KeyNotFound when it is for none that is known here.
    """
    header_members = EnvelopeStream(source).members
    header = parse_header(header_members)
    store, loaded, recipient = _addressed(header, home)
    key = loaded.key("decryption")
    epk = _epk(recipient)
    follow_up = blinded_follow_up(decode_checked(curve_named(key.algorithm), epk.octets))
    identifier, response = secrets.token_bytes(_ID_OCTETS), _response_key()
    asked = ThresholdRequest(
        id=identifier,
        name=loaded.value.name,
        identifier=loaded.value.identifier,
        generation=key.generation,
        purpose=DECRYPT,
        header=canonical(header_members),
        epk=epk.octets,
        verification=follow_up.point.encode(),
        response_key=public_key_of(response).octets,
        created=now(),
        expires=now() + LIFETIME,
        descriptor=store.descriptor(),
    )
    kept = _Secrets(
        response.octets, epk.octets, follow_up.point.encode(), hex(follow_up.scale), hex(follow_up.shift)
    )
    with OpenTokens(options) as tokens:
        listed = descriptor.devices_of(loaded.value)
        device = descriptor.local_device(Host(home), tokens, among=listed)
        demand = Demand()
        demand.add_key(tokens, device.key_uri)
        saying(options)(demand.text(f"{loaded.value.name}: a device asks"))
        _keep(store, tokens, str(device.key_uri.token), asked, kept)
        with descriptor.device_signer(Host(home), tokens, among=[device.public_key]) as signer:
            return sign_object(asked, signer).octets()


@contextmanager
def answered_keys(
    files: Sequence[Path], home: Path, options: OpenOptions
) -> Iterator[list[ThresholdPrivateKey]]:
    """Threshold keys that can use the answers in these files. When the block ends well, the requests are
    forgotten.

    A holder whose answer is wrong is told of and left out. Raises KeyNotFound for an answer to no request of
    this home, StateError for a late one, ShareError for a file in which no answer is right.
    """
    with OpenTokens(options) as tokens:
        say = saying(options)
        answers = [_answer(path, home, tokens, options.recorder, say) for path in files]
        keys = []
        for name in dict.fromkeys(answer.store.name for answer in answers):
            own = [answer for answer in answers if answer.store.name == name]
            given = [holder for answer in own for holder in answer.holders]
            keys.append(ThresholdPrivateKey(own[0].loaded, tokens, given=given, say=say))
        yield keys
    for answer in answers:
        answer.store.discard(answer.pending)


@dataclass(frozen=True)
class _Answer:
    store: KeyStore
    loaded: Loaded
    pending: str
    holders: list[GivenHolder]


def _answer(path: Path, home: Path, tokens: OpenTokens, recorder: UseRecorder, say: Say) -> _Answer:
    """The answer in a file. What is malformed in it is told with the file's name."""
    try:
        return _read(_octets(path), home, tokens, recorder, say)
    except FormatError as error:
        error.message = f"{path} is no answer: {error.message}"
        raise


def _octets(path: Path) -> bytes:
    with path.open("rb") as file:
        octets = file.read(_LIMIT + 1)
    if len(octets) > _LIMIT:
        raise FormatError("it is too large")
    return octets


def _read(octets: bytes, home: Path, tokens: OpenTokens, recorder: UseRecorder, say: Say) -> _Answer:
    envelope = Envelope.parse(octets)
    store, name, pending = _pending(envelope.header, home)
    loaded = descriptor.load(store, Host(home))
    demand = Demand()
    demand.add(tokens, pending.token, unseal_needs(tokens, pending.token, pending.sealed))
    if demand.pins or demand.touches:
        say(demand.text(f"{store.name}: a device opens its request"))
    purpose = _SEAL + bytes.fromhex(name.partition("-")[2])
    kept = msgspec.msgpack.decode(tokens.sealer(pending.token).unseal(pending.sealed, purpose), type=_Secrets)
    ring = KeyRing([LocalKey(PrivateKey(Algorithm.X25519, kept.response_key), recorder)])
    response, _, _ = open_object(octets, ThresholdResponse, ring)
    key = loaded.key("decryption")
    if response.id.hex() != name.partition("-")[2] or response.generation != key.generation:
        raise IntegrityError("the answer is to another request, or of another generation of the key")
    return _Answer(store, loaded, name, _holders(key, response, kept, say))


def _holders(key: ThresholdKey, response: ThresholdResponse, kept: _Secrets, say: Say) -> list[GivenHolder]:
    """The holders whose answers fit their public shares. Raises ShareError when none does."""
    found, faults = [], []
    for answer in response.answers:
        try:
            found.append(_holder(key, answer, kept))
        except ShareError as error:
            faults.append(error)
    if not found:
        raise faults[0] if faults else FormatError("the answer is empty")
    for fault in faults:
        say(f"left out: {fault.message}")
    return found


def _holder(key: ThresholdKey, answer: ThresholdAnswer, kept: _Secrets) -> GivenHolder:
    curve = curve_named(key.algorithm)
    return GivenHolder.of(
        answer.index,
        descriptor.share_point(key, answer.index),
        curve.decode(kept.epk),
        (answer.epk, answer.verification),
        FollowUp(curve.decode(kept.point), int(kept.scale, 16), int(kept.shift, 16)),
    )


def _addressed(header: Header, home: Path) -> tuple[KeyStore, Loaded, Recipient]:
    store, host = Store(home), Host(home)
    for name in store.names():
        loaded = descriptor.load(store.at(name), host)
        for recipient in header.recipients:
            if loaded.value.decryption and same_kid(recipient.kid, loaded.value.decryption.udf):
                return store.at(name), loaded, recipient
    raise KeyNotFound(
        "this envelope is for no threshold key that is known here",
        hint="`meshhw dare info` says for whom it is",
    )


def epk_in(header: Header, udf: str) -> PublicKey:
    """The ephemeral key of the recipient of that name. Raises FormatError."""
    for recipient in header.recipients:
        if same_kid(recipient.kid, udf):
            return _epk(recipient)
    raise FormatError("the header has no such recipient")


def _epk(recipient: Recipient) -> PublicKey:
    if recipient.epk is None:
        raise FormatError("the recipient's entry has no ephemeral key")
    return public_from_jose(recipient.epk)


def _response_key() -> PrivateKey:
    return PrivateKey(Algorithm.X25519, secrets.token_bytes(32))


def _keep(store: KeyStore, tokens: OpenTokens, token: str, asked: ThresholdRequest, kept: _Secrets) -> None:
    sealed = tokens.sealer(token).seal(msgspec.msgpack.encode(kept), _SEAL + asked.id)
    udf = fingerprint(PublicKey(Algorithm.X25519, asked.response_key))
    pending = _Pending(udf, token, asked.expires, sealed)
    store.save(f"request-{asked.id.hex()}", msgspec.json.encode(pending))


def _pending(header: Header, home: Path) -> tuple[KeyStore, str, _Pending]:
    for name in Store(home).names():
        store = Store(home).at(name)
        for file in [name for name in store.files() if name.startswith("request-")]:
            pending = msgspec.json.decode(store.load(file), type=_Pending)
            late = pending.expires < datetime.now(UTC)
            if late:
                store.discard(file)
            if any(same_kid(recipient.kid, pending.response_udf) for recipient in header.recipients):
                if late:
                    raise StateError("the request that this answers has expired", hint="ask anew")
                return store, file, pending
    raise KeyNotFound(
        "this answers no request of this home", hint="the request has expired, or was used already"
    )
