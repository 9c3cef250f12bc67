"""The promises that are about a token as a whole."""

from __future__ import annotations

import secrets
from contextlib import suppress

from meshhw.algorithms import Algorithm, Operation
from meshhw.conformance.model import Broken, NotApplicable
from meshhw.conformance.subject import Subject
from meshhw.errors import DecryptionFailed, MeshError, NotSupported, PinIncorrect, TokenFull
from meshhw.keystore import attestation
from meshhw.keystore.api import (
    Administers,
    Agrees,
    Attests,
    Generates,
    Key,
    KeySpec,
    OpenOptions,
    PinPolicy,
    Seals,
    Signs,
    StoresData,
)
from meshhw.keystore.interaction import PinKind, PinRequest, Scripted

_SIZES = (1, 32, 128, 129, 1000)
_SHORT, _LONG = 64, 700


def seals(subject: Subject) -> None:
    """Promise.SEALS."""
    token = subject.token
    if not isinstance(token, Seals) or not subject.capabilities.seals:
        raise NotApplicable("the token seals nothing")
    purpose = b"conformance"
    for size in _SIZES:
        secret = secrets.token_bytes(size)
        if token.unseal(token.seal(secret, purpose), purpose) != secret:
            raise Broken(f"a secret of {size} octets came back changed")
    blob = token.seal(b"secret", purpose)
    changed = blob[:-1] + bytes([blob[-1] ^ 1])
    for what, sealed, named in (("purpose", blob, b"another"), ("blob", changed, purpose)):
        try:
            token.unseal(sealed, named)
        except DecryptionFailed:
            continue
        raise Broken(f"a changed {what} was accepted")


def stores(subject: Subject) -> None:
    """Promise.STORES. A token with little room may refuse the longer octets, if it refuses them everywhere
    and keeps the others.
    """
    token = subject.token
    if not isinstance(token, StoresData) or not subject.capabilities.stores_data:
        raise NotApplicable("the token stores no data")
    name = f"conformance-{secrets.token_hex(4)}"
    try:
        kept = b"first"
        token.store_data(name, kept)
        _require_kept(token, name, kept)
        longer = secrets.token_bytes(_LONG)
        try:
            token.store_data(name, longer)
            kept = longer
        except TokenFull:
            _require_little_room(token)
        _require_kept(token, name, kept)
    finally:
        token.delete_data(name)
    if token.load_data(name) is not None:
        raise Broken("what was removed is still there")


def _require_little_room(token: StoresData) -> None:
    """Who refused longer octets has no room for such under another name either, but for short ones."""
    name = f"conformance-{secrets.token_hex(4)}"
    try:
        short = secrets.token_bytes(_SHORT)
        token.store_data(name, short)
        _require_kept(token, name, short)
        token.delete_data(name)
        with suppress(TokenFull):
            token.store_data(name, secrets.token_bytes(_LONG))
            raise Broken(f"{_LONG} octets are refused in the place of others, though there is room for them")
    finally:
        token.delete_data(name)


def _require_kept(token: StoresData, name: str, data: bytes) -> None:
    if token.load_data(name) != data or name not in token.data_names():
        raise Broken("what was stored does not come back")


def attests(subject: Subject) -> None:
    """Promise.ATTESTS, up to the root that the token itself presents."""
    token = subject.token
    if not isinstance(token, Attests):
        raise NotApplicable("the token attests nothing")
    algorithm = _generated_algorithm(subject)
    with subject.generated(algorithm) as key:
        try:
            statement = token.attest(key.uri)
        except NotSupported:
            if subject.capabilities.can(algorithm, Operation.ATTEST):
                raise
            raise NotApplicable("the token attests nothing") from None
        if not statement.chain:
            raise Broken("the attestation has no chain")
        facts = attestation.verify(statement, statement.chain[-1:])
        if facts.public.octets != key.public.octets:
            raise Broken("the attestation is of another key")
        if facts.generated_inside is not True:
            raise Broken("a key made inside is not attested as one")


def honest(subject: Subject) -> None:
    """Promise.HONEST: generating what the matrix leaves out is refused as NotSupported.

    A token that says that its matrix is not complete must tell the algorithm once a key was made.
    """
    token = subject.token
    if not isinstance(token, Generates):
        raise NotApplicable("the token makes no keys")
    for algorithm in Algorithm:
        if subject.capabilities.can(algorithm, Operation.GENERATE):
            continue
        try:
            key = token.generate(KeySpec(algorithm, "conformance-unlisted"))
        except NotSupported:
            continue
        except MeshError as error:
            raise Broken(f"{algorithm}: {type(error).__name__} instead of NotSupported") from error
        told = token.capabilities().can(algorithm, Operation.GENERATE)
        subject.remove(key)
        if subject.capabilities.complete or not told:
            raise Broken(f"{algorithm} is not in the matrix, yet a key was made")


def pin(subject: Subject) -> None:
    """Promise.PIN. Spends one try of the token, so it runs only on tokens that may be wiped."""
    token = subject.token
    if not isinstance(token, Administers):
        raise NotApplicable("the token's PIN cannot be managed")
    before = token.retries_left(PinKind.USER)
    if before is None:
        raise NotApplicable("the token counts no tries, or does not tell")
    if before < 3:
        raise NotApplicable("too few tries are left to spend one")
    script = Scripted(lambda _: "000000")
    with_wrong_pin = subject.again(OpenOptions(interaction=script))
    try:
        _wrong_once(Subject.of(with_wrong_pin), before)
        if len([asked for asked in script.asked if _is_user(asked)]) != 1:
            raise Broken("one wrong PIN was asked for more than once")
    finally:
        with_wrong_pin.close()
    after = token.retries_left(PinKind.USER)
    if after != before - 1:
        raise Broken(f"{before} tries were left, now {after}")


def _wrong_once(subject: Subject, before: int) -> None:
    try:
        _use_pin(subject)
    except PinIncorrect as error:
        if error.retries_left != before - 1:
            message = f"the error says {error.retries_left} tries, {before - 1} are left"
            raise Broken(message) from error
        return
    raise Broken("a wrong PIN was accepted")


def _use_pin(subject: Subject) -> None:
    """Make and use a key behind the PIN, where the token lets one say so; seal, where it makes no keys."""
    token = subject.token
    if not isinstance(token, Generates):
        if not (isinstance(token, Seals) and subject.capabilities.seals):
            raise NotApplicable("nothing here asks for the PIN")
        token.seal(b"conformance", b"conformance")
        return
    algorithm = _generated_algorithm(subject)
    try:
        with subject.generated(algorithm, pin_policy=PinPolicy.ONCE) as key:
            _use(key)  # a PIV card makes keys without the PIN
    except NotSupported:
        with subject.generated(algorithm) as key:
            _use(key)


def _use(key: Key) -> None:
    if isinstance(key, Agrees):
        key.agree(key.public)
    elif isinstance(key, Signs):
        key.sign(b"conformance")


def _is_user(request: PinRequest) -> bool:
    return request.kind in (PinKind.USER, PinKind.CONTEXT)


def _generated_algorithm(subject: Subject) -> Algorithm:
    for algorithm in subject.capabilities.algorithms():
        if algorithm.agrees and subject.capabilities.can(algorithm, Operation.GENERATE):
            return algorithm
    for algorithm in subject.capabilities.algorithms():
        if subject.capabilities.can(algorithm, Operation.GENERATE):
            return algorithm
    raise NotApplicable("the token makes no keys")
