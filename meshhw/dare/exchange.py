"""The key exchange: wrapping a seed for each recipient, and unwrapping it with whatever key is at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec, x448, x25519
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from meshhw.algorithms import Algorithm, Family, PublicKey
from meshhw.dare.findings import Finding
from meshhw.dare.header import Binary, Recipient
from meshhw.dare.kdf import KEK_INFO, LEGACY_KEK_INFOS, SEED_OCTETS, hkdf_sha512, kek_info, seed_kid
from meshhw.dare.keys import public_from_jose, public_to_jose
from meshhw.dare.naming import era_of, same_kid
from meshhw.errors import DecryptionFailed, FormatError, InvalidName, KeyNotFound, NotSupported, TokenError
from meshhw.keystore.api import Agrees, UnwrapsAgreed
from meshhw.keystore.peer import checked_peer
from meshhw.pubkeys import from_cryptography, to_cryptography
from meshhw.udf import UDF, Era, Kind, fingerprint


class HasPublic(Protocol):
    """A private key of any store; whether it agrees or unwraps is found by isinstance."""

    @property
    def public(self) -> PublicKey:
        """Its public key."""
        ...


@dataclass(frozen=True, slots=True)
class RecipientKey:
    """Somebody who shall be able to read. `kid` is written instead of the key's fingerprint where it is
    given, for instance `UDF@domain` of a group."""

    public: PublicKey
    kid: str = ""


class KeyFinder(Protocol):
    """Where a reader's keys come from. It is asked recipient by recipient, so that only tokens that are
    needed are opened."""

    def keys(self, kid: str) -> Iterable[HasPublic]:
        """The keys that this recipient's name may be of. Raises what opening them raises."""
        ...

    def symmetric_keys(self, kid: str) -> Iterable[UDF]:
        """The symmetric keys (type E) that this recipient's name may be of."""
        ...


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Keys that are at hand already."""

    held: Sequence[HasPublic] = ()
    symmetric: Sequence[UDF] = ()

    def keys(self, kid: str) -> Iterable[HasPublic]:
        """All of that name, in either era."""
        return (key for key in self.held if era_of(key.public, kid))

    def symmetric_keys(self, kid: str) -> Iterable[UDF]:
        """All of that name."""
        return (key for key in self.symmetric if same_kid(kid, seed_kid(_symmetric_octets(key))))


Readers = Sequence[RecipientKey | UDF]
"""Public keys, and symmetric keys (UDFs of type E)."""


def wrap_seed(seed: bytes, reader: RecipientKey | UDF, *, compat: bool = False) -> Recipient:
    """The header's entry that gives `reader` the seed. Raises InvalidPublicKey, InvalidName, NotSupported."""
    if isinstance(reader, UDF):
        key = _symmetric_octets(reader)
        kek = hkdf_sha512(key, b"" if compat else KEK_INFO, 32)
        return Recipient(kid=seed_kid(key), wmk=Binary(aes_key_wrap(kek, seed)))
    public = checked_peer(reader.public.algorithm, reader.public)
    if compat and public.algorithm.family is not Family.MONTGOMERY:
        raise NotSupported(
            f"the reference of 2022 cannot decrypt with a {public.algorithm} key", hint="leave --compat away"
        )
    epk, agreed = _ephemeral_agreement(public)
    kek = hkdf_sha512(agreed, b"" if compat else kek_info(epk, public), 32)
    kid = reader.kid or fingerprint(public)
    return Recipient(kid=kid, epk=public_to_jose(epk), wmk=Binary(aes_key_wrap(kek, seed)))


def unwrap_seed(
    recipients: Sequence[Recipient], finder: KeyFinder, *, legacy: bool
) -> tuple[bytes, tuple[Finding, ...]]:
    """The seed, by the first recipient that there is a key for.

    A token that fails is passed over while another key may do; its error is raised when none does. Raises
    KeyNotFound when there is no key of any recipient, DecryptionFailed when there is one and it does not fit.
    """
    failure: TokenError | DecryptionFailed | None = None
    for recipient in recipients:
        try:
            for attempt in _attempts(recipient, finder, legacy):
                try:
                    return attempt()
                except (TokenError, DecryptionFailed) as error:
                    failure = failure or error
        except TokenError as error:
            failure = failure or error
    if failure:
        raise failure
    wanted = ", ".join(recipient.kid for recipient in recipients) or "nobody"
    raise KeyNotFound(
        f"no key here opens this: it is for {wanted}",
        hint="connect the token or give the key (--key FILE) of one of these",
    )


_Attempt = Callable[[], tuple[bytes, tuple[Finding, ...]]]


def _attempts(recipient: Recipient, finder: KeyFinder, legacy: bool) -> Iterator[_Attempt]:
    if recipient.epk is None:
        for secret in finder.symmetric_keys(recipient.kid):
            yield partial(_unwrap_symmetric, recipient, secret, legacy)
        return
    epk = public_from_jose(recipient.epk)
    for key in finder.keys(recipient.kid):
        era = era_of(key.public, recipient.kid)
        if legacy and era:
            yield partial(_unwrap_agreed, recipient, epk, key, era)
        elif era is Era.CURRENT:
            yield partial(_unwrap_agreed, recipient, epk, key, None)


def _unwrap_symmetric(recipient: Recipient, key: UDF, legacy: bool) -> tuple[bytes, tuple[Finding, ...]]:
    secret = _symmetric_octets(key)
    for info in LEGACY_KEK_INFOS if legacy else (KEK_INFO,):
        with suppress(InvalidUnwrap):
            return _unwrapped(hkdf_sha512(secret, info, 32), recipient.wmk), _told(info)
    raise DecryptionFailed("the key does not open this")


def _unwrap_agreed(
    recipient: Recipient, epk: PublicKey, key: HasPublic, era: Era | None
) -> tuple[bytes, tuple[Finding, ...]]:
    """`era` is that of the recipient's name in a legacy envelope, None in our form."""
    if epk.algorithm is not key.public.algorithm:
        raise DecryptionFailed(f"the sender's {epk.algorithm} key does not fit a {key.public.algorithm} key")
    infos = LEGACY_KEK_INFOS if era else (kek_info(epk, key.public),)
    told = (Finding.OLDER_FINGERPRINT,) if era is Era.X509_KEYINFO else ()
    if isinstance(key, UnwrapsAgreed):
        seed, more = _by_key(recipient, epk, key, infos)
        return seed, told + more
    if not isinstance(key, Agrees):
        raise NotSupported(f"the {key.public.algorithm} key {recipient.kid} does not agree")
    edwards = epk.algorithm.family is Family.EDWARDS
    if edwards and not era:
        raise DecryptionFailed("a signature key cannot be a recipient")
    agreed = key.agree(epk)
    for info in infos:
        with suppress(InvalidUnwrap):
            seed = _unwrapped(hkdf_sha512(agreed, info, 32), recipient.wmk)
            return seed, told + _told(info) + ((Finding.EDWARDS_AGREEMENT,) if edwards else ())
    raise DecryptionFailed("the key does not open this")


def _by_key(
    recipient: Recipient, epk: PublicKey, key: UnwrapsAgreed, infos: Sequence[bytes]
) -> tuple[bytes, tuple[Finding, ...]]:
    for info in infos:
        with suppress(DecryptionFailed):
            return _checked_seed(key.unwrap(epk, info, recipient.wmk)), _told(info)
    raise DecryptionFailed("the key does not open this")


def _told(info: bytes) -> tuple[Finding, ...]:
    return (Finding.KEK_INFO_MASTER,) if info == b"master" else ()


def _unwrapped(kek: bytes, wrapped: bytes) -> bytes:
    return _checked_seed(aes_key_unwrap(kek, wrapped))


def _checked_seed(seed: bytes) -> bytes:
    if len(seed) != SEED_OCTETS:
        raise DecryptionFailed("the key does not open this")
    return seed


def _symmetric_octets(key: UDF) -> bytes:
    if key.kind is not Kind.SYMMETRIC:
        raise InvalidName("only a UDF of type E is a symmetric key")
    return key.data


def _ephemeral_agreement(public: PublicKey) -> tuple[PublicKey, bytes]:
    """A fresh key pair's public key and its agreement with `public`: u or x."""
    peer = to_cryptography(public)
    try:
        if isinstance(peer, x25519.X25519PublicKey):
            fresh25519 = x25519.X25519PrivateKey.generate()
            return from_cryptography(fresh25519.public_key()), fresh25519.exchange(peer)
        if isinstance(peer, x448.X448PublicKey):
            fresh448 = x448.X448PrivateKey.generate()
            return from_cryptography(fresh448.public_key()), fresh448.exchange(peer)
    except ValueError as error:
        raise FormatError("the recipient's key cannot be agreed with") from error
    if isinstance(peer, ec.EllipticCurvePublicKey) and public.algorithm in (Algorithm.P256, Algorithm.P384):
        fresh = ec.generate_private_key(peer.curve)
        return from_cryptography(fresh.public_key()), fresh.exchange(ec.ECDH(), peer)
    raise NotSupported(f"a key of {public.algorithm} cannot be a recipient")
