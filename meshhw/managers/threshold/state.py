"""How a threshold key stands: holders and their tokens, old shares, what was interrupted; and its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from meshhw.errors import KeyNotFound, NotSupported, OperationTimeout, TokenError, TokenNotFound
from meshhw.keystore.api import OpenOptions, ShowsKeys, TellsNeeds
from meshhw.keystore.uri import KeyURI, TokenURI
from meshhw.managers.host import Host
from meshhw.managers.threshold import descriptor
from meshhw.managers.threshold.demand import key_needs
from meshhw.managers.threshold.descriptor import Loaded
from meshhw.managers.threshold.provision import roll_back
from meshhw.managers.threshold.recovering import absent_of, destroy_found
from meshhw.managers.threshold.store import DELETING, KeyStore
from meshhw.managers.threshold.tokens import OpenTokens
from meshhw.managers.threshold.worker import run
from meshhw.schema.threshold import ThresholdHolder, ThresholdKey


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
    silent: bool = False
    """Whether the token did not answer, and so may be here."""
    shown: bool | None = None
    """Whether the token shows the share, or its public half, without a PIN; None where nothing tells."""


def holder_states(loaded: Loaded, store: KeyStore, tokens: OpenTokens) -> list[HolderState]:
    """Every holder, whether its token is here and when it was last; asks for no PIN."""
    key = loaded.value.decryption or loaded.value.signing
    if key is None:
        return []
    present = {holder.index for holder in key.holders if tokens.present(holder.token)}
    seen = store.saw(present)
    return [
        HolderState(
            index=holder.index,
            token=holder.token,
            tier=holder.tier or "",
            present=holder.index in present,
            last_seen=seen.get(holder.index),
            generation=key.generation,
            key=holder.key,
            shown=_shown(holder, tokens) if holder.index in present else None,
            silent=bool(tokens.why_absent(holder.token)),
        )
        for holder in key.holders
    ]


def _shown(holder: ThresholdHolder, tokens: OpenTokens) -> bool | None:
    """What the token says of the share without a PIN. A sealed share is a file here, and no key there."""
    if holder.key is None:
        return None
    key = KeyURI.parse(holder.key)
    try:
        token = tokens.token(key.token)
        if isinstance(token, ShowsKeys):
            return token.shows_key(key)
        key_needs(tokens, key)
    except KeyNotFound:
        return False
    except OperationTimeout:
        tokens.gave_up(TokenURI.parse(holder.token))
        return None
    except TokenError:  # it went this very moment
        return None
    return True if isinstance(token, TellsNeeds) else None


def old_shares(loaded: Loaded, store: KeyStore) -> list[str]:
    """What is known of shares of earlier generations that were not seen destroyed, and of the new ones of
    renewals that were given up.

    While threshold many of one generation may exist, they still make up the key, and its renewal is not
    complete.
    """
    value, key = loaded.value, loaded.value.decryption
    left = [share for share in value.retired if not share.destroyed]
    if key is None:
        return []
    told = [f"old share {s.index} of generation {s.generation} may still exist on {s.token}" for s in left]
    for generation in sorted({share.generation for share in left}):
        count = sum(share.generation == generation for share in left)
        if count >= key.threshold:
            told.append(
                f"the renewal is not complete: {count} old shares of generation {generation} still combine; "
                f"`meshhw threshold refresh {value.name}` with their tokens destroys them"
            )
    return told + _told_strays(key, store)


def is_complete(loaded: Loaded, store: KeyStore) -> bool:
    """Whether of every earlier generation, and of every renewal that was given up, too few shares are left to
    make up the key.
    """
    value, key = loaded.value, loaded.value.decryption
    left = Counter(share.generation for share in value.retired if not share.destroyed)
    counts = [*left.values(), *(len(stray["shares"]) for stray in store.strays())]
    return key is None or all(count < key.threshold for count in counts)


def _told_strays(key: ThresholdKey, store: KeyStore) -> list[str]:
    told = []
    for stray in store.strays():
        tokens = [token for token, _ in stray["shares"]]
        told += [f"a share of a renewal that was given up may exist on {token}" for token in tokens]
        if len(tokens) >= key.threshold:
            told.append(
                f"the renewal is not complete: {len(tokens)} of these shares combine; "
                f"`meshhw threshold refresh {store.name}` with their tokens destroys them"
            )
    return told


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


def delete_key(store: KeyStore, options: OpenOptions, *, forget: bool = False) -> list[str]:
    """Destroy every share and forget the key; also what an interrupted provisioning left.

    The key is kept in mind until the last share of a holder is destroyed, so that it can be repeated, unless
    it is to `forget` what it cannot reach. The result names keys that are left on their tokens: then those,
    and shares of lost holders that were replaced. Raises KeyNotFound for no such key; TokenNotFound when a
    holder's token is not here, before anything is destroyed, and when one went meanwhile; NotSupported when
    one keeps its share.
    """
    with store.locked():
        require_known(store)
        if not store.exists:
            return _roll_back(store, options, forget=forget)
        holders, old = _native_keys(store)
        if not forget:
            _require_here(store, holders, options)
        store.write_journal({"doing": DELETING, "keys": [*holders, *old]})
        keys = list(dict.fromkeys([*holders, *old]))
        left: list[str] = run("destroy", {"keys": keys}, options) if keys else []
        held = [key for key in left if key in holders]
        if held and not forget:
            _require_here(store, held, options)
            raise NotSupported(f"these shares of {store.name} are left: {' '.join(held)}", hint=_forgetting())
        left += _destroy_strays(store, options)
        store.erase()
        return left


def require_known(store: KeyStore) -> None:
    """Raise KeyNotFound unless there is such a key, or what is left of making one."""
    if not store.exists and store.journal() is None:
        raise KeyNotFound(
            f"no threshold key is called {store.name!r}", hint="`meshhw threshold list` shows them"
        )


def _roll_back(store: KeyStore, options: OpenOptions, *, forget: bool) -> list[str]:
    """What is left of a provisioning; forgotten nevertheless if it is to be."""
    try:
        left = roll_back(store, options)
    except TokenNotFound as error:
        if not forget:
            raise
        left = [error.message]
    if forget:
        store.erase()
    return left


def _require_here(store: KeyStore, keys: Sequence[str], options: OpenOptions) -> None:
    away = absent_of(keys, options)
    if away:
        raise TokenNotFound(
            f"tokens with shares of {store.name} are not here: {', '.join(away)}",
            hint=_forgetting("insert them"),
        )


def _forgetting(otherwise: str = "") -> str:
    leave = "`--forget` leaves what is there and forgets the key"
    return f"{otherwise}; {leave}" if otherwise else leave


def _destroy_strays(store: KeyStore, options: OpenOptions) -> list[str]:
    remains = [destroy_found(stray, options) for stray in store.strays()]
    return [token for one in remains for token, _ in one.shares]


def _native_keys(store: KeyStore) -> tuple[list[str], list[str]]:
    """The keys of the holders and of what was interrupted; and those of earlier generations."""
    loaded = descriptor.load(store, Host(store.path.parent.parent))
    key = loaded.value.decryption
    holders = [holder.key for holder in (key.holders if key else ()) if holder.key]
    old = [share.key for share in loaded.value.retired if not share.destroyed and share.key]
    journal = store.journal() or {}
    pending = journal.get("keys", ()) if journal.get("doing") != DELETING else ()
    return list(dict.fromkeys([*holders, *pending])), old
