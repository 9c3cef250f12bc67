"""Groups in an account's catalogs: which threshold keys make one, and that a profile is its quorum's."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from meshhw.algorithms import Algorithm, Suite
from meshhw.dare.envelope import Envelope
from meshhw.dare.local import LocalKey
from meshhw.errors import KeyNotFound, NotSupported, SignatureInvalid, TokenNotFound, UsageError
from meshhw.managers.account.groups import Groups
from meshhw.managers.account.names import APPLICATIONS
from meshhw.managers.account.standing import standing
from meshhw.managers.account.stores import opened_store
from meshhw.managers.threshold.provision import Request, provision
from meshhw.managers.threshold.signer import public_of
from meshhw.managers.threshold.store import Store
from meshhw.schema.assertion import open_profile, sign_assertion
from meshhw.schema.core import Enveloped
from meshhw.schema.entry import CatalogedGroup
from meshhw.schema.keydata import public_key
from meshhw.schema.profile import ProfileGroup
from meshhw.udf import Seed, Specifier
from tests.account.test_quorum import ALICE, OPTIONS, Board

ADDRESS = "crew@example.com"


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    """A home with an account, a quorum `board` that signs alone, and one `crew` that decrypts, too."""
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    board = Board(tmp_path, Suite.S25519)
    board.account(Suite.S25519)
    provision(Store(board.host.home).at("crew"), board.host, OPTIONS, Request(2, board.tokens, Suite.S25519))
    return board


@pytest.fixture
def groups(board: Board) -> Groups:
    return Groups(standing(board.host, ALICE), OPTIONS)


def test_a_group_is_its_quorums(board: Board, groups: Groups) -> None:
    made = groups.create(groups.plan(ADDRESS, "crew", "crew"))
    assert groups.all() == [made]
    signed = open_profile(groups.profile("crew"), ProfileGroup)
    assert signed.signer == public_of("crew", board.host.home)
    assert made.encryption == public_key(signed.value.common_encryption)
    assert made.signatures == (signed.signer,)


def test_what_makes_no_group_is_refused(groups: Groups) -> None:
    with pytest.raises(NotSupported):
        groups.plan(ADDRESS, "board")
    with pytest.raises(KeyNotFound):
        groups.plan(ADDRESS, "nobody")
    for address in ("", "crew"):
        with pytest.raises(UsageError):
            groups.plan(address, "crew")
    with pytest.raises(KeyNotFound):
        groups.find("crew")


def test_below_the_threshold_no_group_is_made(board: Board, groups: Groups) -> None:
    new = groups.plan(ADDRESS, "crew")
    board.lose(0, 1)
    with pytest.raises(TokenNotFound):
        groups.create(new)
    assert groups.all() == []


def test_a_profile_that_another_key_has_signed_is_not_taken(board: Board, groups: Groups) -> None:
    """A device that writes the catalog cannot put another key in the place of the group's."""
    groups.create(groups.plan(ADDRESS, "crew", "crew"))
    mallory = LocalKey(Seed.generate(Specifier.ANY).derive(Algorithm.ED25519, "k"))
    honest = open_profile(groups.profile("crew"), ProfileGroup).value
    forged = sign_assertion(replace(honest, version=2), mallory, "x")
    with opened_store(board.host, APPLICATIONS, OPTIONS, writable=True) as store:
        entry = store.get(ADDRESS, CatalogedGroup)
        told = Enveloped[ProfileGroup](Envelope.parse(forged.octets()).array())
        store.put(ADDRESS, replace(entry, enveloped_profile_group=told))
    with pytest.raises(SignatureInvalid):
        groups.all()
