"""An open PKCS#11 token: its keys, and by composition whatever else this very token can do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from pkcs11 import Attribute, KeyType, ObjectClass
from pkcs11.exceptions import PKCS11Error

from meshhw.algorithms import Operation, PrivateKey
from meshhw.errors import Ambiguous, KeyNotFound, NotSupported
from meshhw.keystore.api import (
    Capabilities,
    KeySpec,
    Needs,
    OpenOptions,
    PinPolicy,
    Protection,
    TokenInfo,
    TouchPolicy,
)
from meshhw.keystore.log import recorded, recorded_making
from meshhw.keystore.uri import KeyURI, TokenURI
from meshhw_pkcs11.administer import AdministersToken
from meshhw_pkcs11.capabilities import Abilities
from meshhw_pkcs11.data import StoresDataObjects
from meshhw_pkcs11.discovery import Found
from meshhw_pkcs11.errors import code_of, wire_code
from meshhw_pkcs11.keys import Pkcs11Key, key_class
from meshhw_pkcs11.objects import Described, describe, private_keys, public_candidates, public_objects
from meshhw_pkcs11.proof import belongs
from meshhw_pkcs11.sealing import SealsSecrets
from meshhw_pkcs11.search import objects
from meshhw_pkcs11.session import Session

if TYPE_CHECKING:
    import pkcs11

_log = logging.getLogger("meshhw.pkcs11")
_FLAGS = (
    Attribute.SENSITIVE,
    Attribute.EXTRACTABLE,
    Attribute.ALWAYS_SENSITIVE,
    Attribute.NEVER_EXTRACTABLE,
    Attribute.LOCAL,
)


class Pkcs11Token:
    """What every token does: it says what it is, and finds its keys."""

    def __init__(self, found: Found, uri: TokenURI, options: OpenOptions, abilities: Abilities) -> None:
        self._uri = uri
        self._options = options
        self._abilities = abilities
        self.session = Session(found, uri, options)

    def info(self) -> TokenInfo:
        """What it is."""
        return self.session.found.info()

    def capabilities(self) -> Capabilities:
        """What this very token can do."""
        return self._abilities.matrix(self.session.guarded)

    def keys(self) -> Sequence[Pkcs11Key]:
        """Its private keys of the algorithms that this project knows. One whose public half is not there, nor
        in a certificate, is warned of and left out: nothing could be named by it."""
        self.session.login.lapse()  # logged out by somebody else, a module would show fewer keys
        return self.session.run(self._listed)

    def key(self, uri: KeyURI) -> Pkcs11Key:
        """The key of that CKA_ID and label. Raises KeyNotFound, Ambiguous."""
        self.session.login.lapse()
        found = self.session.run(lambda session: list(self._handles(session, _named(session, uri))))
        if not found:
            raise self._not_found(uri)
        if len(found) > 1:
            raise Ambiguous(
                f"{self.session.name} holds {len(found)} keys {uri}",
                candidates=tuple(str(key.uri) for key in found),
            )
        return found[0]

    def needs_of_key(self, key: KeyURI) -> Needs:
        """The PIN until it was given: before, a module shows no private key."""
        return Needs(pin=self.session.login.needed)

    def needs_to_unseal(self, blob: bytes) -> Needs:
        """The PIN until it was given."""
        return Needs(pin=self.session.login.needed)

    def shows_key(self, key: KeyURI) -> bool | None:
        """By the public key objects that a session without login finds."""
        name = key.attributes.get("id")
        own = {Attribute.LABEL: key.attributes.get("object", b"").decode("utf-8", "replace")}
        template = own if name is None else {Attribute.ID: name}

        def work(session: pkcs11.Session) -> bool | None:
            public = {Attribute.CLASS: ObjectClass.PUBLIC_KEY}
            if objects(session, public | template):
                return True
            return False if objects(session, public) else None

        return self.session.run(work, login=False)

    def _not_found(self, uri: KeyURI) -> KeyNotFound:
        if self.session.run(lambda session: any(map(describe, _named(session, uri)))):
            return KeyNotFound(
                f"{self.session.name} holds the private key {uri}, but not its public half",
                hint="put its public key or certificate there under the same CKA_ID: "
                "`pkcs11-tool --write-object FILE --type pubkey --id ID`",
            )
        return KeyNotFound(f"{self.session.name} holds no key {uri}")

    def protection(self, key: KeyURI) -> Protection:
        """The key's flags, and what the token answers to an attempt to read it."""
        return self.session.run(lambda session: _protection(self._object(session, key)))

    def count_calls(self, work: Callable[[], object]) -> int:
        """How many functions of the token's module this process calls while `work` runs."""
        return self.session.found.library.module.functions.counted(work)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """One login for a batch."""
        self.session.run(lambda _session: None)
        yield

    def close(self) -> None:
        """Log out and close. Twice is fine."""
        self.session.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._uri}>"

    def _listed(self, session: pkcs11.Session) -> list[Pkcs11Key]:
        found = []
        for one in private_keys(session):
            described = describe(one)
            if described is None:
                continue
            if key := self._handle(session, one, described):
                found.append(key)
            else:
                name, uri = self.session.name, self._uri.key(**_names(described))
                _log.warning("%s holds a private key without its public half, left out: %s", name, uri)
        return found

    def _handles(self, session: pkcs11.Session, objects: Sequence[Any]) -> Iterator[Pkcs11Key]:
        for found in objects:
            described = describe(found)
            if described is not None and (key := self._handle(session, found, described)) is not None:
                yield key

    def _handle(self, session: pkcs11.Session, found: Any, described: Described) -> Pkcs11Key | None:
        uses = self._abilities.uses_of(described.algorithm, described.uses)
        described = replace(described, uses=uses)
        candidates = public_candidates(session, described)
        if len(candidates) > 1 and not described.always_authenticate:
            module = self.session.found.library.module
            uri = self._uri.key(**_names(described))
            used = partial(self._options.recorder.record, uri)
            candidates = [one for one in candidates if belongs(module, found, described, one, used)]
        if not candidates:
            return None
        key = key_class(described.algorithm, described.uses)(
            self.session,
            self._uri.key(**_names(described)),
            described,
            candidates[0],
            recorder=self._options.recorder,
            oaep_sha256=self._abilities.facts.oaep_sha256,
        )
        key.remember(found)
        return key

    def _object(self, session: pkcs11.Session, uri: KeyURI) -> Any:
        found = _named(session, uri)
        if not found:
            raise KeyNotFound(f"{self.session.name} holds no key {uri}")
        if len(found) > 1:
            raise Ambiguous(f"{self.session.name} holds {len(found)} keys {uri}")
        return found[0]

    def _made(self, session: pkcs11.Session, created: Any) -> Pkcs11Key:
        made = next(self._handles(session, [created]), None)
        if made is None:
            raise KeyNotFound(f"{self.session.name} does not show the key that it just made")
        return made


class GeneratesKeys(Pkcs11Token):
    """Tokens with key generation."""

    def generate(self, spec: KeySpec) -> Pkcs11Key:
        """A new key pair, private, sensitive and not extractable. Raises NotSupported, TokenFull."""
        from meshhw_pkcs11 import making  # most commands make no key: they start sooner without

        self._check(spec, Operation.GENERATE)
        form = None if spec.algorithm.family == "rsa" else self._abilities.form(spec.algorithm)
        plain = self._abilities.facts.plain_templates

        def work(session: pkcs11.Session) -> Pkcs11Key:
            return self._made(session, making.generate(session, spec, form, plain=plain))

        return self._recorded(Operation.GENERATE, work)

    def _recorded(self, operation: Operation, work: Callable[[pkcs11.Session], Pkcs11Key]) -> Pkcs11Key:
        """Make a key, and tell the recorder."""
        return recorded_making(
            self._options.recorder,
            self.info().uri,
            operation,
            lambda: self.session.run(work),
            lambda uri: self.discard(uri.attributes.get("id", b"")),
        )

    def reserve(self) -> bytes:
        """A fresh CKA_ID."""
        from meshhw_pkcs11.making import new_id

        return new_id()

    def discard(self, name: bytes) -> bool:
        """Destroy the private and public key objects of this CKA_ID; whether there were any."""

        def work(session: pkcs11.Session) -> bool:
            halves = (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY)
            found = [
                one
                for half in halves
                for one in objects(session, {Attribute.CLASS: half, Attribute.ID: name})
            ]
            for one in found:
                one.destroy()
            return bool(found)

        if not self.session.run_unused(work):
            return False
        self._options.recorder.record(self.info().uri.key(id=name), Operation.DELETE, "ok")
        return True

    def _check(self, spec: KeySpec, operation: Operation) -> None:
        if not self.capabilities().can(spec.algorithm, operation):
            why = self._abilities.why_not(spec.algorithm)
            raise NotSupported(
                f"{self.session.name} cannot {operation} {spec.algorithm} keys"
                + ("" if why is None else f": {why}")
            )
        if spec.touch_policy not in (TouchPolicy.DEFAULT, TouchPolicy.NEVER):
            raise NotSupported(f"{self.session.name} has no touch policy")
        if spec.pin_policy is PinPolicy.NEVER:
            raise NotSupported(f"{self.session.name} keeps private keys behind its PIN")
        if spec.place is not None:
            raise NotSupported("a PKCS#11 token has no places to choose from", hint="give the key a label")


class ImportsKeys(GeneratesKeys):
    """Tokens that take a private key."""

    def import_key(self, private: PrivateKey, spec: KeySpec) -> Pkcs11Key:
        """Import as private, sensitive and not extractable. Raises NotSupported, FormatError, TokenFull."""
        from meshhw_pkcs11 import making
        from meshhw_pkcs11.scalars import loadable

        if private.algorithm is not spec.algorithm:
            raise NotSupported(f"a key of {private.algorithm} cannot be imported as {spec.algorithm}")
        self._check(spec, Operation.IMPORT)
        form = None if spec.algorithm.family == "rsa" else self._abilities.form(spec.algorithm)
        values = loadable(private)

        def work(session: pkcs11.Session) -> Pkcs11Key:
            return self._made(session, making.store(session, spec, values, form))

        return self._recorded(Operation.IMPORT, work)


class DeletesKeys(Pkcs11Token):
    """Tokens whose objects can be destroyed."""

    def delete(self, key: KeyURI) -> None:
        """Destroy the private key and, unless another private key shares it, its public half."""
        with recorded(self._options.recorder, key, Operation.DELETE):
            self.session.run_unused(lambda session: self._destroy(session, key))

    def _destroy(self, session: pkcs11.Session, uri: KeyURI) -> None:
        found = self._object(session, uri)
        described = describe(found)
        found.destroy()
        if described is not None and not private_keys(session, described.id):
            for public in public_objects(session, described):
                public.destroy()


class WritableToken(ImportsKeys, DeletesKeys, SealsSecrets, AdministersToken):
    """A token that makes, imports, deletes and seals."""


class WritableDataToken(WritableToken, StoresDataObjects):
    """One that keeps data objects too."""


class GeneratingToken(GeneratesKeys, DeletesKeys, SealsSecrets, AdministersToken):
    """A token that takes no private key from outside."""


class GeneratingDataToken(GeneratingToken, StoresDataObjects):
    """One that keeps data objects too."""


def open_token(found: Found, uri: TokenURI, options: OpenOptions) -> Pkcs11Token:
    """The token with the powers that it has."""
    abilities = Abilities(found)
    if not (abilities.writable and abilities.facts.generates):
        return Pkcs11Token(found, uri, options, abilities)
    kinds: dict[tuple[bool, bool], type[Pkcs11Token]] = {
        (True, True): WritableDataToken,
        (True, False): WritableToken,
        (False, True): GeneratingDataToken,
        (False, False): GeneratingToken,
    }
    kind = kinds[bool(abilities.facts.imports), abilities.facts.stores_data]
    return kind(found, uri, options, abilities)


def _names(key: Described) -> dict[str, str | bytes]:
    """The attributes of a key's URI."""
    names: dict[str, str | bytes] = {"type": "private"}
    if key.label:
        names["object"] = key.label
    if key.id:
        names["id"] = key.id
    return names


def _named(session: pkcs11.Session, uri: KeyURI) -> list[Any]:
    attributes = uri.attributes
    if attributes.get("type", b"private") != b"private":
        return []
    label = attributes.get("object")
    return private_keys(
        session, attributes.get("id"), None if label is None else label.decode("utf-8", "replace")
    )


def _protection(key: Any) -> Protection:
    said = key.get_attributes(_FLAGS)
    answers = {f"CKA_{Attribute(flag).name}": str(bool(value)).lower() for flag, value in said.items()}
    secret = Attribute.PRIVATE_EXPONENT if key.key_type == KeyType.RSA else Attribute.VALUE
    answers[f"read CKA_{secret.name}"], readable = _attempt(key, secret)
    extractable = said.get(Attribute.EXTRACTABLE)
    return Protection(
        extractable=None if extractable is None else bool(extractable) or readable,
        generated_inside=said.get(Attribute.LOCAL),
        answers=answers,
    )


def _attempt(key: Any, secret: Attribute) -> tuple[str, bool]:
    """The token's answer to C_GetAttributeValue for the private value, and whether it gave the value away."""
    try:
        key[secret]
    except PKCS11Error as error:
        code = code_of(error)
        return (wire_code(code).name if code is not None else type(error).__name__), False
    return "the value", True
