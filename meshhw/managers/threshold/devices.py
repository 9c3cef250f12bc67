"""Which devices may change a threshold key's descriptor and ask its holders: adding and removing them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from meshhw import files
from meshhw.algorithms import PublicKey
from meshhw.dare.envelope import Envelope
from meshhw.dare.signing import Signer
from meshhw.errors import FormatError, InvalidName, KeyNotFound, UsageError
from meshhw.managers.host import Host
from meshhw.managers.threshold import descriptor
from meshhw.managers.threshold.authority import Setting, authority, require_authority
from meshhw.managers.threshold.demand import Demand
from meshhw.managers.threshold.descriptor import Loaded
from meshhw.managers.threshold.renew import resume
from meshhw.managers.threshold.tokens import OpenTokens
from meshhw.schema.assertion import open_profile
from meshhw.schema.keydata import key_data, public_key
from meshhw.schema.profile import ProfileDevice
from meshhw.udf import fingerprint, same_name

_LIMIT = 1 << 20


def change_devices(setting: Setting, add: Sequence[PublicKey], remove: Sequence[str]) -> Loaded:
    """Sign a descriptor that lists further devices, and no longer those of these fingerprints.

    Raises as `signed_change`.
    """
    with setting.store.locked():
        octets = _signed(setting, add, remove)
        return descriptor.keep(octets, setting.store, descriptor.local_devices(setting.host))


def signed_change(setting: Setting, add: Sequence[PublicKey], remove: Sequence[str]) -> bytes:
    """The descriptor with these devices and without those, signed and not in force yet: `descriptor.keep`
    puts it in the place of the one that is here.

    Raises KeyNotFound for a fingerprint that is not listed, UsageError when nobody would be left, or when the
    device that signs is removed, and as `authority`.
    """
    with setting.store.locked():
        return _signed(setting, add, remove)


def _signed(setting: Setting, add: Sequence[PublicKey], remove: Sequence[str]) -> bytes:
    resume(setting.store, setting.host, setting.options)
    loaded = descriptor.load(setting.store, setting.host)
    listed = {fingerprint(device): device for device in descriptor.devices_of(loaded.value)}
    for name in remove:
        del listed[_named(name, listed)]
    listed |= {fingerprint(device): device for device in add}
    if not listed:
        raise UsageError("a device must be left that may ask holders", hint="add another one first")
    with OpenTokens(setting.options) as tokens, _signer(loaded, setting, tokens) as signer:
        own = loaded.value.signing.udf if loaded.value.signing else None
        if fingerprint(signer.public) not in {*listed, own}:
            raise UsageError("a device cannot remove itself", hint="let another listed device do it")
        changed = msgspec.structs.replace(
            loaded.value,
            version=loaded.value.version + 1,
            devices=tuple(key_data(device) for device in listed.values()),
        )
        return descriptor.sign_object(changed, signer).octets()


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
