"""Who signs the next descriptor: a listed device of this machine, else the quorum with the group's own key.

T holders together can do with the key whatever can be done, so their signature under the group's signing key
is worth a listed device's. It is what is left when the token with the device's key is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from meshhw.algorithms import PublicKey
from meshhw.dare.signing import Signer
from meshhw.errors import TokenError
from meshhw.keystore.api import OpenOptions
from meshhw.managers.host import Host
from meshhw.managers.threshold import descriptor
from meshhw.managers.threshold.demand import Demand
from meshhw.managers.threshold.descriptor import Loaded
from meshhw.managers.threshold.signing import ThresholdSigner
from meshhw.managers.threshold.store import KeyStore
from meshhw.managers.threshold.tokens import OpenTokens
from meshhw.managers.threshold.use import Say, silent

_NO_DEVICE_LEFT = (
    "sign with another device that `meshhw threshold show` lists, or make a new key in its place: "
    "`meshhw threshold refresh NAME --new-key NEW --rewrap DIR`"
)


@dataclass(frozen=True, slots=True)
class Setting:
    """A key's files, the machine, and how a person is asked and told."""

    store: KeyStore
    host: Host
    options: OpenOptions
    say: Say = silent


@contextmanager
def authority(loaded: Loaded, setting: Setting, tokens: OpenTokens, say: Say = silent) -> Iterator[Signer]:
    """What signs the descriptor after `loaded`; `say` is told what a quorum will be asked.

    Raises what `require_authority` does.
    """
    device = _device(loaded, setting, tokens, say)
    if isinstance(device, ThresholdSigner):
        yield device
        return
    with descriptor.device_signer(setting.host, tokens, among=[device]) as signer:
        yield signer


def require_authority(loaded: Loaded, setting: Setting, tokens: OpenTokens, demand: Demand) -> None:
    """Raise TokenNotFound, KeyNotFound or NotSupported unless somebody here can sign, and say when it is no
    device; adds what the device's token will ask. Asks for no PIN.
    """
    found = _device(loaded, setting, tokens, silent)
    if isinstance(found, ThresholdSigner):
        setting.say("no device that the descriptor lists is here: a quorum signs in its place")
        found.require()
        return
    demand.add_key(tokens, descriptor.local_device(setting.host, tokens, among=[found]).key_uri)


def _device(loaded: Loaded, setting: Setting, tokens: OpenTokens, say: Say) -> PublicKey | ThresholdSigner:
    """The public key of a listed device that is here, else the quorum."""
    try:
        listed = descriptor.devices_of(loaded.value)
        return descriptor.local_device(setting.host, tokens, among=listed).public_key
    except TokenError as error:
        if loaded.value.signing is None:
            error.hint = f"{error.hint}; or {_NO_DEVICE_LEFT}".removeprefix("; or ")
            raise
        return ThresholdSigner(loaded, setting.store, setting.options, say)
