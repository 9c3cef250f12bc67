"""Making the private keys of a profile where a placement says, or none at all.

Keys are generated inside their tokens, or derived from a seed and imported. If anything fails before the
profile is complete, what was made is destroyed again; what cannot be (the token was pulled) is named, and
what a process that was killed left is found by what it wrote down before (`intentions`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from meshhw.algorithms import Algorithm, Family, PrivateKey, PublicKey
from meshhw.errors import IntegrityError, MeshError, NotSupported, OperationTimeout, TokenRemoved
from meshhw.keystore import registry
from meshhw.keystore.api import (
    Attests,
    Deletes,
    Generates,
    Imports,
    Key,
    KeySpec,
    OpenOptions,
    Token,
    TouchPolicy,
)
from meshhw.keystore.attestation import Attestation
from meshhw.keystore.placement import Place, Plan
from meshhw.keystore.uri import KeyURI, TokenURI
from meshhw.managers.host import KeyHandle
from meshhw.managers.intentions import Intentions, Making, tell
from meshhw.managers.keys import KnownKeys
from meshhw.privkeys import public_key_of
from meshhw.udf import fingerprint

_LEAVE_OPEN = (TokenRemoved, OperationTimeout)
Derive = Callable[[str, Algorithm], PrivateKey]
"""The private key of a role in an algorithm, from a seed."""


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A key that was just made, still open. `public` carries the true sign of an imported X448 key."""

    place: Place
    key: Key
    public: PublicKey
    attestation: Attestation | None = None
    """What its token says of it; None where the token says nothing, or holds only what opens the key."""
    touch: TouchPolicy = TouchPolicy.DEFAULT

    def handle(self) -> KeyHandle:
        """What the host state keeps of it."""
        return KeyHandle(
            role=self.place.role.name,
            udf=fingerprint(self.public),
            algorithm=self.place.algorithm,
            tier=self.key.tier,
            uri=str(self.key.uri),
            public=self.public.octets,
            touch_policy="" if self.touch is TouchPolicy.DEFAULT else self.touch.value,
        )


class KeyMaker:
    """Makes keys on tokens that stay open, with their PINs, until `close`."""

    def __init__(self, home: Path, options: OpenOptions) -> None:
        self._intentions = Intentions(home)
        self._options = options
        self._tokens: dict[TokenURI, Token] = {}
        self._made: list[tuple[Token, KeyURI]] = []

    @contextmanager
    def making(
        self,
        plan: Plan,
        derive: Derive | None = None,
        label: str = "mesh",
        *,
        touch: Mapping[str, TouchPolicy] | None = None,
        attest: bool = False,
    ) -> Iterator[list[MadeKey]]:
        """The keys of a plan, with their tokens' word on them if it is wanted. They are kept when the block
        ends well and destroyed when it raises."""
        wanted = touch or {}
        with self._intentions.making() as making:
            try:
                with ExitStack() as held:
                    for token in {p.token.uri: self.token(p.token.uri) for p in plan.places}.values():
                        held.enter_context(token.hold())
                        tell(self._intentions.settle(token), token)
                    made = [
                        self._make(
                            making, place, derive, label, wanted.get(place.role.name, TouchPolicy.DEFAULT)
                        )
                        for place in plan.places
                    ]
                    yield [self._attested(item) for item in made] if attest else made
            except BaseException as error:
                if self._undo(error):
                    making.over()
                raise
        self._made.clear()

    def token(self, uri: TokenURI) -> Token:
        """That token, opened once. Raises TokenNotFound, Ambiguous, DriverUnavailable."""
        if uri not in self._tokens:
            self._tokens[uri] = registry.open_token(uri, self._options)
        return self._tokens[uri]

    def close(self) -> None:
        """Close every token that was opened."""
        while self._tokens:
            self._tokens.popitem()[1].close()

    def __enter__(self) -> KeyMaker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _make(
        self, making: Making, place: Place, derive: Derive | None, label: str, touch: TouchPolicy
    ) -> MadeKey:
        token = self.token(place.token.uri)
        spec = KeySpec(
            place.algorithm,
            label=f"{label} {place.role.name}",
            uses=frozenset({place.role.operation}),
            touch_policy=touch,
            place=str(place.sealed_by) if place.sealed_by else None,
        )
        spec = making.intend(token, spec)
        if derive is None:
            key = _generate(token, spec)
            self._made.append((token, key.uri))
            return MadeKey(place, key, key.public, touch=touch)
        private = derive(place.role.name, place.algorithm)
        key = _import(token, private, spec)
        self._made.append((token, key.uri))
        return MadeKey(place, key, _same_key(key.public, public_key_of(private)), touch=touch)

    def _attested(self, made: MadeKey) -> MadeKey:
        """With what the token says of the key. One that says nothing of it is no fault."""
        token = self.token(made.place.token.uri)
        if not isinstance(token, Attests) or made.place.sealed_by is not None:
            return made
        try:
            return replace(made, attestation=token.attest(made.key.uri))
        except NotSupported:
            return made

    def _undo(self, cause: BaseException) -> bool:
        """Destroy what was made. Whether it is certain that nothing is left: a token that was pulled or gave
        no answer may have made the key that it was asked for."""
        left = []
        while self._made:
            token, uri = self._made.pop()
            try:
                destroy(token, uri)
            except MeshError:
                left.append(str(uri))
        if left and isinstance(cause, MeshError):
            cause.hint = f"{cause.hint}; these keys were left behind: {' '.join(left)}".removeprefix("; ")
        return not left and isinstance(cause, MeshError) and not isinstance(cause, _LEAVE_OPEN)


def make_key(
    home: Path,
    token: Token,
    spec: KeySpec,
    private: PrivateKey | None = None,
    record: Callable[[Key], object] | None = None,
) -> Key:
    """One key, generated on the token or moved there, and a record of it in this home: among the known keys,
    or as `record` keeps it.

    Raises NotSupported and what the token and `record` raise; then no key is left, or the error names it.
    """
    intentions = Intentions(home)
    tell(intentions.settle(token), token)
    with intentions.making() as making:
        try:
            spec = making.intend(token, spec)
            key = _generate(token, spec) if private is None else _import(token, private, spec)
        except MeshError as error:
            if not isinstance(error, _LEAVE_OPEN):
                making.over()
            raise
        try:
            record(key) if record is not None else KnownKeys(home).add(key, spec.label)
        except MeshError as error:
            if _undone(error, token, key.uri):
                making.over()
            raise
    return key


def _undone(cause: MeshError, token: Token, uri: KeyURI) -> bool:
    """Destroy a key that has no record; whether that is certain. If not, the error names it."""
    try:
        destroy(token, uri)
    except MeshError:
        cause.hint = f"{cause.hint}; this key was left behind: {uri}".removeprefix("; ")
        return False
    return True


def destroy(token: Token, uri: KeyURI) -> None:
    """Destroy a key on its token. Raises NotSupported, KeyNotFound and what the token raises."""
    if not isinstance(token, Deletes):
        raise NotSupported(f"{token.info().label} cannot delete keys")
    token.delete(uri)


def _generate(token: Token, spec: KeySpec) -> Key:
    if not isinstance(token, Generates):
        raise NotSupported(f"{token.info().label} cannot generate keys")
    return token.generate(spec)


def _import(token: Token, private: PrivateKey, spec: KeySpec) -> Key:
    if not isinstance(token, Imports):
        raise NotSupported(f"{token.info().label} cannot import keys")
    return token.import_key(private, spec)


def _same_key(told: PublicKey, computed: PublicKey) -> PublicKey:
    """`computed` if the token holds that key; a token does not know the sign of a Montgomery key."""
    montgomery = computed.algorithm.family is Family.MONTGOMERY
    same = told.u == computed.u if montgomery else told.octets == computed.octets
    if told.algorithm is not computed.algorithm or not same:
        raise IntegrityError("the token tells another public key than the one that was imported")
    return computed
