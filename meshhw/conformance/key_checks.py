"""The promises that are about keys of one algorithm."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TypeVar

from meshhw.algorithms import Algorithm, Family, Operation, PrivateKey, PublicKey
from meshhw.conformance import independent
from meshhw.conformance.model import Broken, NotApplicable
from meshhw.conformance.peers import bad_peers
from meshhw.conformance.subject import Subject
from meshhw.errors import Ambiguous, DecryptionFailed, InvalidPublicKey, KeyNotFound, MeshError, NotSupported
from meshhw.keystore.api import (
    Agrees,
    AgreesFully,
    Decrypts,
    Deletes,
    Key,
    Signs,
    SignsDigest,
    TellsProtection,
    UnwrapsAgreed,
)

_P = TypeVar("_P")
MESSAGE = b"what is signed must be what was meant"
INFO = b"meshhw/conformance/1"
PADDINGS = ("oaep-sha256", "oaep-sha1")


def confined(subject: Subject, algorithm: Algorithm) -> None:
    """Promise.CONFINED."""
    if not isinstance(subject.token, TellsProtection):
        raise NotApplicable("the token cannot be asked")
    with subject.generated(algorithm) as key:
        said = subject.token.protection(key.uri)
    if said.extractable is not False:
        raise Broken(f"the token says: {dict(said.answers)}")
    if any(name in dir(key) for name in ("private_bytes", "private_key", "export")):
        raise Broken("the handle offers the private key")


def signs(subject: Subject, algorithm: Algorithm) -> None:
    """Promise.SIGNS: messages of no octet, of one, and longer than a card takes in one piece."""
    _needs(subject, algorithm, Operation.SIGN)
    with subject.generated(algorithm, Operation.SIGN) as key:
        signer = _with(key, Signs)
        for message in (b"", b"\0", MESSAGE, bytes(range(256)) * 20):
            try:
                signature = signer.sign(message)
            except NotSupported:
                if not 0 < len(message) <= 77:  # what this project itself signs must always work
                    continue
                raise
            independent.check_signature(key.public, message, signature)


def pure(subject: Subject, algorithm: Algorithm) -> None:
    """Promise.PURE: modules are known that ignore a context silently, so none may reach them."""
    if algorithm.family is not Family.EDWARDS:
        raise NotApplicable("only EdDSA knows contexts")
    _needs(subject, algorithm, Operation.SIGN)
    with subject.generated(algorithm, Operation.SIGN) as key:
        sign: Callable[..., bytes] = _with(key, Signs).sign
        independent.check_signature(key.public, MESSAGE, sign(MESSAGE))
        for asked in ({"context": b"context"}, {"prehash": True}):
            try:
                sign(MESSAGE, **asked)
            except (TypeError, NotSupported):
                continue
            raise Broken(f"{next(iter(asked))} was taken")


def signs_digest(subject: Subject, algorithm: Algorithm) -> None:
    """Promise.SIGNS_DIGEST."""
    _needs(subject, algorithm, Operation.SIGN_DIGEST)
    with subject.generated(algorithm, Operation.SIGN) as key:
        signer = _with(key, SignsDigest)
        digest = independent.digest(algorithm, MESSAGE)
        for _ in range(4):  # an un-normalised s would be high every second time
            signature = signer.sign_digest(digest)
            independent.check_signature(key.public, digest, signature, prehashed=True)
            independent.check_low_s(algorithm, signature)


def agrees(subject: Subject, algorithm: Algorithm) -> None:
    """Promise.AGREES."""
    _needs(subject, algorithm, Operation.AGREE)
    with subject.generated(algorithm, Operation.AGREE) as key:
        holder = _with(key, Agrees)
        for _ in range(3):
            partner = independent.Partner.new(algorithm)
            if holder.agree(partner.public) != partner.agree(key.public):
                raise Broken("the two sides differ")


def unwraps(subject: Subject, algorithm: Algorithm) -> None:
    """Promise.UNWRAPS: keys of 32 octets, as envelopes have, of the least and of a greater length."""
    _needs(subject, algorithm, Operation.UNWRAP)
    with subject.generated(algorithm, Operation.UNWRAP) as key:
        holder, partner = _with(key, UnwrapsAgreed), independent.Partner.new(algorithm)
        for length in (32, 16, 64):
            secret = secrets.token_bytes(length)
            wrapped = partner.wrap(key.public, INFO, secret)
            if holder.unwrap(partner.public, INFO, wrapped) != secret:
                raise Broken(f"{length} octets come back changed")
        other = independent.Partner.new(algorithm)
        changed = wrapped[:-1] + bytes([wrapped[-1] ^ 1])
        for defect, peer, info, octets in (
            ("another sender", other.public, INFO, wrapped),
            ("another info", partner.public, INFO + b"\0", wrapped),
            ("a changed octet", partner.public, INFO, changed),
            ("too few octets", partner.public, INFO, wrapped[:16]),
            ("half a block", partner.public, INFO, wrapped[:-4]),
            ("no octets", partner.public, INFO, b""),
        ):
            try:
                holder.unwrap(peer, info, octets)
            except DecryptionFailed:
                continue
            raise Broken(f"{defect} was taken")


def full_point(subject: Subject, algorithm: Algorithm) -> None:
    """Promise.POINT."""
    _needs(subject, algorithm, Operation.AGREE_POINT)
    with subject.generated(algorithm, Operation.AGREE) as key:
        partner = independent.Partner.new(algorithm)
        point = _with(key, AgreesFully).agree_point(partner.public)
        size = algorithm.field_length
        start = 1 if algorithm.family is Family.WEIERSTRASS else 0
        if point[start : start + size] != partner.agree(key.public):
            raise Broken("the point's coordinate is another")


def refuses_peers(subject: Subject, algorithm: Algorithm) -> None:
    """Promise.REFUSES_PEERS."""
    uses = [one for one in (Operation.AGREE, Operation.UNWRAP) if subject.capabilities.can(algorithm, one)]
    if not uses:
        raise NotApplicable("the token meets no peers")
    for use in uses:
        with subject.generated(algorithm, use) as key:
            for defect, peer in bad_peers(algorithm).items():
                try:
                    _meet(key, use, peer)
                except InvalidPublicKey:
                    continue
                raise Broken(f"a peer was taken: {defect}")


def _meet(key: Key, use: Operation, peer: PublicKey) -> None:
    if use is Operation.AGREE:
        _with(key, Agrees).agree(peer)
    else:
        _with(key, UnwrapsAgreed).unwrap(peer, INFO, bytes(40))


def decrypts(subject: Subject, algorithm: Algorithm) -> None:
    """Promise.DECRYPTS."""
    _needs(subject, algorithm, Operation.DECRYPT)
    tried: list[str] = []
    with subject.generated(algorithm, Operation.DECRYPT) as key:
        holder = _with(key, Decrypts)
        for name in PADDINGS:
            try:
                if holder.decrypt(independent.encrypt(key.public, MESSAGE, name), name) != MESSAGE:
                    raise Broken(f"{name}: another plaintext")
                tried.append(name)
            except NotSupported:
                continue
    if not tried:
        raise Broken("no padding works")


def imports(subject: Subject, algorithm: Algorithm) -> None:
    """Promise.IMPORTS."""
    _needs(subject, algorithm, Operation.IMPORT)
    private, public = independent.fresh_private(algorithm)
    with subject.imported(private) as key:
        if key.public.octets[:56] != public.octets[:56]:
            raise Broken("the token shows another public key")
        if isinstance(subject.token, TellsProtection):
            said = subject.token.protection(key.uri)
            if said.extractable is not False:
                raise Broken(f"the token says: {dict(said.answers)}")
        if isinstance(key, Signs):
            independent.check_signature(public, MESSAGE, key.sign(MESSAGE))
        if isinstance(key, Agrees):
            partner = independent.Partner.new(algorithm)
            if key.agree(partner.public) != partner.agree(public):
                raise Broken("the imported key agrees on something else")


def clamps(subject: Subject, algorithm: Algorithm) -> None:
    """Promise.CLAMPS."""
    if algorithm.family is not Family.MONTGOMERY:
        raise NotApplicable("nothing is clamped here")
    _needs(subject, algorithm, Operation.IMPORT)
    size = algorithm.field_length
    octets = bytes([0xFF]) + secrets.token_bytes(size - 2) + bytes([0x3F])
    clamped = _clamp(algorithm, octets)
    partner = independent.Partner.new(algorithm)
    with subject.imported(PrivateKey(algorithm, octets), Operation.AGREE) as key:
        raw = _with(key, Agrees).agree(partner.public)
    with subject.imported(PrivateKey(algorithm, clamped), Operation.AGREE) as key:
        if _with(key, Agrees).agree(partner.public) != raw:
            raise Broken("an unclamped scalar acts otherwise than its clamped form")


def duplicates(subject: Subject, algorithm: Algorithm) -> None:
    """Promise.DUPLICATES."""
    _only_curves(algorithm)
    _needs(subject, algorithm, Operation.GENERATE)
    label = f"twins-{secrets.token_hex(4)}"
    with (
        subject.generated(algorithm, label=label) as one,
        subject.generated(algorithm, label=label) as two,
    ):
        if one.uri == two.uri or subject.token.key(one.uri).public == subject.token.key(two.uri).public:
            raise Broken("two keys share one name")


def deletes(subject: Subject, algorithm: Algorithm) -> None:
    """Promise.DELETES."""
    _only_curves(algorithm)
    if not isinstance(subject.token, Deletes):
        raise NotApplicable("the token deletes nothing")
    _needs(subject, algorithm, Operation.GENERATE)
    with subject.generated(algorithm) as key:
        subject.token.delete(key.uri)
        try:
            subject.token.key(key.uri)
        except (KeyNotFound, Ambiguous):
            pass
        else:
            raise Broken("the key can still be found")
        if isinstance(key, Signs) and _works(key):
            raise Broken("a handle still signs")


def _only_curves(algorithm: Algorithm) -> None:
    if algorithm.family is Family.RSA:
        raise NotApplicable("asked of the curves; RSA keys take too long to make")


def _works(key: Signs) -> bool:
    try:
        key.sign(MESSAGE)
    except MeshError:
        return False
    return True


def _needs(subject: Subject, algorithm: Algorithm, operation: Operation) -> None:
    if not subject.capabilities.can(algorithm, operation):
        raise NotApplicable(f"the token does not {operation}")


def _with(key: Key, protocol: type[_P]) -> _P:
    if not isinstance(key, protocol):
        raise Broken(f"the matrix promises what the key's class has not: {protocol.__name__}")
    return key


def _clamp(algorithm: Algorithm, octets: bytes) -> bytes:
    """RFC 7748 section 5."""
    first, last = (0xF8, 0x7F) if algorithm is Algorithm.X25519 else (0xFC, 0xFF)
    top = 0x40 if algorithm is Algorithm.X25519 else 0x80
    return bytes([octets[0] & first]) + octets[1:-1] + bytes([octets[-1] & last | top])
