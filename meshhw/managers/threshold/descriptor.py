"""The signed descriptor: writing it with a device's key, and reading one as far as it can be trusted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from meshhw.algorithms import Algorithm, PublicKey
from meshhw.curves.check import decode_checked
from meshhw.curves.named import curve_named
from meshhw.curves.point import Point
from meshhw.dare.signing import Signer
from meshhw.errors import (
    FormatError,
    IntegrityError,
    KeyNotFound,
    NotSupported,
    SignatureInvalid,
    TokenNotFound,
)
from meshhw.keystore.api import Signs
from meshhw.managers.host import Host, KeyHandle
from meshhw.managers.threshold.signed import open_descriptor, sign_object
from meshhw.managers.threshold.store import KeyStore, Seen
from meshhw.managers.threshold.tokens import OpenTokens
from meshhw.schema.keydata import public_key
from meshhw.schema.threshold import FORMAT, MAX_HOLDERS, ThresholdDescriptor, ThresholdKey
from meshhw.threshold.shares import Commitments
from meshhw.udf import fingerprint


@dataclass(frozen=True, slots=True)
class Loaded:
    """A descriptor that was accepted, and the device key that signed it."""

    value: ThresholdDescriptor
    signer: PublicKey

    def key(self, purpose: str) -> ThresholdKey:
        """The `decryption` or `signing` key. Raises NotSupported when there is none."""
        found: ThresholdKey | None = getattr(self.value, purpose)
        if found is None:
            raise NotSupported(
                f"{self.value.name} has no {purpose} key", hint="it is chosen by --use when provisioning"
            )
        return found


def load(store: KeyStore, host: Host) -> Loaded:
    """The descriptor of a key of this home. Raises KeyNotFound, and as `read`."""
    return read(store.descriptor(), store, local_devices(host))


def local_devices(host: Host) -> list[PublicKey]:
    """The signature keys of this machine's devices."""
    return [record.key("signature").public_key for record in host.profiles("ProfileDevice")]


def read(octets: bytes, store: KeyStore, trusted: Sequence[PublicKey], *, remember: bool = True) -> Loaded:
    """A descriptor, if it carries on from what was seen before.

    The first descriptor of a key must be signed by a device in `trusted` that it lists; every later one by a
    device that the one before listed, or by the group's own signing key. Without `remember` it is checked and
    still not what was seen. Raises FormatError, SignatureInvalid, IntegrityError.
    """
    value, signer, body = open_descriptor(octets)
    if value.format != FORMAT:
        raise FormatError(f"a descriptor of format {value.format} is not known here", hint="upgrade meshhw")
    if value.name != store.name:
        raise IntegrityError(f"this is the descriptor of {value.name!r}, not of {store.name!r}")
    for key in (value.decryption, value.signing):
        if key is not None:
            _check(key, value)
    found = _seen(value, body)
    if fingerprint(signer) not in found.signers:
        raise SignatureInvalid("the descriptor is not signed by a device that it lists")
    store.accept(value.identifier, found, fingerprint(signer), trusted=signer in trusted, remember=remember)
    return Loaded(value, signer)


def _seen(value: ThresholdDescriptor, body: bytes) -> Seen:
    own = [key.udf for key in (value.signing,) if key is not None]
    return Seen(
        version=value.version,
        digest=hashlib.sha512(body).hexdigest(),
        signers=(*(fingerprint(device) for device in devices_of(value)), *own),
        keys=tuple(key.udf for key in (value.decryption, value.signing) if key is not None),
    )


def devices_of(value: ThresholdDescriptor) -> list[PublicKey]:
    """The keys that may sign for the descriptor."""
    return [public_key(data, "device") for data in value.devices]


def save(value: ThresholdDescriptor, signer: Signer, store: KeyStore) -> Loaded:
    """Sign a descriptor, check it as a reader would, and keep it."""
    return keep(sign_object(value, signer).octets(), store, [signer.public])


def keep(octets: bytes, store: KeyStore, trusted: Sequence[PublicKey]) -> Loaded:
    """Put a descriptor in the place of the one here, which it must carry on from. Raises as `read`.

    Whatever interrupts this leaves one that is accepted: a later one is in its place before it is remembered,
    since it is accepted by what the one before lists; a first one is remembered before, since who vouches for
    it now is not there at the next look.
    """
    value, _, _ = open_descriptor(octets)
    read(octets, store, trusted, remember=not store.was_seen(value.identifier))
    store.save_descriptor(octets)
    return read(octets, store, trusted)


@contextmanager
def device_signer(host: Host, tokens: OpenTokens, *, among: Sequence[PublicKey] = ()) -> Iterator[Signer]:
    """The signature key of a device of this machine whose token is here, one of `among` if given.

    Raises as `local_device`; NotSupported for a key that does not sign.
    """
    handle = local_device(host, tokens, among=among)
    key = tokens.key(handle.uri)
    if not isinstance(key, Signs):
        raise NotSupported(f"the device key {handle.udf} does not sign")
    yield key


def local_device(host: Host, tokens: OpenTokens, *, among: Sequence[PublicKey] = ()) -> KeyHandle:
    """The signature key of a device of this machine whose token is here, one of `among` if given.

    Asks for no PIN. Raises KeyNotFound when there is no device at all, NotSupported when none is of
    `among`, TokenNotFound when their tokens are away.
    """
    if not host.profiles("ProfileDevice"):
        raise KeyNotFound(
            "this machine has no device, whose key signs for its threshold keys",
            hint="make one first: `meshhw device create --on TOKEN`",
        )
    handles = [record.key("signature") for record in host.profiles("ProfileDevice")]
    listed = [handle for handle in handles if not among or handle.public_key in among]
    for handle in listed:
        if tokens.present(handle.key_uri.token):
            return handle
    if not listed:
        raise NotSupported(
            "no device of this machine may change this threshold key, or ask with it",
            hint="a listed device adds this one: `meshhw threshold device NAME --add FILE`",
        )
    away = ", ".join(str(handle.key_uri.token) for handle in listed)
    raise TokenNotFound(f"the token of this machine's device is not here: {away}", hint="insert it")


def group_point(key: ThresholdKey) -> Point:
    """The group's public point."""
    return decode_checked(curve_named(key.algorithm), key.public)


def group_public(key: ThresholdKey) -> PublicKey:
    """The group's public key as envelopes name it."""
    point, algorithm = group_point(key), Algorithm(key.algorithm)
    return PublicKey(algorithm, point.x_octets() if algorithm is Algorithm.X25519 else point.encode())


def share_point(key: ThresholdKey, index: int) -> Point:
    """The public point of a holder's share."""
    return decode_checked(curve_named(key.algorithm), key.holder(index).share)


def commitments_of(key: ThresholdKey) -> Commitments:
    """The commitments of a dealt key."""
    curve = curve_named(key.algorithm)
    return Commitments(tuple(decode_checked(curve, octets) for octets in key.commitments))


def _check(key: ThresholdKey, value: ThresholdDescriptor) -> None:
    """That the parts of a key fit each other: shares and commitments, or the sum of dealerless shares."""
    indices = [holder.index for holder in key.holders]
    if not 1 <= key.threshold <= len(indices) <= MAX_HOLDERS or len(set(indices)) != len(indices):
        raise FormatError("the descriptor's holders and threshold do not fit")
    if key.udf != fingerprint(group_public(key)):
        raise IntegrityError("the descriptor's Udf is not that of its public key")
    points = {index: share_point(key, index) for index in indices}
    if value.dealerless and key is value.decryption:
        total = sum((points[index] for index in indices[1:]), points[indices[0]])
        fits = total == group_point(key) and key.threshold == len(indices)
    else:
        commitments = commitments_of(key)
        fits = len(commitments.points) == key.threshold and commitments.public == group_point(key)
        fits = fits and all(commitments.share_point(index) == point for index, point in points.items())
    if not fits:
        raise IntegrityError("the descriptor's shares do not belong to its public key")
