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
from meshhw.managers.account.rekeying import left_when, statements_in
from meshhw.managers.account.standing import Standing
from meshhw.schema.activation import StoreEpochs
from meshhw.schema.assertion import open_assertion
from meshhw.schema.codec import decode
from meshhw.schema.connection import ConnectionDevice
from meshhw.schema.keydata import public_key
from meshhw.schema.profile import ProfileUser
from meshhw.udf import fingerprint


def left(found: Standing, peers: Path) -> dict[str, datetime]:
    """The authors that administrators have removed and when they said so last, by what their stores say, the
    ones here and the copies of others'. A statement counts in the store of an administrator, by one of today
    or of before; a connection made later counts again."""
    return left_when(_said(found, peers))


def own_removal(found: Standing, peers: Path) -> datetime | None:
    """When an administrator disconnected this very device, if it has come to see that; a lost one may."""
    when = left(found, peers).get(found.author)
    if when is None or found.connection is None:
        return when
    connected = decode(found.connection.body, ConnectionDevice).updated
    return when if connected is None or connected <= when else None


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
