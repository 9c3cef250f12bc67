"""The role `threshold`: which devices of the account may ask the holders of its threshold keys.

A threshold key's descriptor lists them by their own signature keys. Connecting a device with the role adds it
to the descriptors, which its entry brings to it; disconnecting one takes it out of every descriptor that can
be signed here. Signing comes first and changes nothing; what was signed is put in force when all else is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from meshhw.algorithms import PublicKey
from meshhw.dare.envelope import Envelope
from meshhw.errors import IntegrityError, MeshError, UsageError
from meshhw.keystore.api import OpenOptions
from meshhw.managers.host import Host, KeyHandle
from meshhw.managers.threshold import descriptor
from meshhw.managers.threshold.authority import Setting
from meshhw.managers.threshold.descriptor import Loaded
from meshhw.managers.threshold.devices import CANNOT, change_devices, signed_changes, who_signs
from meshhw.managers.threshold.remembering import remembering
from meshhw.managers.threshold.signed import open_descriptor
from meshhw.managers.threshold.store import KeyStore, Store
from meshhw.managers.threshold.use import saying
from meshhw.schema.assertion import open_profile
from meshhw.schema.core import Enveloped
from meshhw.schema.entry import CatalogedDevice
from meshhw.schema.keydata import public_key
from meshhw.schema.profile import ProfileDevice
from meshhw.schema.threshold import ThresholdDescriptor
from meshhw.udf import fingerprint


def keys_of(host: Host, publics: Collection[PublicKey]) -> list[str]:
    """The threshold keys of this home that are one of these keys: the account's quorums and its groups'."""
    return [
        loaded.value.name
        for _, loaded in _all(host)
        if any(
            key is not None and key.udf == fingerprint(public)
            for key in (loaded.value.decryption, loaded.value.signing)
            for public in publics
        )
    ]


def listing(host: Host, device: PublicKey) -> list[str]:
    """The threshold keys of this home whose descriptors list that device."""
    return [loaded.value.name for _, loaded in _all(host) if device in descriptor.devices_of(loaded.value)]


def with_device(
    host: Host, names: Sequence[str], device: PublicKey, options: OpenOptions
) -> list[Enveloped[ThresholdDescriptor]]:
    """The descriptors of these keys with the device, signed where it is not listed yet, and not in force.

    Raises UsageError without a key, KeyNotFound for one that is not here, and as `signed_changes`.
    """
    if not names:
        raise UsageError(
            "the account has no threshold key on this machine, whose holders the device could ask",
            hint="name one with --threshold NAME; `meshhw threshold list` shows them",
        )
    settings = _settings(host, dict.fromkeys(names), options)
    made = {
        at.store.name: at.store.descriptor()
        for at in settings
        if device in descriptor.devices_of(descriptor.load(at.store, host).value)
    }
    made |= signed_changes([at for at in settings if at.store.name not in made], [device], [])
    return [enveloped(made[at.store.name]) for at in settings]


def enveloped(octets: bytes) -> Enveloped[ThresholdDescriptor]:
    """A descriptor as a member of an entry."""
    return Enveloped(Envelope.parse(octets).array())


def octets_of(entry: CatalogedDevice) -> list[bytes]:
    """The descriptors that an entry brings. Raises FormatError."""
    return [Envelope.from_array(item.array).octets() for item in entry.enveloped_threshold_descriptors]


def who_lists(
    host: Host, names: Sequence[str], device: PublicKey, options: OpenOptions
) -> list[tuple[KeyHandle | None, list[str]]]:
    """Who would sign for `with_device` and of which keys, without names of all that are here. Asks nobody."""
    settings = _settings(host, names or [loaded.value.name for _, loaded in _all(host)], options)
    return who_signs([at for at in settings if at.store.name not in listing(host, device)], [device], [])


def who_unlists(
    host: Host, device: PublicKey, options: OpenOptions
) -> list[tuple[KeyHandle | None, list[str]]]:
    """The same for `without_device`."""
    settings = _settings(host, listing(host, device), options)
    return who_signs(settings, [], [fingerprint(device)])


def put_in_force(host: Host, descriptors: Sequence[bytes]) -> None:
    """Put what was signed here in the place of what is here. Raises IntegrityError when somebody has changed
    a key meanwhile."""
    for octets in descriptors:
        store = _store_of(host, octets)
        with store.locked():
            descriptor.keep(octets, store, descriptor.local_devices(host))


def carries_on(host: Host, descriptors: Sequence[bytes]) -> bool:
    """Whether nobody has changed these keys since the descriptors were signed."""
    for octets in descriptors:
        value, _, _ = open_descriptor(octets)
        here = _load(_store_of(host, octets), host)
        if here is None or here.value.version > value.version:
            return False
        if here.value.version == value.version and here.value != value:
            return False
    return True


def without_device(
    host: Host, entry: CatalogedDevice, options: OpenOptions
) -> tuple[list[bytes], dict[str, str]]:
    """The descriptors of all keys that list the device without it, signed and not in force; and the names of
    those that cannot be signed here, with the reason. Raises what the tokens raise."""
    device = device_key(entry)
    if device is None:
        return [], {}
    granted = [open_descriptor(octets)[0].name for octets in octets_of(entry)]
    here = Store(host.home).names() if granted else []
    left = {name: "it is not on this machine" for name in granted if name not in here}
    settings = _settings(host, listing(host, device), options)
    made = signed_changes(settings, [], [fingerprint(device)], left)
    return list(made.values()), left


def settle(host: Host, device: str, descriptors: Sequence[bytes], options: OpenOptions) -> None:
    """Put a device's removal in force, from whatever point an interruption has left it at. A key that was
    changed meanwhile is changed once more; where that cannot be signed now, it is told."""
    for octets in descriptors:
        store = _store_of(host, octets)
        try:
            put_in_force(host, [octets])
        except IntegrityError:
            try:
                [at] = _settings(host, [store.name], options)
                change_devices(at, [], [device])
            except CANNOT as error:
                saying(options)(f"the threshold key {store.name} was changed meanwhile: {error.message}")


def take_out(host: Host, entry: CatalogedDevice, options: OpenOptions) -> dict[str, str]:
    """Take a device out of every descriptor of this machine that lists it; the names of those that cannot be
    signed here, with the reason. Raises what the tokens raise."""
    made, left = without_device(host, entry, options)
    put_in_force(host, made)
    return left


def descriptors_for(
    host: Host, entry: CatalogedDevice, changed: Sequence[bytes] = ()
) -> list[Enveloped[ThresholdDescriptor]]:
    """The newest descriptors that list the device of an entry: those that were `changed` and are not in force
    yet, else those that are here."""
    own = device_key(entry)
    newest = {loaded.value.name: (loaded.value, store.descriptor()) for store, loaded in _all(host)}
    for octets in changed:
        value, _, _ = open_descriptor(octets)
        newest[value.name] = value, octets
    return [enveloped(octets) for value, octets in newest.values() if own in descriptor.devices_of(value)]


def device_key(entry: CatalogedDevice) -> PublicKey | None:
    """The device's own signature key, by which descriptors list it; None for the account's first machine."""
    if entry.enveloped_profile_device is None:
        return None
    profile = open_profile(Envelope.from_array(entry.enveloped_profile_device.array), ProfileDevice).value
    return public_key(profile.signature, "Signature")


def require_takeable(host: Host, entry: CatalogedDevice) -> None:
    """Raise IntegrityError when another threshold key has the name of one that an entry brings."""
    for octets in octets_of(entry):
        value, _, _ = open_descriptor(octets)
        here = _load(_store_of(host, octets), host)
        if here is not None and here.value.identifier != value.identifier:
            raise IntegrityError(
                f"another threshold key is called {value.name} here", hint="one of the two must be made anew"
            )


def take_brought(host: Host, entry: CatalogedDevice, options: OpenOptions) -> None:
    """Keep the descriptors that an administrator's entry has brought, where they are newer, and tell of those
    that cannot be taken.

    The administrator vouches for a key's first descriptor alone: every later one must be signed by a device
    that the one before lists, whoever brings it.
    """
    for octets in octets_of(entry):
        value, signer, _ = open_descriptor(octets)
        store = _store_of(host, octets)
        trusted = [] if store.was_seen(value.identifier) else [signer]
        try:
            require_takeable(host, entry)
            with store.locked():
                here = _load(store, host)
                if here is None or here.value.version < value.version:
                    descriptor.keep(octets, store, [*trusted, *descriptor.local_devices(host)])
        except MeshError as error:
            saying(options)(f"the threshold key {value.name} stays as it is here: {error.message}")


def _all(host: Host) -> Iterator[tuple[KeyStore, Loaded]]:
    if not (host.home / "threshold").is_dir():
        return
    store = Store(host.home)
    for name in store.names():
        yield store.at(name), descriptor.load(store.at(name), host)


def _load(store: KeyStore, host: Host) -> Loaded | None:
    return descriptor.load(store, host) if store.exists else None


def _store_of(host: Host, octets: bytes) -> KeyStore:
    value, _, _ = open_descriptor(octets)
    return Store(host.home).at(value.name)


def _settings(host: Host, names: Iterable[str], options: OpenOptions) -> list[Setting]:
    """Of several threshold keys; a token's PIN is asked once for all of them."""
    options = remembering(options)
    return [Setting(Store(host.home).at(name), host, options, saying(options)) for name in names]
