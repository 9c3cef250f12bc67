"""Which devices may change a threshold key's descriptor and ask its holders: adding and removing them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from meshhw import files
from meshhw.algorithms import PublicKey
from meshhw.dare.envelope import Envelope
from meshhw.dare.signing import Signer
from meshhw.errors import FormatError, InvalidName, KeyNotFound, NotSupported, TokenNotFound, UsageError
from meshhw.managers.host import Host, KeyHandle
from meshhw.managers.threshold import descriptor
from meshhw.managers.threshold.authority import Setting, authority, require_authority
from meshhw.managers.threshold.demand import Demand
from meshhw.managers.threshold.descriptor import Loaded
from meshhw.managers.threshold.renew import resume
from meshhw.managers.threshold.signed import sign_descriptors, sign_object
from meshhw.managers.threshold.tokens import OpenTokens
from meshhw.managers.threshold.use import silent
from meshhw.schema.assertion import open_profile
from meshhw.schema.keydata import key_data, public_key
from meshhw.schema.profile import ProfileDevice
from meshhw.schema.threshold import ThresholdDescriptor
from meshhw.udf import fingerprint, same_name

_LIMIT = 1 << 20
CANNOT = (TokenNotFound, KeyNotFound, NotSupported, UsageError)
"""Why a descriptor cannot be signed here: found out before any PIN is asked."""


@dataclass(frozen=True, slots=True)
class Change:
    """A descriptor that lists other devices, and the one before it, which says who may sign it."""

    setting: Setting
    before: Loaded
    after: ThresholdDescriptor

    @property
    def name(self) -> str:
        """The threshold key's."""
        return self.after.name

    def stays(self, device: PublicKey) -> bool:
        """Whether that device may sign it, and is still listed."""
        both = (descriptor.devices_of(value) for value in (self.before.value, self.after))
        return all(device in listed for listed in both)


def change_devices(setting: Setting, add: Sequence[PublicKey], remove: Sequence[str]) -> Loaded:
    """Sign a descriptor that lists further devices, and no longer those of these fingerprints.

    Raises as `signed_changes`.
    """
    with setting.store.locked():
        octets = _signed_alone(_change(setting, add, remove))
        return descriptor.keep(octets, setting.store, descriptor.local_devices(setting.host))


def signed_changes(
    settings: Sequence[Setting],
    add: Sequence[PublicKey],
    remove: Sequence[str],
    left: dict[str, str] | None = None,
) -> dict[str, bytes]:
    """By their names the descriptors of these keys with these devices and without those, signed and not in
    force yet: `descriptor.keep` puts one in the place of the one that is here. A device of this machine signs
    all that it may with one signature.

    What cannot be signed here is put into `left` with the reason. Without that it raises KeyNotFound for a
    fingerprint that is not listed, UsageError when nobody would be left, or when the device that signs is
    removed, and as `authority`; before any PIN is asked.
    """
    with ExitStack() as locks:
        changes = []
        for setting in sorted(settings, key=lambda item: item.store.name):
            locks.enter_context(setting.store.locked())
            try:
                change = _change(setting, add, remove)
                with OpenTokens(setting.options) as tokens:
                    require_authority(change.before, replace(setting, say=silent), tokens, Demand())
                changes.append(change)
            except CANNOT as error:
                if left is None:
                    raise
                left[setting.store.name] = error.message
        return dict(_signed(changes, left))


def who_signs(
    settings: Sequence[Setting], add: Sequence[PublicKey], remove: Sequence[str]
) -> list[tuple[KeyHandle | None, list[str]]]:
    """Who would sign these changes now: a device of this machine, or a key's own quorum, and the names of the
    keys that one signature is for. Asks nobody. Raises as `signed_changes`.
    """
    found: list[tuple[KeyHandle | None, list[str]]] = []
    for device, together in _groups([_planned(setting, add, remove) for setting in settings]):
        names = [change.name for change in together]
        if device is None:
            found.append((None, names))
            continue
        with OpenTokens(together[0].setting.options) as tokens:
            host = together[0].setting.host
            found.append((descriptor.local_device(host, tokens, among=[device]), names))
    return found


def _signed(changes: Sequence[Change], left: dict[str, str] | None) -> Iterator[tuple[str, bytes]]:
    for device, together in _groups(changes):
        names = [change.name for change in together]
        try:
            if device is None or len(together) == 1:
                made = [_signed_alone(together[0])]
            else:
                made = _signed_together(together, device)
            yield from zip(names, made, strict=True)
        except CANNOT as error:
            if left is None:
                raise
            left |= dict.fromkeys(names, error.message)


def _groups(changes: Sequence[Change]) -> Iterator[tuple[PublicKey | None, list[Change]]]:
    """The changes that one device signs at once; those that none may, one by one."""
    waiting = list(changes)
    while waiting:
        device, together = _most(waiting)
        yield device, together
        waiting = [change for change in waiting if change not in together]


def _most(changes: Sequence[Change]) -> tuple[PublicKey | None, list[Change]]:
    """The device that is here and may sign the most of these, and which these are; None and the first of them
    where none may."""
    setting = changes[0].setting
    handles = [record.key("signature") for record in setting.host.profiles("ProfileDevice")]
    with OpenTokens(setting.options) as tokens:
        here = [handle.public_key for handle in handles if tokens.present(handle.key_uri.token)]
    may = [(device, [change for change in changes if change.stays(device)]) for device in here]
    device, its = max(may, key=lambda one: len(one[1]), default=(None, []))
    return (device, its) if its else (None, list(changes[:1]))


def _signed_together(changes: Sequence[Change], device: PublicKey) -> list[bytes]:
    setting = changes[0].setting
    with OpenTokens(setting.options) as tokens:
        demand = Demand()
        demand.add_key(tokens, descriptor.local_device(setting.host, tokens, among=[device]).key_uri)
        names = ", ".join(change.name for change in changes)
        setting.say(demand.text(f"{names}: a device signs once for all"))
        with descriptor.device_signer(setting.host, tokens, among=[device]) as signer:
            return list(sign_descriptors([change.after for change in changes], signer))


def _signed_alone(change: Change) -> bytes:
    setting, loaded = change.setting, change.before
    with OpenTokens(setting.options) as tokens, _signer(loaded, setting, tokens) as signer:
        own = loaded.value.signing.udf if loaded.value.signing else None
        if fingerprint(signer.public) not in {*map(fingerprint, descriptor.devices_of(change.after)), own}:
            raise UsageError("a device cannot remove itself", hint="let another listed device do it")
        return sign_object(change.after, signer).octets()


def _change(setting: Setting, add: Sequence[PublicKey], remove: Sequence[str]) -> Change:
    resume(setting.store, setting.host, setting.options)
    return _planned(setting, add, remove)


def _planned(setting: Setting, add: Sequence[PublicKey], remove: Sequence[str]) -> Change:
    loaded = descriptor.load(setting.store, setting.host)
    listed = {fingerprint(device): device for device in descriptor.devices_of(loaded.value)}
    for name in remove:
        del listed[_named(name, listed)]
    listed |= {fingerprint(device): device for device in add}
    if not listed:
        raise UsageError("a device must be left that may ask holders", hint="add another one first")
    changed = msgspec.structs.replace(
        loaded.value,
        version=loaded.value.version + 1,
        devices=tuple(key_data(device) for device in listed.values()),
    )
    return Change(setting, loaded, changed)


@contextmanager
def _signer(loaded: Loaded, setting: Setting, tokens: OpenTokens) -> Iterator[Signer]:
    demand = Demand()
    require_authority(loaded, setting, tokens, demand)
    if demand.names:
        setting.say(demand.text(f"{loaded.value.name}: a device signs"))
    with authority(loaded, setting, tokens, setting.say) as signer:
        yield signer


def device_named(name: str, host: Host) -> PublicKey:
    """The signature key of a device: of an exported profile's file, or a device of this home.

    Raises KeyNotFound, Ambiguous; FormatError and SignatureInvalid for a file that holds no such profile.
    """
    if not files.is_named(name):
        return host.profile(name, "ProfileDevice").key("signature").public_key
    path = Path(name)
    with path.open("rb") as file:
        octets = file.read(_LIMIT + 1)
    if len(octets) > _LIMIT:
        raise FormatError(f"{path} is too large for a profile")
    profile = open_profile(Envelope.parse(octets), ProfileDevice).value
    return public_key(profile.signature, "device's Signature")


def _own(loaded: Loaded) -> list[str]:
    """The fingerprint of the group's signing key, if it has one."""
    return [loaded.value.signing.udf] if loaded.value.signing else []


def _named(name: str, listed: dict[str, PublicKey]) -> str:
    with suppress(InvalidName):
        for udf in listed:
            if same_name(udf, name):
                return udf
    raise KeyNotFound(
        f"the descriptor lists no device {name}", hint="`meshhw threshold show NAME` tells which it lists"
    )
