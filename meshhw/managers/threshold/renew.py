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

from meshhw.algorithms import Algorithm, Operation
from meshhw.dare.signing import Signer
from meshhw.errors import NotSupported, StateError, TokenNotFound, UsageError
from meshhw.keystore.api import Needs, OpenOptions, Seals, Token
from meshhw.keystore.uri import KeyURI, TokenURI
from meshhw.managers.host import Host
from meshhw.managers.threshold import descriptor
from meshhw.managers.threshold.authority import Setting, authority, require_authority
from meshhw.managers.threshold.copies import decrypt_copy, encrypt_copy
from meshhw.managers.threshold.demand import Demand, key_needs, unseal_needs
from meshhw.managers.threshold.descriptor import Loaded
from meshhw.managers.threshold.lockstep import Lockstep
from meshhw.managers.threshold.recovering import destroy_found, give_up, settle_strays, undoing
from meshhw.managers.threshold.remembering import remembering
from meshhw.managers.threshold.renewing import RenewOrder
from meshhw.managers.threshold.store import DELETING, MAKING, KeyStore
from meshhw.managers.threshold.tokens import OpenTokens, absentee, having, name_of
from meshhw.managers.threshold.use import Say, ThresholdPrivateKey, silent
from meshhw.managers.threshold.worker import Worker, run
from meshhw.schema.threshold import RetiredShare, ThresholdDescriptor, ThresholdHolder, ThresholdKey

_DESTROYING = "destroying old shares"


USES = ("decryption", "signing")


def refresh(store: KeyStore, host: Host, options: OpenOptions, say: Say = silent) -> Loaded:
    """New shares for every holder, of the decryption and the signing key; the keys stay.

    Raises NotSupported when there are no renewal copies, TokenNotFound when a holder's token is not here.
    """
    with store.locked():
        return _all_keys(Setting(store, host, remembering(options), say), {}, 0)


def replace(
    store: KeyStore, host: Host, options: OpenOptions, place: tuple[int, TokenURI], say: Say = silent
) -> Loaded:
    """New shares for the holder of that index, in that token, made by the others; and a refresh.

    Raises as `refresh`; UsageError for a token that holds a share and for an index that nobody
    has.
    """
    index, token = place
    with store.locked():
        return _all_keys(Setting(store, host, remembering(options), say), {index: str(token)}, index)


def resume(store: KeyStore, host: Host, options: OpenOptions) -> bool:
    """Bring an interrupted renewal to its end, or undo it. False when none was interrupted.

    A new share on a token that is not here is kept in mind. Raises StateError for a key that is being
    deleted.
    """
    journal = store.journal()
    if journal is not None and journal.get("doing") == DELETING:
        raise StateError(
            f"deleting {store.name} was begun", hint=f"`meshhw threshold delete {store.name}` goes on"
        )
    if journal is None or journal.get("doing") not in (MAKING, _DESTROYING):
        return False
    loaded = descriptor.load(store, host)
    if journal["doing"] == MAKING and loaded.key(journal["use"]).generation < journal["generation"]:
        give_up(store, journal, destroy_found(journal, options))
        store.discard(*_files(store, journal["use"], journal["generation"]))
        store.write_journal(None)
        return True
    # The descriptor of the new generation stands: its shares are the valid ones.
    _destroy_old(loaded, Setting(store, host, remembering(options)))
    return True


def _all_keys(setting: Setting, moved: Mapping[int, str], replaced: int) -> Loaded:
    """Renew each key that the name has."""
    resume(setting.store, setting.host, setting.options)
    settle_strays(setting.store, setting.options, setting.say)
    loaded = descriptor.load(setting.store, setting.host)
    value = loaded.value
    if value.decryption is not None and not value.renewable:
        raise _not_renewable(value, replaced)
    renewals = [_Renewal(setting, loaded, use) for use in USES if getattr(value, use) is not None]
    demand = Demand()
    for renewal in renewals:
        renewal.check(moved, demand)
    with OpenTokens(setting.options) as tokens:
        require_authority(loaded, setting, tokens, demand)
    setting.say(demand.text(f"renewing {value.name} asks every holder"))
    for renewal in renewals:
        current = descriptor.load(setting.store, setting.host)
        loaded = _Renewal(setting, current, renewal.use).make(moved, replaced)
    return loaded


def _not_renewable(value: ThresholdDescriptor, replaced: int) -> NotSupported:
    """Why this key stays as it is, and the command that makes another in its place."""
    why = "each token made its own share" if value.dealerless else "there are no renewal copies"
    verb = f"replace {value.name} --holder {replaced} --on TOKEN" if replaced else f"refresh {value.name}"
    return NotSupported(
        f"the shares of {value.name} cannot be made anew: {why}",
        hint=f"make a new key in its place and give it what was encrypted to this one: "
        f"`meshhw threshold {verb} --new-key NEW --rewrap FILE-OR-DIRECTORY`",
    )


@dataclass(frozen=True)
class _Renewal:
    """The renewal of one of the keys."""

    setting: Setting
    loaded: Loaded
    use: str

    @property
    def key(self) -> ThresholdKey:
        return self.loaded.key(self.use)

    @property
    def store(self) -> KeyStore:
        return self.setting.store

    def check(self, moved: Mapping[int, str], demand: Demand) -> None:
        """That every token is there, as far as can be told before anything is changed; adds up what will be
        asked of the person.
        """
        for index, token in moved.items():
            require_holder(self.key, index)
            others = {holder.token for holder in self.key.holders if holder.index != index}
            if {token, _plain(token)} & others:
                raise UsageError("that token holds another share", hint="name another token with --on")
            if len(others) < self.key.threshold:
                raise NotSupported("the other holders are too few to make a lost share again")
        with OpenTokens(self.setting.options) as tokens:
            self._require_present(tokens, moved)
            self._demand(tokens, moved, demand)

    def make(self, moved: Mapping[int, str], replaced: int) -> Loaded:
        """Renew with the holders' tokens as the descriptor has them, but for those that moved."""
        places = {holder.index: holder.token for holder in self.key.holders} | dict(moved)
        stay = [index for index in places if index != replaced]
        quorum = stay[: self.key.threshold] if replaced else []
        with OpenTokens(self.setting.options) as tokens:
            copies = self._opened_copies(tokens, stay)
            with authority(self.loaded, self.setting, tokens) as signer:
                try:
                    made = self._run(self._orders(places, copies, quorum, replaced))
                    loaded = self._described(made, places, signer)
                except BaseException as error:
                    with undoing(error):
                        resume(self.store, self.setting.host, self.setting.options)
                    raise
        return _destroy_old(loaded, self.setting)

    def _require_present(self, tokens: OpenTokens, moved: Mapping[int, str]) -> None:
        """A token that takes a lost holder's place may be a vault that is yet to be made."""
        for token in moved.values():
            self._require_room(tokens.token(token))
        stay = [holder for holder in self.key.holders if holder.index not in moved]
        away = [holder for holder in stay if not tokens.present(holder.token)]
        missing = [absentee(h.index, h.token, tokens.why_absent(h.token)) for h in away]
        if missing:
            raise TokenNotFound(
                f"renewing {self.loaded.value.name} needs every holder's token; "
                f"missing: {', '.join(missing)}",
                hint=f"insert it, or replace a lost one: "
                f"`meshhw threshold replace {self.loaded.value.name} --holder I --on TOKEN`",
            )

    def _require_room(self, token: Token) -> None:
        """Raise NotSupported for a token that cannot hold a share of this key, before anybody is asked."""
        having(token, Seals, "seal a share")
        algorithm = Algorithm(self.key.algorithm)
        operations = Operation.IMPORT, Operation.AGREE
        if self.use == "decryption" and not token.capabilities().can(algorithm, *operations):
            raise NotSupported(
                f"{name_of(token)} cannot hold a share of an {algorithm} key",
                hint="`meshhw token show TOKEN` tells what each can; choose another token with --on",
            )

    def _demand(self, tokens: OpenTokens, moved: Mapping[int, str], demand: Demand) -> None:
        """A signing share is unsealed once. Of the others each copy takes a quorum, and then its token."""
        stay = [holder for holder in self.key.holders if holder.index not in moved]
        for number, holder in enumerate(stay):
            if holder.key is None:
                blob = self.store.load(f"signing-{self.key.generation}-{holder.index}")
                demand.add(tokens, holder.token, unseal_needs(tokens, holder.token, blob))
            else:
                asked = len(stay) if number < self.key.threshold else 0
                demand.add(tokens, holder.token, key_needs(tokens, KeyURI.parse(holder.key)), asked)
        for token in moved.values():
            demand.add(tokens, token, Needs(pin=True))

    def _opened_copies(self, tokens: OpenTokens, indices: Sequence[int]) -> dict[int, bytes]:
        """The shares as their tokens sealed them; of renewal copies a quorum opens the outer layer."""
        generation = self.key.generation
        if self.use == "signing":
            return {index: self.store.load(f"signing-{generation}-{index}") for index in indices}
        key = ThresholdPrivateKey(self.loaded, tokens, say=self.setting.say, announced=True)
        names = {index: f"copy-{generation}-{index}.dare" for index in indices}
        return {index: decrypt_copy(key, self.store.load(name)) for index, name in names.items()}

    def _save_copy(self, index: int, sealed: bytes) -> None:
        generation = self.key.generation + 1
        if self.use == "signing":
            self.store.save(f"signing-{generation}-{index}", sealed)
        else:
            copy = encrypt_copy(descriptor.group_public(self.key), sealed)
            self.store.save(f"copy-{generation}-{index}.dare", copy)

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
                signing=self.use == "signing",
                quorum=tuple(quorum),
                replaced=replaced,
                holders=tuple(places),
            )
            for index, token in places.items()
        }

    def _run(self, orders: dict[int, RenewOrder]) -> dict[int, dict[str, Any]]:
        """All holders in lockstep. What goes wrong undoes the shares that were imported."""
        journal: dict[str, Any] = {
            "doing": MAKING,
            "use": self.use,
            "generation": self.key.generation + 1,
            "algorithm": self.key.algorithm,
        }
        self.store.write_journal(journal)
        with ExitStack() as running:
            workers, boxes = {}, {}
            for index, order in orders.items():  # one after another: a person is asked one PIN at a time
                worker = Worker("renew", msgspec.structs.asdict(order), self.setting.options)
                workers[index] = running.enter_context(worker)
                boxes[index] = worker.told()["box"]
            made = Lockstep(workers, orders).run(boxes, self.store, journal)
        for index, told in made.items():
            self._save_copy(index, told["sealed"])
        return made

    def _described(self, made: dict[int, dict[str, Any]], places: dict[int, str], signer: Signer) -> Loaded:
        value = self.loaded.value
        holders = tuple(
            ThresholdHolder(
                index=index,
                share=told["share"],
                token=_plain(places[index]),
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
                key=holder.key,
                destroyed=False,
            )
            for holder in self.key.holders
            if holder.key
        )
        changed = msgspec.structs.replace(
            value, version=value.version + 1, retired=(*value.retired, *retired), **{self.use: key}
        )
        loaded = descriptor.save(changed, signer, self.store)
        self.store.write_journal({"doing": _DESTROYING})
        return loaded


def require_holder(key: ThresholdKey, index: int) -> None:
    """Raise UsageError for an index that nobody has."""
    known = [holder.index for holder in key.holders]
    if index not in known:
        raise UsageError(f"there is no holder {index}", hint=f"holders: {', '.join(map(str, known))}")


def _destroy_old(loaded: Loaded, setting: Setting) -> Loaded:
    """Destroy the old shares and copies that can be reached, and say in the descriptor which are gone."""
    value, store = loaded.value, setting.store
    wanted = [share.key for share in value.retired if not share.destroyed]
    left = set(run("destroy", {"keys": wanted}, setting.options)) if wanted else set()
    retired = tuple(
        msgspec.structs.replace(s, destroyed=s.destroyed or (s.key in wanted and s.key not in left))
        for s in value.retired
    )
    changed: ThresholdDescriptor = msgspec.structs.replace(value, version=value.version + 1, retired=retired)
    with OpenTokens(setting.options) as tokens, authority(loaded, setting, tokens) as signer:
        done = descriptor.save(changed, signer, store)
    for use in USES:
        key = getattr(loaded.value, use)
        for generation in range(1, key.generation if key else 1):
            store.discard(*_files(store, use, generation))
    store.write_journal(None)
    return done


def _files(store: KeyStore, use: str, generation: int) -> list[str]:
    """The sealed shares or renewal copies of one generation."""
    prefix = f"{'signing' if use == 'signing' else 'copy'}-{generation}-"
    return [name for name in store.files() if name.startswith(prefix)]


def _plain(token: str) -> str:
    return str(KeyURI.parse(token).token)
