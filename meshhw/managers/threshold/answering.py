"""A holder's side of a request from another machine: what it is shown, what it checks, what it answers.

It answers about the point in the named envelope's header and the one verification point, and nothing else,
and an id once. The id is written down before any token is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from meshhw import files
from meshhw.algorithms import Algorithm, PublicKey
from meshhw.curves.check import decode_checked
from meshhw.curves.named import curve_named
from meshhw.dare.header import Header, parse_header
from meshhw.errors import (
    Cancelled,
    FormatError,
    IntegrityError,
    KeyNotFound,
    MeshError,
    SignatureInvalid,
    StateError,
    TokenNotFound,
)
from meshhw.jsonbcd import decode as decode_json
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.uri import KeyURI
from meshhw.managers.host import Host
from meshhw.managers.threshold import descriptor
from meshhw.managers.threshold.asking import DECRYPT, epk_in
from meshhw.managers.threshold.demand import Demand
from meshhw.managers.threshold.descriptor import Loaded
from meshhw.managers.threshold.signed import open_descriptor, open_object, sign_object
from meshhw.managers.threshold.store import KeyStore, Store
from meshhw.managers.threshold.tokens import OpenTokens
from meshhw.managers.threshold.use import Say, TokenHolder, find_holders, saying
from meshhw.schema.threshold import (
    ThresholdAnswer,
    ThresholdKey,
    ThresholdRequest,
    ThresholdResponse,
)
from meshhw.udf import fingerprint

Confirm = Callable[[str], bool]
_QUESTIONS = 2
_CONSENT = "answer yes, or repeat with --yes when you have compared what is asked"
LIMIT = 4 << 20
"""Octets of a request, the descriptor and the envelope's header in it."""


def respond(octets: bytes, home: Path, options: OpenOptions) -> bytes:
    """The answer's envelope, signed by this machine's device and encrypted to the request's key.

    What the tokens will ask for is told after the person agreed, and before they are asked.

    Raises Cancelled when the person says no, SignatureInvalid, IntegrityError or FormatError for a request
    that is not in order, StateError for one that was answered, TokenNotFound when no holder's token is
    here.
    """
    if len(octets) > LIMIT:
        raise FormatError("that is too large for a request")
    asked, signer, _ = open_object(octets, ThresholdRequest)
    confirm = options.interaction.confirm
    store, host = Store(home).at(asked.name), Host(home)
    loaded = _trusted(asked, store, host, confirm)
    header = _check(asked, signer, loaded)
    _answered(asked, store.path.parent / "answered.json")  # before anybody is asked anything
    key = loaded.key("decryption")
    with OpenTokens(options) as tokens:
        present, _ = find_holders(key, key.holders, tokens)
        if not present:
            raise TokenNotFound(f"no token of a holder of {asked.name} is here")
        if not confirm(_question(asked, signer, header, present)):
            raise Cancelled("the request was not answered", hint=_CONSENT)
        demand = Demand()
        for holder in present[: key.threshold]:
            demand.add(tokens, KeyURI.parse(holder.uri).token, holder.needs, _QUESTIONS)
        demand.add_key(tokens, descriptor.local_device(host, tokens).key_uri)
        saying(options)(demand.text(f"{asked.name}: answering for {len(present[: key.threshold])}"))
        _answer_once(asked, store.path.parent / "answered.json")
        response = ThresholdResponse(
            id=asked.id,
            generation=key.generation,
            answers=tuple(_answers(asked, key, present, saying(options))),
        )
        reader = PublicKey(Algorithm.X25519, asked.response_key)
        with descriptor.device_signer(host, tokens) as own:
            return sign_object(response, own, readers=[reader]).octets()


def _trusted(asked: ThresholdRequest, store: KeyStore, host: Host, confirm: Confirm) -> Loaded:
    """The request's descriptor, if it carries on from what was seen here; else if the person trusts its
    device.
    """
    known = descriptor.local_devices(host)
    value, device, _ = open_descriptor(asked.descriptor)
    mine = _known(store, host)
    if mine is not None and mine.value.identifier != value.identifier:
        raise IntegrityError(
            f"another threshold key is called {value.name} here", hint="one of the two must be made anew"
        )
    if device not in known and not store.may_sign(value.identifier, fingerprint(device)):
        what = "was not listed before" if store.was_seen(value.identifier) else "is new here"
        question = f"the descriptor of {value.name} is signed by device {fingerprint(device)}, which {what}."
        if not confirm(f"{question} Trust it?"):
            raise Cancelled("the descriptor is not trusted, nothing was answered", hint=_CONSENT)
        known.append(device)
    if mine is None or mine.value.version < value.version:
        return descriptor.keep(asked.descriptor, store, known)
    return descriptor.read(asked.descriptor, store, known)


def _known(store: KeyStore, host: Host) -> Loaded | None:
    try:
        return descriptor.load(store, host)
    except KeyNotFound:
        return None


def _check(asked: ThresholdRequest, signer: PublicKey, loaded: Loaded) -> Header:
    """The envelope's header, if the request is one that may be answered."""
    key = loaded.key("decryption")
    if signer not in descriptor.devices_of(loaded.value):
        raise SignatureInvalid("the request is not signed by a device that the descriptor lists")
    if asked.identifier != loaded.value.identifier or asked.generation != key.generation:
        raise IntegrityError("the request is for another generation of the key")
    if asked.purpose != DECRYPT:
        raise FormatError(f"the request is to {asked.purpose[:20]!r}, which is not answered")
    if asked.expires < datetime.now(UTC):
        raise StateError("the request has expired", hint="ask for a new one")
    members = decode_json(asked.header)
    if not isinstance(members, dict):
        raise FormatError("the request's header is no object")
    header = parse_header(members)
    if epk_in(header, key.udf).octets != asked.epk:
        raise IntegrityError("the point that is asked about is not the one of the envelope's header")
    return header


def _question(asked: ThresholdRequest, signer: PublicKey, header: Header, present: list[TokenHolder]) -> str:
    names = ", ".join(str(holder.index) for holder in present)
    signers = ", ".join(header.signers) or "nobody"
    return (
        f"device {fingerprint(signer)} asks holder {names} of {asked.name} to help {asked.purpose} "
        f"an envelope (Salt {(header.salt or b'').hex()}, signed by {signers}); "
        f"request {asked.id.hex()} of {asked.created}, until {asked.expires}. Answer?"
    )


def _answer_once(asked: ThresholdRequest, path: Path) -> None:
    with files.locked(path):
        kept = {name: until for name, until in _answered(asked, path).items() if until > datetime.now(UTC)}
        files.replace(path, msgspec.json.encode(kept | {asked.id.hex(): asked.expires}))


def _answered(asked: ThresholdRequest, path: Path) -> dict[str, datetime]:
    """The ids that were answered here. Raises StateError when this request's is one of them, FormatError."""
    data = files.read_private(path, LIMIT)
    try:
        answered = msgspec.json.decode(data, type=dict[str, datetime]) if data else {}
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FormatError(
            f"{path} is damaged",
            hint="put it back from a copy: without it one request could be answered twice",
        ) from error
    if asked.id.hex() in answered:
        raise StateError("this request was answered already", hint="an id is answered once; ask anew")
    return answered


def _answers(
    asked: ThresholdRequest, key: ThresholdKey, present: list[TokenHolder], say: Say
) -> Iterator[ThresholdAnswer]:
    """Answers of as many holders as could ever be needed. Raises the last fault when nobody answers."""
    answered, fault = 0, None
    for holder in present:
        if answered == key.threshold:
            return
        try:
            yield _answer(asked, key.algorithm, holder)
            answered += 1
        except Cancelled:
            raise
        except MeshError as error:
            say(f"holder {holder.index} of {asked.name} failed: {error.message}")
            fault = error
    if fault is not None and not answered:
        raise fault


def _answer(asked: ThresholdRequest, algorithm: str, holder: TokenHolder) -> ThresholdAnswer:
    curve = curve_named(algorithm)
    epk, verification = (decode_checked(curve, octets) for octets in (asked.epk, asked.verification))
    return ThresholdAnswer(
        index=holder.index,
        epk=holder.partial(epk).point.x_octets(),
        verification=holder.partial(verification).point.x_octets(),
    )
