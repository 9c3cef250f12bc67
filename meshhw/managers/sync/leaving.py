"""Devices that left the account: administrators say so where they give stores new keys.

What such a device has signed is not taken any more, since nobody can tell whether it was written before.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from meshhw.algorithms import PublicKey
from meshhw.dare.envelope import Envelope
from meshhw.errors import MeshError
from meshhw.managers.account.administrators import administrators
from meshhw.managers.account.rekeying import statements_in
from meshhw.managers.account.standing import Standing
from meshhw.schema.activation import StoreEpochs
from meshhw.schema.assertion import open_assertion
from meshhw.schema.keydata import public_key
from meshhw.schema.profile import ProfileUser
from meshhw.udf import fingerprint


def left(found: Standing, peers: Path) -> set[str]:
    """The authors that administrators have removed, by what their stores say, the ones here and the copies of
    others'. A statement counts in the store of an administrator, by one of today or of before."""
    profile = found.profile
    listed = {fingerprint(key) for key in administrators(profile)}
    paths = [path for author in listed for path in (peers / author).glob("*.dcat")]
    if found.author in listed:
        paths += (found.directory.path / "stores").glob("*.dcat")
    removed: set[str] = set()
    for path in paths:
        for envelope in statements_in(path):
            removed |= _removed(envelope, found.udf, _signers(profile))
    return removed - {found.author}


def _removed(envelope: Envelope, account: str, signers: Iterable[PublicKey]) -> set[str]:
    try:
        said = open_assertion(envelope, StoreEpochs, list(signers)).value
    except MeshError:
        return set()
    return {name for name in said.removed if name} if said.account_udf == account else set()


def _signers(profile: ProfileUser) -> list[PublicKey]:
    gone = [public_key(item.administrator_signature, "key") for item in profile.removed_administrators]
    return [*administrators(profile), *gone]
