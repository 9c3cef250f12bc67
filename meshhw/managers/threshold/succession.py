"""A new key in the place of one whose shares cannot be made anew: without renewal copies, or dealerless.

The new key has the old one's threshold, suite, uses and tokens, but for the one that is replaced. The old key
stays until it is deleted: what is encrypted to it is given to the new one by `rewrapping`. Interrupted, the
same command goes on: which key succeeds is written down before it is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from meshhw.algorithms import Suite
from meshhw.errors import NotSupported, StateError
from meshhw.keystore.uri import TokenURI
from meshhw.managers.threshold import descriptor
from meshhw.managers.threshold.authority import Setting
from meshhw.managers.threshold.descriptor import Loaded
from meshhw.managers.threshold.provision import Request, provision
from meshhw.managers.threshold.renew import require_holder
from meshhw.managers.threshold.store import KeyStore

_FILE = "successor"


@dataclass(frozen=True, slots=True)
class Succession:
    """What the new key is called, which tokens take the place of others (by index), and whether it is
    renewable.
    """

    name: str
    moved: Mapping[int, TokenURI] = field(default_factory=dict)
    renewable: bool = False


def succeed(setting: Setting, new: KeyStore, wanted: Succession) -> Loaded:
    """Make the new key, or find the one that an interrupted call made.

    Raises StateError for a name that another key has, NotSupported for an old key that can be renewed, and
    as `provision`.
    """
    old = descriptor.load(setting.store, setting.host)
    if old.value.renewable:
        raise NotSupported(
            f"{old.value.name} can be renewed as it is",
            hint="leave --new-key away; the key then stays the same",
        )
    if new.exists:
        if successor(setting.store) != new.name:
            raise StateError(
                f"there is a threshold key {new.name} already",
                hint=f"`meshhw threshold rewrap {old.value.name} --to {new.name} FILE` gives it envelopes",
            )
        return descriptor.load(new, setting.host)
    request = _request(old, wanted)
    with setting.store.locked():
        setting.store.save(_FILE, new.name.encode())
    return provision(new, setting.host, setting.options, request, setting.say)


def successor(store: KeyStore) -> str:
    """The name of the key that took this one's place; empty if none did."""
    return store.load(_FILE).decode() if store.has(_FILE) else ""


def _request(old: Loaded, wanted: Succession) -> Request:
    value = old.value
    key = value.decryption or old.key("signing")
    for index in wanted.moved:
        require_holder(key, index)
    tokens = [wanted.moved.get(h.index) or TokenURI.parse(h.token) for h in key.holders]
    return Request(
        key.threshold,
        tokens,
        Suite(value.suite),
        encrypts=value.decryption is not None,
        signs=value.signing is not None,
        renewable=wanted.renewable,
        dealerless=value.dealerless and not wanted.renewable,
    )
