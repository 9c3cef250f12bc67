"""The authenticator as a token: it seals secrets and proves presence, and has no keys for anything else."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

from fido2.ctap2.base import Ctap2
from fido2.ctap2.credman import CredentialManagement

from meshhw.algorithms import Operation
from meshhw.errors import Ambiguous, KeyNotFound, MeshError, NotSupported, TokenMismatch
from meshhw.keystore import attestation_fido2
from meshhw.keystore.api import Capabilities, Needs, OpenOptions, TokenInfo
from meshhw.keystore.attestation import Attestation
from meshhw.keystore.interaction import PinKind
from meshhw.keystore.log import in_place_of_key, recorded, recorded_making
from meshhw.keystore.presence import PresenceProof, client_data_hash
from meshhw.keystore.uri import KeyURI
from meshhw.keystore.webauthn import public_from_cose
from meshhw_fido2 import administration, facts, sealing
from meshhw_fido2.connection import Connection
from meshhw_fido2.credentials import Asker, has_pin, holds
from meshhw_fido2.errors import RESET_HINT
from meshhw_fido2.key import PresenceKey
from meshhw_fido2.known import Known, Memory
from meshhw_fido2.pins import Pins, client_pin

T = TypeVar("T")
Use = Literal["seal", "presence"]


class Fido2Token:
    """`meshhw.keystore.api.Token` and its powers over one authenticator. Usable from any thread."""

    def __init__(
        self, info: TokenInfo, aaguid: bytes, connection: Connection, pins: Pins, options: OpenOptions
    ) -> None:
        self._info = info
        self._aaguid = aaguid
        self._connection = connection
        self._pins = pins
        self._asker = Asker(options.interaction, pins, info.label)
        self._recorder = options.recorder
        self._memory = Memory()

    def info(self) -> TokenInfo:
        """What it is."""
        return self._info

    def capabilities(self) -> Capabilities:
        """It seals where it has hmac-secret; it signs and agrees for nobody."""
        return self._connection.run(lambda ctap: Capabilities(seals=sealing.can(ctap)))

    def keys(self) -> Sequence[PresenceKey]:
        """The credentials made here, and those that the authenticator keeps (for which it wants its PIN)."""
        return self._connection.contested(self._keys)

    def key(self, uri: KeyURI) -> PresenceKey:
        """The credential of that name; without one, the only one."""
        named = uri.get("credential")
        if named is not None:
            return self._connection.contested(lambda ctap: self._named(ctap, _credential(named)))
        found = self.keys()
        if not found:
            raise KeyNotFound(f"{self._info.label} has no credential of meshhw")
        if len(found) > 1:
            candidates = tuple(str(one.uri) for one in found)
            raise Ambiguous(f"{self._info.label} has {len(found)} credentials", candidates=candidates)
        return found[0]

    def count_calls(self, work: Callable[[], object]) -> int:
        """How many CTAP commands this token sends while `work` runs."""
        return self._connection.commands.during(work)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """No other thread comes between; each use wants its touch all the same."""
        with self._connection.lock:
            yield

    def close(self) -> None:
        """Forget the PIN and give the device back."""
        self._pins.forget()
        self._connection.close()

    def needs(self) -> Needs:
        """A touch, and the PIN unless it was given."""
        return Needs(pin=not self._pins.given and self._connection.run(has_pin), touch=True)

    def enrol(self, label: str, *, discoverable: bool = True) -> PresenceKey:
        """A new credential that proves presence. Wants a touch, and the PIN where one is set."""

        def make() -> PresenceKey:
            return self._handle(
                self._connection.contested(
                    lambda ctap: self._make(ctap, "presence", label, discoverable=discoverable)
                )
            )

        return recorded_making(self._recorder, self._info.uri, Operation.GENERATE, make, self._remove)

    def prove(self, uri: KeyURI, credential: bytes, digest: bytes) -> PresenceProof:
        """For the handles: an assertion over the digest."""
        hashed = client_data_hash(digest)

        def ask(ctap: Ctap2) -> PresenceProof:
            self._require(ctap, credential)
            proof = self._asker.prove_verified(ctap, hashed, verified=has_pin(ctap))
            answer = self._asker.ask(ctap, credential, hashed, proof=proof)
            return PresenceProof(credential, bytes(answer.auth_data), bytes(answer.signature))

        return self._recorded(uri, Operation.SIGN, ask)

    def delete(self, key: KeyURI) -> None:
        """Remove a credential that the authenticator keeps; one that it does not keep is forgotten here."""
        with recorded(self._recorder, key, Operation.DELETE):
            self._remove(key)

    def _remove(self, key: KeyURI) -> None:
        credential = self.key(key).credential
        known = self._memory.get(credential)
        if known is None or known.discoverable:
            self._connection.contested(lambda ctap: self._asker.delete(ctap, credential))
        self._memory.remove(credential)

    def attest(self, key: KeyURI) -> Attestation:
        """What the authenticator stated when it made the credential; it says it only then."""
        known = self._memory.get(self.key(key).credential)
        if known is None:
            raise NotSupported(
                "the attestation of this credential was not kept here",
                hint="authenticators attest a credential only when they make it",
            )
        return known.attestation

    def seal(self, secret: bytes, purpose: bytes) -> bytes:
        """A blob that this authenticator opens with a touch (and its PIN, where one is set now)."""

        def work(ctap: Ctap2) -> bytes:
            sealing.require(ctap)
            credential = self._sealing_credential(ctap)
            header = sealing.new_header(credential, purpose, verified=has_pin(ctap))
            return sealing.pack(header, sealing.key(self._asker, ctap, header), secret)

        return self._connection.run(work)

    def needs_of_key(self, key: KeyURI) -> Needs:
        """As every use: a touch, and the PIN unless it was given."""
        return self.needs()

    def needs_to_unseal(self, blob: bytes) -> Needs:
        """As every use."""
        return self.needs()

    def unseal(self, blob: bytes, purpose: bytes) -> bytes:
        """The secret. Raises TokenMismatch before anything is asked when another authenticator is there."""
        try:
            header, parsed = sealing.parse(blob, purpose)
        except MeshError as error:
            self._recorder.record(in_place_of_key(self._info.uri), Operation.UNWRAP, type(error).__name__)
            raise

        def work(ctap: Ctap2) -> bytes:
            self._require(ctap, header.credential)
            return parsed.open(sealing.key(self._asker, ctap, header))

        return self._recorded(self._uri_of(header.credential), Operation.UNWRAP, work)

    def change_pin(self, kind: PinKind) -> None:
        """Set the first PIN, or change it."""
        administration.only_user(kind)
        self._connection.run(lambda ctap: administration.change_pin(ctap, self._pins))

    def unlock(self) -> None:
        """Raises NotSupported: only a reset helps."""
        raise NotSupported("a FIDO2 PIN cannot be unlocked", hint=RESET_HINT)

    def retries_left(self, kind: PinKind) -> int | None:
        """Tries that are left for the PIN; None where none is set."""
        administration.only_user(kind)
        return self._connection.run(
            lambda ctap: self._pins.retries(client_pin(ctap)) if has_pin(ctap) else None
        )

    def details(self) -> facts.Facts:
        """What it says of itself."""
        return self._connection.run(facts.details)

    def reset(self) -> None:
        """Erase every credential and the PIN. Wants a touch, within seconds after it was plugged in."""
        with recorded(self._recorder, in_place_of_key(self._info.uri), Operation.DELETE):
            self._connection.run(lambda ctap: administration.reset(ctap, self._asker))
        self._pins.forget()

    def _keys(self, ctap: Ctap2) -> list[PresenceKey]:
        known = [one for one in self._memory.of(self._aaguid, "presence") if holds(ctap, one.credential)]
        found = [self._handle(one) for one in known]
        if not (has_pin(ctap) and CredentialManagement.is_supported(ctap.info)):
            return found
        ours = {one.credential for one in known} | {
            one.credential for one in self._memory.of(self._aaguid, "seal")
        }
        return found + [
            self._key(one.credential, one.public, one.label)
            for one in self._asker.listed(ctap)
            if one.credential not in ours
        ]

    def _named(self, ctap: Ctap2, credential: bytes) -> PresenceKey:
        known = self._memory.get(credential)
        if known is not None:
            self._require(ctap, credential)
            return self._handle(known)
        for key in self._keys(ctap):
            if key.credential == credential:
                return key
        raise KeyNotFound(f"{self._info.label} does not keep this credential")

    def _make(self, ctap: Ctap2, use: Use, label: str, *, discoverable: bool) -> Known:
        verified, challenge = has_pin(ctap), secrets.token_bytes(32)
        made = self._asker.make(ctap, label, challenge, discoverable=discoverable, verified=verified)
        statement = attestation_fido2.make(made.fmt, bytes(made.auth_data), made.att_stmt, challenge)
        data = attestation_fido2.read(statement)
        if use == "seal" and data.extensions.get("hmac-secret") is not True:
            raise NotSupported("the authenticator has no hmac-secret", hint="choose one of CTAP 2.0 or later")
        known = Known(
            use, self._aaguid, data.credential, label, discoverable, verified, statement.statement, challenge
        )
        self._memory.add(known)
        return known

    def _sealing_credential(self, ctap: Ctap2) -> bytes:
        for known in self._memory.of(self._aaguid, "seal"):
            if holds(ctap, known.credential):
                return known.credential
        made = self._make(ctap, "seal", "sealed secrets", discoverable=False).credential
        self._recorder.record(self._uri_of(made), Operation.GENERATE, "ok")
        return made

    def _require(self, ctap: Ctap2, credential: bytes) -> None:
        if not holds(ctap, credential):
            raise TokenMismatch(f"{self._info.label} is another authenticator, or it was reset")

    def _recorded(self, uri: KeyURI, operation: Operation, work: Callable[[Ctap2], T]) -> T:
        try:
            result = self._connection.contested(work)
        except MeshError as error:
            self._recorder.record(uri, operation, type(error).__name__)
            raise
        self._recorder.record(uri, operation, "ok")
        return result

    def _handle(self, known: Known) -> PresenceKey:
        return PresenceKey(self, self._uri_of(known.credential), known.credential, known.public, known.label)

    def _key(self, credential: bytes, cose: Mapping[int, Any], label: str) -> PresenceKey:
        return PresenceKey(self, self._uri_of(credential), credential, public_from_cose(dict(cose)), label)

    def _uri_of(self, credential: bytes) -> KeyURI:
        return self._info.uri.key(credential=credential.hex())


def _credential(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise KeyNotFound(f"{text!r} is no credential's id") from error
