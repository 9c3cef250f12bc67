"""A threshold key as one signer, opened by its name: for files, envelopes, sequences' heads and profiles.

    with the name alone     public_of("board", home)                no token is asked
    to sign                 open_signer("board", home, options)     a `Signer`: `public`, `sign(message)`

Whatever takes a `Signer` takes one of these: `sign_assertion(profile, signer, ...)` makes a profile whose
root or administrator is a quorum. The signature is an ordinary Ed25519 or Ed448 signature of `public`, and
was verified before `sign` returns; each `sign` is a session of its own with fresh nonces, and every holder is
shown the whole message. Nothing needs to be closed: shares are open while `sign` runs, and no longer, or with
`signer.held()` until the end of its block: each token is then asked once for all that is signed there. PINs
are asked once for each token, however often the signer signs. `require` fails early, before anything else of
a ceremony was done, when too few holders are here.
"""

from __future__ import annotations

from pathlib import Path

from meshhw.algorithms import PublicKey
from meshhw.keystore.api import OpenOptions
from meshhw.managers.host import Host
from meshhw.managers.threshold import descriptor
from meshhw.managers.threshold.remembering import remembering
from meshhw.managers.threshold.signing import ThresholdSigner
from meshhw.managers.threshold.store import Store
from meshhw.managers.threshold.use import saying

PREFIX = "threshold:"
"""What such a signer is called by where keys are named."""


def open_signer(name: str, home: Path, options: OpenOptions) -> ThresholdSigner:
    """A quorum of the holders of `name` (with or without `threshold:`). Asks for no PIN until it signs.

    Raises KeyNotFound for no such threshold key, NotSupported for one that only decrypts.
    """
    store = Store(home).at(name.removeprefix(PREFIX))
    options = remembering(options)
    return ThresholdSigner(descriptor.load(store, Host(home)), store, options, saying(options))


def public_of(name: str, home: Path) -> PublicKey:
    """The public key that the quorum's signatures verify under. Raises as `open_signer`."""
    store = Store(home).at(name.removeprefix(PREFIX))
    return descriptor.group_public(descriptor.load(store, Host(home)).key("signing"))


def find_signer(public: PublicKey, home: Path, options: OpenOptions) -> ThresholdSigner | None:
    """The quorum of this home whose signatures verify under that key; None when there is none."""
    name = find_quorum(public, home)
    return None if name is None else open_signer(name, home, options)


def find_quorum(public: PublicKey, home: Path) -> str | None:
    """Its name."""
    if not (home / "threshold").is_dir():
        return None
    store = Store(home)
    for name in store.names():
        loaded = descriptor.load(store.at(name), Host(home))
        if loaded.value.signing is not None and public_of(name, home) == public:
            return name
    return None


def told_of(name: str, home: Path) -> tuple[int, int]:
    """How many of how many holders sign. Raises as `open_signer`."""
    key = descriptor.load(Store(home).at(name.removeprefix(PREFIX)), Host(home)).key("signing")
    return key.threshold, len(key.holders)
