"""An open PIV card: everything that `meshhw.keystore.api` asks of a token, each part from its own file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from meshhw.algorithms import Algorithm, Family, Operation, PrivateKey, Tier
from meshhw.errors import DecryptionFailed, KeyNotFound, MeshError, NotSupported, TokenMismatch, UsageError
from meshhw.keystore.api import Capabilities, Key, KeySpec, Needs, Protection, TokenInfo
from meshhw.keystore.interaction import PinKind
from meshhw.keystore.log import in_place_of_key, recorded, recorded_making
from meshhw.keystore.uri import KeyURI
from meshhw_piv import eddsa, facts, seals, slots
from meshhw_piv.admin import Administration
from meshhw_piv.discovery import describe
from meshhw_piv.facts import KeyFacts
from meshhw_piv.keys import NistKey, X25519Key, agrees_rightly, handle
from meshhw_piv.login import Login
from meshhw_piv.making import Maker
from meshhw_piv.session import CardSession
from meshhw_piv.store import Store

Result = TypeVar("Result")
_log = logging.getLogger("meshhw.piv")

LONGEST_SECRET = 4096
_SEAL_ORDER = (slots.KEY_MANAGEMENT, *slots.RETIRED, slots.AUTHENTICATION, slots.SIGNATURE)


class PivToken:
    """One card. Usable from any thread; `close` logs out."""

    def __init__(self, session: CardSession) -> None:
        self._session = session
        self._login = Login(session)
        self._maker = Maker(session, self._login)
        self._store = Store(session, self._login)
        self._admin = Administration(session, self._login)
        self._told_of: set[int] = set()

    def info(self) -> TokenInfo:
        """What it is."""
        return describe(self._session.identity)

    def capabilities(self) -> Capabilities:
        """By a YubiKey's firmware; by the algorithms that another card lists, or whose keys it holds, else by
        the standard's. Of another card it is told that it signs with Ed25519 once that was seen of a long
        message."""
        extensions = self._extensions()
        held = () if self._session.identity.yubikey else self._run("read its keys", self._asked)
        matrix = {
            (algorithm, operation): Tier.NATIVE
            for algorithm in self._algorithms(held)
            for operation in self._operations(algorithm, extensions)
        }
        seals_now = self._session.run("read its keys", self._sealing_key) is not None
        return Capabilities(matrix, seals=seals_now, stores_data=True, complete=self._tells_algorithms())

    def keys(self) -> Sequence[Key]:
        """The keys in all slots; those that were begun and not finished are told of."""
        found = self._session.run("list its keys", self._held)
        for slot in sorted(self._session.unfinished - self._told_of):
            where, uri = (
                f"slot {slots.name(slot)} of {self._session.identity.label}",
                self._session.identity.uri,
            )
            _log.warning("%s holds an unfinished key: `meshhw key tidy '%s'` destroys it", where, uri)
            self._told_of.add(slot)
        return [handle(self._session, self._login, one) for one in found]

    def unfinished(self) -> Sequence[KeyURI]:
        """Keys that were begun and not finished, by their slots; `delete` destroys them."""
        uri = self._session.identity.uri
        return [uri.key(slot=slots.name(slot)) for slot in self._run("list its keys", self._maker.unfinished)]

    def key(self, uri: KeyURI) -> Key:
        """The key in the slot that a URI names. Raises KeyNotFound."""
        return handle(self._session, self._login, self._session.run("read a key", lambda: self._read(uri)))

    def count_calls(self, work: Callable[[], object]) -> int:
        """How many APDUs this token sends to the card while `work` runs."""
        return self._session.apdus.during(work)

    def hold(self) -> AbstractContextManager[None]:
        """One transaction and one PIN."""
        return self._session.hold()

    def close(self) -> None:
        """Forget the PIN, here and in the card."""
        self._session.close()

    def generate(self, spec: KeySpec) -> Key:
        """A new key in a free slot, or in `spec.place`. Raises NotSupported, TokenFull, Cancelled."""
        self._need(spec.algorithm, Operation.GENERATE)
        return self._recorded(
            Operation.GENERATE, f"make a key of {spec.algorithm}", lambda: self._maker.generate(spec)
        )

    def import_key(self, private: PrivateKey, spec: KeySpec) -> Key:
        """A key from outside. Raises NotSupported, TokenFull, Cancelled."""
        self._need(private.algorithm, Operation.IMPORT)
        return self._recorded(
            Operation.IMPORT,
            f"import a key of {private.algorithm}",
            lambda: self._maker.import_key(private, spec),
        )

    def delete(self, key: KeyURI) -> None:
        """Destroy a key. Raises KeyNotFound."""
        with recorded(self._session.options.recorder, key, Operation.DELETE):
            self._remove(key)

    def _remove(self, key: KeyURI) -> None:
        self._run("delete a key", lambda: self._maker.delete(self._slot(key)))

    def _recorded(self, operation: Operation, doing: str, work: Callable[[], KeyFacts]) -> Key:
        """Make a key, and tell the recorder."""
        return recorded_making(
            self._session.options.recorder,
            self._session.identity.uri,
            operation,
            lambda: self._changed(doing, work),
            self._remove,
        )

    def seal(self, secret: bytes, purpose: bytes) -> bytes:
        """Seal to the first key that agrees, 9d before all. Raises NotSupported where there is none."""
        if len(secret) > LONGEST_SECRET:
            raise UsageError(f"at most {LONGEST_SECRET} octets can be sealed")
        found = self._session.run("read its keys", self._sealing_key)
        if found is None:
            raise NotSupported(
                f"{self._session.identity.label} has no key to seal to",
                hint=f"meshhw key generate --on '{self._session.identity.uri}' --algorithm P-256",
            )
        return seals.seal(found.slot, found.public, secret, purpose)

    def unseal(self, blob: bytes, purpose: bytes) -> bytes:
        """The secret. Raises DecryptionFailed."""
        recorder = self._session.options.recorder
        try:
            key = self._sealed_to(blob)
        except MeshError as error:
            recorder.record(
                in_place_of_key(self._session.identity.uri), Operation.UNWRAP, type(error).__name__
            )
            raise
        with recorded(recorder, key.uri, Operation.UNWRAP):
            return seals.unseal(key.agreed, key.public, blob, purpose)

    def _sealed_to(self, blob: bytes) -> X25519Key | NistKey:
        slot, identifier = seals.place(blob)
        found = self._session.run("read a key", lambda: self._with_id(slot, identifier))
        key = handle(self._session, self._login, found)
        if not isinstance(key, X25519Key | NistKey):
            raise DecryptionFailed("the sealed octets name a key that cannot agree")
        return key

    def needs_of_key(self, key: KeyURI) -> Needs:
        """By the policies of the slot's key."""
        return self.key(key).needs()

    def needs_to_unseal(self, blob: bytes) -> Needs:
        """By the policies of the key that the blob is sealed to."""
        slot, identifier = seals.place(blob)
        found = self._session.run("read a key", lambda: self._with_id(slot, identifier))
        return handle(self._session, self._login, found).needs()

    def protection(self, key: KeyURI) -> Protection:
        """The standard has no instruction that reads a private key; metadata tell how the key came to be."""
        found = self._session.run("read a key", lambda: self._read(key))
        answers = {"instruction that reads a private key": "none (SP 800-73-4)"}
        if found.generated is not None:
            answers["origin"] = "generated" if found.generated else "imported"
        return Protection(extractable=False, generated_inside=found.generated, answers=answers)

    def store_data(self, name: str, data: bytes, *, private: bool = True) -> None:
        """Create or replace; private data is checked to be out of reach without the PIN."""
        self._run("store data", lambda: self._store.store(name, data, private=private))

    def load_data(self, name: str) -> bytes | None:
        """The octets, None if absent."""
        return self._run("read data", lambda: self._store.load(name))

    def delete_data(self, name: str) -> None:
        """Remove; absent is fine."""
        self._run("delete data", lambda: self._store.delete(name))

    def data_names(self) -> Sequence[str]:
        """The names in store."""
        return self._run("read data", self._store.names)

    def change_pin(self, kind: PinKind) -> None:
        """PIN, PUK or management key. Raises NotSupported for the other kinds."""
        changes = {
            PinKind.USER: self._admin.change_pin,
            PinKind.PUK: self._admin.change_puk,
            PinKind.MANAGEMENT: self._admin.change_management_key,
        }
        if kind not in changes:
            raise NotSupported(f"PIV cards have no {kind} PIN")
        self._run(f"change its {kind} PIN", changes[kind])

    def unlock(self) -> None:
        """A new PIN by the PUK."""
        self._run("unlock its PIN", self._admin.unlock)

    def retries_left(self, kind: PinKind) -> int | None:
        """Tries of the PIN or the PUK."""
        counters = {
            PinKind.USER: self._login.retries,
            PinKind.CONTEXT: self._login.retries,
            PinKind.PUK: self._login.puk_retries,
        }
        return self._run("tell its tries", counters[kind]) if kind in counters else None

    def details(self) -> Mapping[str, str | int]:
        """The PUK's tries, the management key's algorithm, and which secrets are still the factory's."""
        return self._run("tell how it is guarded", self._admin.details)

    def set_retries(self, pin: int, puk: int) -> None:
        """How many tries PIN and PUK have; both go back to the factory's values."""
        self._run("set its tries", lambda: self._admin.set_retries(pin, puk))

    def protect_management_key(self) -> None:
        """Replace the management key by a random one that the PIN gives out."""
        self._run("change its management key", self._admin.protect_management_key)

    def reset(self) -> None:
        """Erase the PIV application. Raises NotSupported for cards that know no reset."""
        with recorded(
            self._session.options.recorder, in_place_of_key(self._session.identity.uri), Operation.DELETE
        ):
            self._run("be reset", self._admin.reset)

    def _run(self, doing: str, work: Callable[[], Result]) -> Result:
        return self._session.run(doing, lambda: self._session.steady(work))

    def _changed(self, doing: str, work: Callable[[], KeyFacts]) -> Key:
        try:
            made = self._run(doing, work)
        except MeshError as error:
            self._maker.begun.tell_left(error)
            raise
        key = handle(self._session, self._login, made)
        if isinstance(key, X25519Key) and not self._session.identity.yubikey:
            self._check_agreement(key)
        return key

    def _check_agreement(self, key: X25519Key) -> None:
        """Delete a key that does not agree as everybody's do, before anything is encrypted to it.

        Cards of other makers are known that have the octets of X25519 the wrong way round.
        """
        try:
            right = agrees_rightly(key)
        except BaseException:
            self.delete(key.uri)
            raise
        if not right:
            self._session.refused.add(key.algorithm)
            self.delete(key.uri)
            raise NotSupported(
                f"{self._session.identity.label} agrees with X25519 keys otherwise than RFC 7748 says; "
                "the new key was deleted",
                hint="make a P-256 key on it",
            )

    def _slot(self, uri: KeyURI) -> int:
        """The slot of a key of this card. Raises TokenMismatch, KeyNotFound, InvalidURI."""
        if not self._session.identity.fits(uri.token):
            raise TokenMismatch(f"{uri} is not a key of {self._session.identity.label}")
        return slots.of(uri)

    def _read(self, uri: KeyURI) -> KeyFacts:
        slot = self._slot(uri)
        found = self._session.steady(lambda: facts.read(self._session, slot))
        if found is None:
            raise KeyNotFound(f"slot {slots.name(slot)} of {self._session.identity.label} holds no key")
        return found

    def _held(self) -> list[KeyFacts]:
        return [found for found in map(self._facts, slots.SLOTS) if found is not None]

    def _facts(self, slot: int) -> KeyFacts | None:
        return self._session.steady(lambda: facts.read(self._session, slot))

    def _sealing_key(self) -> KeyFacts | None:
        for found in map(self._facts, _SEAL_ORDER):
            if found is not None and found.algorithm in seals.SEALING:
                return found
        return None

    def _with_id(self, slot: int, identifier: bytes) -> KeyFacts:
        """The key that a blob names, in its slot or moved to another. Raises DecryptionFailed."""
        for place in (slot, *slots.SLOTS):
            found = self._facts(place) if place in slots.SLOTS else None
            if found is not None and seals.key_id(found.public) == identifier:
                return found
        raise DecryptionFailed(
            f"{self._session.identity.label} does not hold the key that this was sealed to"
        )

    def _algorithms(self, held: Sequence[KeyFacts] = ()) -> list[Algorithm]:
        """What keys the card makes: by its firmware, its list, the keys in it, and what it refused."""
        session, identity = self._session, self._session.identity
        known = set(slots.CLASSIC)
        if identity.yubikey and identity.version >= (5, 7, 0):
            known = set(slots.MODERN)
        elif identity.algorithms is not None:
            known = {slots.ALGORITHMS[code] for code in identity.algorithms & slots.ALGORITHMS.keys()}
        known |= {found.algorithm for found in held}
        return [algorithm for algorithm in slots.CODES if algorithm in known - session.refused]

    def _tells_algorithms(self) -> bool:
        return self._session.identity.yubikey or self._session.identity.algorithms is not None

    def _extensions(self) -> tuple[Operation, ...]:
        """What the card does beyond the standard, asked of it."""
        return (Operation.IMPORT,) if self._run("import", self._maker.can_import) else ()

    def _operations(self, algorithm: Algorithm, extensions: Sequence[Operation]) -> Sequence[Operation]:
        session = self._session
        if algorithm is Algorithm.ED25519 and not session.identity.yubikey and not session.signs_long:
            return (Operation.GENERATE,)  # cards are known that sign at most 32 octets, or the first 32
        return (Operation.GENERATE, *extensions, *_OPERATIONS[algorithm.family])

    def _asked(self) -> Sequence[KeyFacts]:
        """The keys, after the card was asked whether it signs long messages, where one of them can tell."""
        held = self._held()
        eddsa.ask(self._session, held)
        return held

    def _need(self, algorithm: Algorithm, operation: Operation) -> None:
        """A YubiKey's firmware is what it says; any other card is asked, and refuses for itself."""
        asked = slots.CODES if not self._session.identity.yubikey else self._algorithms()
        if algorithm not in asked or algorithm in self._session.refused:
            raise NotSupported(f"{self._session.identity.label} cannot {operation} keys of {algorithm}")


_OPERATIONS = {
    Family.WEIERSTRASS: (Operation.SIGN, Operation.SIGN_DIGEST, Operation.AGREE),
    Family.EDWARDS: (Operation.SIGN,),
    Family.MONTGOMERY: (Operation.AGREE,),
    Family.RSA: (Operation.SIGN, Operation.DECRYPT),
}
