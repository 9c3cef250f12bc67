"""`threshold:NAME` as a recipient, a signer, and among the keys that open envelopes
(`meshhw.managers.named`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from meshhw.dare.exchange import HasPublic, RecipientKey
from meshhw.dare.naming import same_kid
from meshhw.dare.signing import Signer
from meshhw.keystore.api import OpenOptions
from meshhw.managers.host import Host
from meshhw.managers.threshold import descriptor
from meshhw.managers.threshold.signer import open_signer
from meshhw.managers.threshold.store import Store
from meshhw.managers.threshold.tokens import OpenTokens
from meshhw.managers.threshold.use import ThresholdPrivateKey, saying


def recipient(name: str, home: Path) -> RecipientKey:
    """The group's public key; no holder is needed. Raises KeyNotFound, NotSupported."""
    loaded = descriptor.load(Store(home).at(name), Host(home))
    return RecipientKey(descriptor.group_public(loaded.key("decryption")))


def keys(kid: str, home: Path, options: OpenOptions) -> Iterator[HasPublic]:
    """The threshold key of that fingerprint, its tokens open while it is used."""
    if not (home / "threshold").is_dir():
        return
    store, host = Store(home), Host(home)
    for name in store.names():
        kept = store.at(name)
        loaded = descriptor.load(kept, host)
        key = loaded.value.decryption
        if key is not None and same_kid(kid, key.udf):
            with OpenTokens(options) as tokens:
                yield ThresholdPrivateKey(loaded, tokens, say=saying(options), notice=kept.saw)


def signer(name: str, home: Path, options: OpenOptions) -> Signer:
    """A quorum of the key's holders as one signer. Raises KeyNotFound, NotSupported."""
    return open_signer(name, home, options)
