"""New shares of the same key: `refresh` for every holder, `replace` for a lost one (and a refresh with it).

New shares go beside the old ones, each is challenged, the descriptor of the next generation is signed, and
only then are the old ones destroyed. Until the descriptor stands, an interruption is rolled back; after it,
resumed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import msgspec

from meshhw.dare.signing import Signer
from meshhw.errors import NotSupported, TokenNotFound, UsageError
from meshhw.jsonbcd import encode_base64url
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.uri import KeyURI, TokenURI
from meshhw.managers.host import Host
from meshhw.managers.threshold import descriptor
from meshhw.managers.threshold.copies import decrypt_copy, encrypt_copy
from meshhw.managers.threshold.descriptor import Loaded
from meshhw.managers.threshold.recovering import destroy_found
from meshhw.managers.threshold.remembering import remembering
from meshhw.managers.threshold.renewing import RenewOrder
from meshhw.managers.threshold.store import KeyStore
from meshhw.managers.threshold.tokens import OpenTokens
from meshhw.managers.threshold.use import Say, ThresholdPrivateKey, silent
from meshhw.managers.threshold.worker import Worker, run
from meshhw.schema.threshold import RetiredShare, ThresholdDescriptor, ThresholdHolder, ThresholdKey

_MAKING, _DESTROYING = "making new shares", "destroying old shares"


def refresh(store: KeyStore, host: Host, options: OpenOptions, say: Say = silent) -> Loaded:
    """New shares for every holder; the key stays. Raises NotSupported when there are no renewal copies,
    TokenNotFound when a holder's token is not here.
    """
    with store.locked():
        return _Renewal.begin(store, host, options, say).make({}, 0)


def replace(
    store: KeyStore, host: Host, options: OpenOptions, place: tuple[int, TokenURI], say: Say = silent
) -> Loaded:
    """A new share for the holder of that index, in that token, made by the others; and a refresh.

    Raises as `refresh`; UsageError for an index that nobody has or a token that holds a share.
    """
    index, token = place
    with store.locked():
        renewal = _Renewal.begin(store, host, options, say)
        others = {h.token for h in renewal.key.holders if h.index != index}
        renewal.key.holder(index)
        if str(token) in others or _plain(token) in others:
            raise UsageError("that token holds another share", hint="name another token with --on")
        return renewal.make({index: str(token)}, index)


def resume(store: KeyStore, host: Host, options: OpenOptions) -> bool:
    """Bring an interrupted renewal to its end, or undo it. False when none was interrupted.

    Raises TokenNotFound when a token that may hold a stray share is not there; it can then be tried again.
    """
    journal = store.journal()
    if journal is None or journal.get("doing") not in (_MAKING, _DESTROYING):
        return False
    if journal["doing"] == _MAKING:
        destroy_found(journal, options)
        generation = journal["generation"]
        store.discard(*(name for name in store.files() if name.startswith(f"copy-{generation}-")))
        store.write_journal(None)
    else:
        with OpenTokens(options) as tokens:
            loaded = descriptor.load(store, host)
            with descriptor.device_signer(host, tokens, among=descriptor.devices_of(loaded.value)) as signer:
                _destroy_old(store, loaded, options, signer)
    return True


@dataclass(frozen=True)
class _Renewal:
    store: KeyStore
    host: Host
    options: OpenOptions
    say: Say
    loaded: Loaded
    key: ThresholdKey

    @classmethod
    def begin(cls, store: KeyStore, host: Host, options: OpenOptions, say: Say) -> _Renewal:
        options = remembering(options)
        resume(store, host, options)
        loaded = descriptor.load(store, host)
        key = loaded.key("decryption")
        if not loaded.value.renewable:
            raise NotSupported(
                f"{loaded.value.name} was made without renewal copies: its shares cannot be made anew",
                hint="provision a new key, with --renewable, and encrypt to it what is still needed: "
                "`meshhw dare decode FILE PLAIN`, `meshhw dare encode PLAIN FILE --encrypt threshold:NEW`",
            )
        return cls(store, host, options, say, loaded, key)

    def make(self, moved: Mapping[int, str], replaced: int) -> Loaded:
        """Renew with the holders' tokens as the descriptor has them, but for those that moved."""
        places = {holder.index: holder.token for holder in self.key.holders} | dict(moved)
        quorum = [index for index in places if index != replaced][: self.key.threshold] if replaced else []
        if replaced and len(quorum) < self.key.threshold:
            raise NotSupported("the other holders are too few to make a lost share again")
        with OpenTokens(self.options) as tokens:
            self._require_present(tokens, moved)
            copies = self._opened_copies(tokens, [index for index in places if index != replaced])
            with descriptor.device_signer(
                self.host, tokens, among=descriptor.devices_of(self.loaded.value)
            ) as signer:
                orders = self._orders(places, copies, quorum, replaced)
                made = self._run(orders)
                loaded = self._described(made, places, replaced, signer)
                return _destroy_old(self.store, loaded, self.options, signer)

    def _require_present(self, tokens: OpenTokens, moved: Mapping[int, str]) -> None:
        """Every holder's token must be there; one that takes a lost holder's place may be a vault yet to be
        made.
        """
        for token in moved.values():
            tokens.token(token)
        stay = [holder for holder in self.key.holders if holder.index not in moved]
        missing = [f"{h.index} ({h.token})" for h in stay if not tokens.present(h.token)]
        if missing:
            raise TokenNotFound(
                f"renewing {self.loaded.value.name} needs every holder's token; "
                f"missing: {', '.join(missing)}",
                hint=f"insert it, or replace a lost one: `meshhw threshold replace {self.loaded.value.name}`",
            )

    def _opened_copies(self, tokens: OpenTokens, indices: Sequence[int]) -> dict[int, bytes]:
        """The copies as their tokens sealed them; a quorum of holders opens the outer layer."""
        key = ThresholdPrivateKey(self.loaded, tokens, say=self.say)
        names = {index: f"copy-{self.key.generation}-{index}.dare" for index in indices}
        return {index: decrypt_copy(key, self.store.load(name)) for index, name in names.items()}

    def _orders(
        self, places: dict[int, str], copies: dict[int, bytes], quorum: Sequence[int], replaced: int
    ) -> dict[int, RenewOrder]:
        value, generation = self.loaded.value, self.key.generation
        return {
            index: RenewOrder(
                identifier=value.identifier,
                algorithm=self.key.algorithm,
                commitments=self.key.commitments,
                generation=generation,
                index=index,
                token=token,
                label=f"threshold {value.name} {value.identifier[:4].hex()} g{generation + 1}",
                sealed=copies.get(index),
                quorum=tuple(quorum),
                replaced=replaced,
                holders=tuple(places),
            )
            for index, token in places.items()
        }

    def _run(self, orders: dict[int, RenewOrder]) -> dict[int, dict[str, Any]]:
        """All holders in lockstep. What goes wrong undoes the shares that were imported."""
        journal: dict[str, Any] = {
            "doing": _MAKING,
            "generation": self.key.generation + 1,
            "algorithm": self.key.algorithm,
        }
        self.store.write_journal(journal)
        try:
            with ExitStack() as running:
                workers = {
                    index: running.enter_context(Worker("renew", msgspec.structs.asdict(order), self.options))
                    for index, order in orders.items()
                }
                made = _Lockstep(workers, orders).run(self.store, journal)
        except BaseException:
            resume(self.store, self.host, self.options)
            raise
        group = descriptor.group_public(self.key)
        for index, told in made.items():
            copy = encrypt_copy(group, told["copy"])
            self.store.save(f"copy-{self.key.generation + 1}-{index}.dare", copy)
        return made

    def _described(
        self, made: dict[int, dict[str, Any]], places: dict[int, str], replaced: int, signer: Signer
    ) -> Loaded:
        value = self.loaded.value
        holders = tuple(
            ThresholdHolder(
                index=index,
                share=told["share"],
                token=_plain(TokenURI.parse(places[index])),
                key=told["key"],
                tier=told["tier"],
            )
            for index, told in made.items()
        )
        key = msgspec.structs.replace(
            self.key,
            generation=self.key.generation + 1,
            commitments=tuple(next(iter(made.values()))["commitments"]),
            holders=holders,
        )
        retired = tuple(
            RetiredShare(
                index=holder.index,
                generation=self.key.generation,
                token=holder.token,
                key=holder.key or "",
                destroyed=False,
            )
            for holder in self.key.holders
        )
        changed = msgspec.structs.replace(
            value, version=value.version + 1, decryption=key, retired=(*value.retired, *retired)
        )
        lost = [s.key for s in retired if s.index == replaced]
        loaded = descriptor.save(changed, signer, self.store)
        self.store.write_journal({"doing": _DESTROYING, "lost": lost})
        return loaded


@dataclass(frozen=True)
class _Lockstep:
    """Carries what the holders tell each other from one to the next, step by step."""

    workers: dict[int, Worker]
    orders: dict[int, RenewOrder]

    def run(self, store: KeyStore, journal: dict[str, Any]) -> dict[int, dict[str, Any]]:
        self._exchange(lambda told, _: {i: one["box"] for i, one in told.items()})
        if next(iter(self.orders.values())).replaced:
            for _ in ("parts", "sums"):
                self._exchange(_addressed)
        self._exchange(_dealt)
        shares = self._told()
        places = [[self.orders[i].token, encode_base64url(one["share"])] for i, one in shares.items()]
        store.write_journal(journal | {"shares": places})
        keys = []
        for worker in self.workers.values():  # one by one, so that each key is written down when it is there
            worker.answer()
            keys.append(worker.told()["key"])
            store.write_journal(journal | {"shares": places, "keys": keys})
        for worker in self.workers.values():
            worker.answer()
        self._told()
        for worker in self.workers.values():
            worker.answer()
        return {index: worker.result() for index, worker in self.workers.items()}

    def _told(self) -> dict[int, Any]:
        return {index: worker.told() for index, worker in self.workers.items()}

    def _exchange(self, route: Any) -> None:
        told = self._told()
        for index, worker in self.workers.items():
            worker.answer(route(told, index))


def _addressed(told: dict[int, Any], index: int) -> dict[int, bytes]:
    """What each said to this one."""
    return {giver: one[index] for giver, one in told.items() if index in one}


def _dealt(told: dict[int, Any], index: int) -> dict[int, Any]:
    return {
        dealer: {"commitments": one["commitments"], "value": one["values"][index]}
        for dealer, one in told.items()
    }


def _destroy_old(store: KeyStore, loaded: Loaded, options: OpenOptions, signer: Signer) -> Loaded:
    """Destroy the old shares and copies that can be reached, and say in the descriptor which are gone."""
    journal = store.journal() or {}
    lost = set(journal.get("lost", ()))
    value = loaded.value
    wanted = [s.key for s in value.retired if not s.destroyed and s.key not in lost]
    left = set(run("destroy", {"keys": wanted}, options)) if wanted else set()
    retired = tuple(
        msgspec.structs.replace(s, destroyed=s.destroyed or (s.key in wanted and s.key not in left))
        for s in value.retired
    )
    changed: ThresholdDescriptor = msgspec.structs.replace(value, version=value.version + 1, retired=retired)
    done = descriptor.save(changed, signer, store)
    current = f"copy-{loaded.key('decryption').generation}-"
    store.discard(*(n for n in store.files() if n.startswith("copy-") and not n.startswith(current)))
    store.write_journal(None)
    return done


def _plain(token: TokenURI) -> str:
    return str(KeyURI.parse(str(token)).token)
