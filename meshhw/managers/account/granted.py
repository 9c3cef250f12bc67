"""The account's keys that somebody holds: those of stores, by epoch, and the common ones.

A store has one key at a time; when a device is disconnected, the stores that it could read get new, random
keys. The number of such a key is its epoch. Older epochs stay readable for who holds them; what is written
goes to the newest.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from meshhw.algorithms import PrivateKey
from meshhw.dare.keys import SeedKey, private_from_jose, private_to_jose
from meshhw.dare.local import LocalKey
from meshhw.errors import FormatError, KeyNotFound, NotSupported
from meshhw.keystore.log import NULL_RECORDER, UseRecorder
from meshhw.managers.account.rights import Rights
from meshhw.privkeys import public_key_of
from meshhw.schema.activation import ActivationCommon, ActivationEntry
from meshhw.schema.codec import from_tagged, to_tagged
from meshhw.schema.key import Key, KeyData
from meshhw.udf import fingerprint


def private_data(private: PrivateKey) -> KeyData:
    """The KeyData of a private key under its fingerprint; only ever inside an encrypted envelope."""
    public = public_key_of(private)
    return KeyData(udf=fingerprint(public), private_parameters=from_tagged(private_to_jose(private), Key))


def private_key(data: KeyData | None, what: str, recorder: UseRecorder = NULL_RECORDER) -> LocalKey:
    """The private key that a role has granted, to be used, which `recorder` is told of. Raises as
    `private_of`."""
    return LocalKey(private_of(data, what), recorder)


def private_of(data: KeyData | None, what: str) -> PrivateKey:
    """The private key that a role has granted, to be put into a token.

    Raises KeyNotFound when it was not granted, FormatError.
    """
    if data is None or data.private_parameters is None:
        raise KeyNotFound(f"this device was not granted the account's {what} key")
    private = private_from_jose(to_tagged(data.private_parameters))
    if isinstance(private, SeedKey):
        raise FormatError(f"the account's {what} key is a seed")
    return private


def entry(store: str, private: PrivateKey, epoch: int = 0) -> ActivationEntry:
    """The entry of a store's key."""
    return ActivationEntry(resource=store, key=private_data(private), epoch=epoch or None)


def epochs_of(common: ActivationCommon, store: str) -> list[ActivationEntry]:
    """The entries of a store, newest epoch first; empty when it was not granted."""
    found = (item for item in common.entries if item.resource == store)
    return sorted(found, key=lambda item: (item.epoch or 0, _name(item)), reverse=True)


def doubled(common: ActivationCommon) -> list[str]:
    """The stores whose newest epoch has two keys: two administrators changed them without having met, and
    each gave its own to the device that the other disconnected."""
    stores = sorted({item.resource or "" for item in common.entries})
    newest = {store: [item.epoch for item in epochs_of(common, store)[:2]] for store in stores}
    return [store for store, epochs in newest.items() if len(epochs) > len(set(epochs))]


def store_ring(common: ActivationCommon, store: str) -> list[LocalKey]:
    """The private keys of a store, the one that is written to first; empty when it was not granted."""
    return [private_key(item.key, store) for item in epochs_of(common, store)]


def with_entries(common: ActivationCommon, entries: Iterable[ActivationEntry]) -> ActivationCommon:
    """The same keys and further ones of stores."""
    return replace(common, entries=(*common.entries, *entries))


def portion(held: ActivationCommon, rights: Rights) -> ActivationCommon:
    """What these rights are given of the keys that are held here.

    Raises NotSupported for what is not held.
    """
    if rights.seed and not held.activation_key:
        raise NotSupported(
            f"the account's seed is not here, so {', '.join(rights.roles)} cannot be granted",
            hint="the sheets bring it back: `meshhw account recover`",
        )
    if (rights.common_keys or rights.seed) and held.encryption is None:
        raise NotSupported(
            "the account's private keys are in their tokens and its seed is not here, "
            f"so {', '.join(rights.roles)} cannot be granted",
            hint="the roles device and admin need no key of the account",
        )
    missing = rights.stores - {item.resource for item in held.entries}
    if missing:
        raise NotSupported(f"this device holds no key of {', '.join(sorted(missing))}, so it cannot grant it")
    return within(held, rights)


def within(held: ActivationCommon, rights: Rights) -> ActivationCommon:
    """Of the keys that are held here, all that these rights may have; what is not held is left out."""
    common = rights.common_keys or rights.seed
    return ActivationCommon(
        activation_key=held.activation_key if rights.seed else None,
        entries=tuple(item for item in held.entries if item.resource in rights.stores),
        encryption=held.encryption if common else None,
        authentication=held.authentication if common else None,
        signature=held.signature if common else None,
        previous_encryptions=held.previous_encryptions if common else (),
    )


def merged(held: ActivationCommon, newer: ActivationCommon) -> ActivationCommon:
    """What was held and what came later: every key of every store, and the common keys of both. Two keys of
    one epoch stay both (`doubled`)."""
    known = {(item.resource, item.epoch or 0, _name(item)): item for item in (*held.entries, *newer.entries)}
    encryption = newer.encryption or held.encryption
    earlier = (held.encryption, *newer.previous_encryptions, *held.previous_encryptions)
    previous = {data.udf: data for data in earlier if data is not None}
    if encryption is not None:
        previous.pop(encryption.udf, None)
    return ActivationCommon(
        activation_key=newer.activation_key or held.activation_key,
        entries=tuple(known.values()),
        encryption=encryption,
        authentication=newer.authentication or held.authentication,
        signature=newer.signature or held.signature,
        previous_encryptions=tuple(previous.values()),
    )


def _name(item: ActivationEntry) -> str:
    return (item.key.udf if item.key is not None else None) or ""
