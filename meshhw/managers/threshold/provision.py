"""Making a threshold key: dealt in a process of its own, or made by the tokens themselves; then described.

A journal says beforehand which public shares will exist, so that after a crash at any point what was
imported can be found on its token and destroyed (`roll_back`).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from meshhw.algorithms import Algorithm, Operation, PublicKey, Suite
from meshhw.curves.named import curve_named
from meshhw.curves.point import Point
from meshhw.dare.signing import Signer
from meshhw.errors import MeshError, NotSupported, StateError, TokenNotFound, UsageError
from meshhw.jsonbcd import encode_base64url
from meshhw.keystore.api import Needs, OpenOptions, Seals
from meshhw.keystore.uri import KeyURI, TokenURI
from meshhw.managers.host import Host, now
from meshhw.managers.threshold import descriptor
from meshhw.managers.threshold.copies import encrypt_copy
from meshhw.managers.threshold.deal import LEFT_BEHIND, Order
from meshhw.managers.threshold.demand import Demand
from meshhw.managers.threshold.recovering import destroy_found, undoing
from meshhw.managers.threshold.remembering import remembering
from meshhw.managers.threshold.store import KeyStore
from meshhw.managers.threshold.tokens import OpenTokens, name_of
from meshhw.managers.threshold.use import Say, silent
from meshhw.managers.threshold.worker import Worker
from meshhw.schema.keydata import key_data
from meshhw.schema.threshold import FORMAT, ThresholdDescriptor, ThresholdHolder, ThresholdKey
from meshhw.threshold.holders import as_peer
from meshhw.threshold.shares import check_numbers
from meshhw.udf import fingerprint

SIGNING = {Suite.S448: Algorithm.ED448, Suite.S25519: Algorithm.ED25519, Suite.P256: Algorithm.ED25519}
"""The signature algorithm of a quorum. P-256 has none: FROST gives Schnorr's signatures there."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a person wants of a new threshold key."""

    threshold: int
    tokens: Sequence[TokenURI]
    suite: Suite | None = None
    encrypts: bool = True
    signs: bool = True
    renewable: bool = False
    dealerless: bool = False

    def __post_init__(self) -> None:
        check_numbers(self.threshold, range(1, len(self.tokens) + 1))
        if len(set(self.tokens)) != len(self.tokens):
            raise UsageError("a token holds one share", hint="name different tokens with --on")
        if self.dealerless and (self.threshold != len(self.tokens) or self.renewable or self.signs):
            raise UsageError(
                "a dealerless key needs all its tokens, cannot be renewed, and only decrypts",
                hint="--threshold as many as tokens, --use encrypt, without --renewable",
            )
        if self.renewable and not self.encrypts:
            raise UsageError("renewal copies are encrypted to the decryption key", hint="--use encrypt,sign")
        if not (self.encrypts or self.signs):
            raise UsageError("a threshold key encrypts, signs, or both")


def provision(
    store: KeyStore, host: Host, options: OpenOptions, request: Request, say: Say = silent
) -> descriptor.Loaded:
    """Make the key, after telling what tokens will be asked. If anything fails, no share is left.

    Raises StateError when the name is taken, NotSupported when a token cannot hold its share, what the
    tokens raise.
    """
    options = remembering(options)
    with store.locked(), OpenTokens(options) as tokens:
        _finish_other(store, options)
        if store.exists:
            raise StateError(
                f"there is a threshold key {store.name} already",
                hint=f"choose another name, or `meshhw threshold delete {store.name}` first",
            )
        suite = _suite(request, tokens)
        demand = Demand()
        for token in request.tokens:
            demand.add(tokens, token, Needs(pin=True))
        demand.add_key(tokens, descriptor.local_device(host, tokens).key_uri)
        say(demand.text(f"suite {suite}"))
        with descriptor.device_signer(host, tokens) as signer:
            devices = [signer.public, *descriptor.local_devices(host)]
            maker = _Maker(store, options, request, suite, devices, secrets.token_bytes(16))
            try:
                return maker.make(signer)
            except BaseException as error:
                with undoing(error):
                    _finish_other(store, options)
                raise


def roll_back(store: KeyStore, options: OpenOptions) -> list[str]:
    """Destroy what an interrupted provisioning left, and forget it. The result names keys that could not be.

    Raises TokenNotFound when a token that may hold a share is not there; the journal then stays.
    """
    journal = store.journal()
    if journal is None or journal.get("doing") != "provision":
        return []
    if store.exists:  # the descriptor is the last step: nothing is unfinished
        store.write_journal(None)
        return []
    remains = destroy_found(journal, options)
    if remains.absent:
        raise TokenNotFound(
            f"a token that may hold a share of {store.name} is not here: {', '.join(remains.absent)}",
            hint=f"insert it and repeat the command; {_leave(store)}",
        )
    if not remains:
        store.erase()
    return list(remains.keys)


def _finish_other(store: KeyStore, options: OpenOptions) -> None:
    """Roll an interrupted provisioning back. Raises as `roll_back`, and StateError when a token that is here
    keeps a share.
    """
    left = roll_back(store, options)
    if left:
        raise StateError(f"these shares of {store.name} are left: {' '.join(left)}", hint=_leave(store))


def _leave(store: KeyStore) -> str:
    return f"`meshhw threshold delete {store.name} --forget` leaves it there"


@dataclass(frozen=True)
class _Maker:
    store: KeyStore
    options: OpenOptions
    request: Request
    suite: Suite
    devices: Sequence[PublicKey]
    """Who may change the descriptor: the device that signs it first, and the others of this machine."""
    identifier: bytes

    def make(self, signer: Signer) -> descriptor.Loaded:
        decryption = signing = None
        self.store.write_journal({"doing": "provision"})
        if self.request.encrypts:
            decryption = self._generated() if self.request.dealerless else self._dealt(self.suite.agreement)
        if self.request.signs:
            signing = self._dealt(SIGNING[self.suite], sealed=True)
        value = ThresholdDescriptor(
            format=FORMAT,
            name=self.store.name,
            identifier=self.identifier,
            version=1,
            created=now(),
            suite=self.suite.value,
            renewable=self.request.renewable,
            dealerless=self.request.dealerless,
            devices=tuple(key_data(device) for device in dict.fromkeys(self.devices)),
            decryption=decryption,
            signing=signing,
        )
        loaded = descriptor.save(value, signer, self.store)
        self.store.write_journal(None)
        return loaded

    def _dealt(self, algorithm: Algorithm, *, sealed: bool = False) -> ThresholdKey:
        order = Order(
            identifier=self.identifier,
            algorithm=algorithm.value,
            threshold=self.request.threshold,
            generation=1,
            tokens=dict(enumerate(map(str, self.request.tokens), start=1)),
            label=self._label(),
            sealed=sealed,
            renewable=self.request.renewable and not sealed,
        )
        before = self.store.journal()
        with Worker("deal", msgspec.structs.asdict(order), self.options) as worker:
            try:
                result = self._watched(worker, order)
            except MeshError as error:
                if not worker.died and LEFT_BEHIND not in error.hint:  # it has cleaned up after itself
                    self.store.write_journal(before)
                raise
        key = _described(algorithm, order, result)
        for told in result["holders"]:
            if sealed:
                self.store.save(f"signing-1-{told['index']}", told["sealed"])
            elif told["copy"] is not None:
                copy = encrypt_copy(descriptor.group_public(key), told["copy"])
                self.store.save(f"copy-1-{told['index']}.dare", copy)
        return key

    def _watched(self, worker: Worker, order: Order) -> dict[str, Any]:
        """Write down what the dealing process is about to import, and has imported, before it goes on."""
        self._note_shares(order, worker.told()["shares"])
        worker.answer()
        for _ in () if order.sealed else order.tokens:
            self._note_key(worker.told()["key"])
            worker.answer()
        result: dict[str, Any] = worker.result()
        return result

    def _generated(self) -> ThresholdKey:
        """A dealerless key: a process for each holder, so that none knows another's before it has
        committed.
        """
        algorithm = self.suite.agreement
        workers: dict[int, Worker] = {}
        try:
            committed = {}
            for index, token in enumerate(self.request.tokens, start=1):
                arguments = {"algorithm": algorithm.value, "token": str(token), "index": index}
                workers[index] = Worker("generate", arguments | {"label": self._label()}, self.options)
                committed[index] = workers[index].told()
                self._note_key(committed[index]["key"])
            for worker in workers.values():
                worker.answer({index: told["commitment"] for index, told in committed.items()})
            revealed = {index: worker.told() for index, worker in workers.items()}
            for worker in workers.values():
                worker.answer(revealed)
            made = [worker.result() for worker in workers.values()]
        finally:
            for worker in workers.values():
                worker.close()
        return _summed(algorithm, made)

    def _label(self) -> str:
        return f"threshold {self.store.name} {self.identifier[:4].hex()} g1"

    def _note_shares(self, order: Order, shares: dict[int, bytes]) -> None:
        """Sealed shares are files here and go with them; imported ones must be found on their tokens."""
        if order.sealed:
            return
        journal = self.store.journal() or {}
        places = [[order.tokens[index], encode_base64url(octets)] for index, octets in shares.items()]
        self.store.write_journal(journal | {"algorithm": order.algorithm, "shares": places})

    def _note_key(self, uri: str) -> None:
        journal = self.store.journal() or {}
        self.store.write_journal(journal | {"keys": [*journal.get("keys", ()), uri]})


def _described(algorithm: Algorithm, order: Order, result: dict[str, Any]) -> ThresholdKey:
    commitments = tuple(result["commitments"])
    point = curve_named(algorithm).decode(commitments[0])
    holders = tuple(
        ThresholdHolder(
            index=told["index"],
            share=told["share"],
            token=_plain(order.tokens[told["index"]]),
            key=told.get("key"),
            tier=told.get("tier", "sealed"),
        )
        for told in result["holders"]
    )
    return ThresholdKey(
        algorithm=algorithm.value,
        udf=fingerprint(_public(algorithm, point)),
        public=commitments[0],
        threshold=order.threshold,
        generation=order.generation,
        commitments=commitments,
        holders=holders,
    )


def _summed(algorithm: Algorithm, made: list[dict[str, Any]]) -> ThresholdKey:
    curve = curve_named(algorithm)
    total = curve.identity
    for told in made:
        total += curve.decode(told["share"])
    holders = tuple(
        ThresholdHolder(
            index=told["index"],
            share=told["share"],
            token=_plain(told["key"]),
            key=told["key"],
            tier=told["tier"],
        )
        for told in made
    )
    return ThresholdKey(
        algorithm=algorithm.value,
        udf=fingerprint(_public(algorithm, total)),
        public=total.encode(),
        threshold=len(made),
        generation=1,
        holders=holders,
    )


def _public(algorithm: Algorithm, point: Point) -> PublicKey:
    return as_peer(point) if algorithm.agrees else PublicKey(algorithm, point.encode())


def _plain(uri: str) -> str:
    """The token of a URI, whether that names a token or one of its keys."""
    return str(KeyURI.parse(uri).token)


def _suite(request: Request, tokens: OpenTokens) -> Suite:
    """The wished suite, or the strongest in which every token can hold its share inside."""
    operation = Operation.GENERATE if request.dealerless else Operation.IMPORT
    opened = [tokens.token(uri) for uri in request.tokens]
    for token in opened:
        if (request.signs or request.renewable) and not isinstance(token, Seals):
            raise NotSupported(
                f"{name_of(token)} cannot seal a share for signing or renewal",
                hint="--use encrypt without --renewable, or another token",
            )
    for suite in Suite if request.suite is None else [request.suite]:
        lacking = [t for t in opened if not t.capabilities().can(suite.agreement, operation, Operation.AGREE)]
        if not lacking or not request.encrypts:
            return suite
    raise NotSupported(
        f"{', '.join(map(name_of, lacking))} cannot hold a share in "
        + (f"suite {request.suite}" if request.suite else "any suite that the others can"),
        hint="`meshhw token show TOKEN` tells what each can; choose another --suite or --on",
    )
