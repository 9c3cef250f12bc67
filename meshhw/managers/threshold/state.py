"""How a threshold key stands: holders and their tokens, old shares, what was interrupted; and its end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from meshhw.errors import KeyNotFound
from meshhw.keystore.api import OpenOptions
from meshhw.managers.host import Host
from meshhw.managers.threshold import descriptor
from meshhw.managers.threshold.descriptor import Loaded
from meshhw.managers.threshold.provision import roll_back
from meshhw.managers.threshold.store import DELETING, KeyStore
from meshhw.managers.threshold.tokens import OpenTokens
from meshhw.managers.threshold.worker import run


@dataclass(frozen=True, slots=True)
class HolderState:
    """A holder as `threshold show` tells of it."""

    index: int
    token: str
    tier: str
    present: bool
    last_seen: str | None
    generation: int
    key: str | None


def holder_states(loaded: Loaded, store: KeyStore, tokens: OpenTokens) -> list[HolderState]:
    """Every holder, whether its token is here and when it was last; asks for no PIN."""
    key = loaded.value.decryption or loaded.value.signing
    if key is None:
        return []
    present = {holder.index for holder in key.holders if tokens.present(holder.token)}
    seen = store.saw(present)
    return [
        HolderState(
            h.index, h.token, h.tier or "", h.index in present, seen.get(h.index), key.generation, h.key
        )
        for h in key.holders
    ]


def old_shares(loaded: Loaded) -> list[str]:
    """What is known of shares of earlier generations that were not seen destroyed.

    While threshold many of one generation may exist, they still make up the key, and its renewal is not
    complete.
    """
    value, key = loaded.value, loaded.value.decryption
    left = [share for share in value.retired if not share.destroyed]
    if key is None or not left:
        return []
    told = [f"old share {s.index} of generation {s.generation} may still exist on {s.token}" for s in left]
    for generation in sorted({share.generation for share in left}):
        count = sum(share.generation == generation for share in left)
        if count >= key.threshold:
            told.append(
                f"the renewal is not complete: {count} old shares of generation {generation} still combine; "
                f"`meshhw threshold refresh {value.name}` with their tokens destroys them"
            )
    return told


def is_complete(loaded: Loaded) -> bool:
    """Whether of every earlier generation too few shares are left to make up the key."""
    value, key = loaded.value, loaded.value.decryption
    left = Counter(share.generation for share in value.retired if not share.destroyed)
    return key is None or all(count < key.threshold for count in left.values())


def unfinished(store: KeyStore) -> str:
    """What was interrupted and how to go on; empty if nothing was."""
    journal = store.journal()
    if journal is None or (store.exists and journal.get("doing") == "provision"):
        return ""
    if journal.get("doing") == "provision":
        return f"provisioning was interrupted: `meshhw threshold delete {store.name}` rolls it back"
    if journal.get("doing") == DELETING:
        return f"deleting was interrupted: `meshhw threshold delete {store.name}` goes on"
    return f"{journal.get('doing')} was interrupted: repeat the command to go on"


def delete_key(store: KeyStore, options: OpenOptions) -> list[str]:
    """Destroy every share and forget the key; also what an interrupted provisioning left.

    The result names keys that could not be destroyed; their tokens then still hold them. Raises KeyNotFound.
    """
    with store.locked():
        journal = store.journal()
        if not store.exists and journal is None:
            raise KeyNotFound(
                f"no threshold key is called {store.name!r}", hint="`meshhw threshold list` shows them"
            )
        if not store.exists:
            return roll_back(store, options)
        keys = _native_keys(store)
        store.write_journal({"doing": DELETING, "keys": keys})
        left: list[str] = run("destroy", {"keys": keys}, options) if keys else []
        store.erase()
        return left


def _native_keys(store: KeyStore) -> list[str]:
    loaded = descriptor.load(store, Host(store.path.parent.parent))
    named = [h.key for h in (loaded.value.decryption.holders if loaded.value.decryption else ()) if h.key]
    named += [share.key for share in loaded.value.retired if not share.destroyed]
    pending = (store.journal() or {}).get("keys", ())
    return list(dict.fromkeys([*named, *pending]))
