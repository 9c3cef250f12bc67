"""Devices that left the account: administrators say so where they give stores new keys.

What such a device has signed is not taken any more, since nobody can tell whether it was written before.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from meshhw.algorithms import PublicKey
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
    return {name for said in _said(found, peers) for name in said.removed if name} - {found.author}


def own_removal(found: Standing, peers: Path) -> datetime | None:
    """When an administrator disconnected this very device, if it has come to see that; a lost one may."""
    times = (said.updated for said in _said(found, peers) if found.author in said.removed)
    return min((when for when in times if when is not None), default=None)


def _said(found: Standing, peers: Path) -> Iterator[StoreEpochs]:
    """The statements of new keys in administrators' stores, each by one of today or of before."""
    profile = found.profile
    listed = {fingerprint(key) for key in administrators(profile)}
    paths = [path for author in listed for path in (peers / author).glob("*.dcat")]
    if found.author in listed:
        paths += (found.directory.path / "stores").glob("*.dcat")
    for path in paths:
        for envelope in statements_in(path):
            try:
                said = open_assertion(envelope, StoreEpochs, _signers(profile)).value
            except MeshError:
                continue
            if said.account_udf == found.udf:
                yield said


def _signers(profile: ProfileUser) -> list[PublicKey]:
    gone = [public_key(item.administrator_signature, "key") for item in profile.removed_administrators]
    return [*administrators(profile), *gone]
