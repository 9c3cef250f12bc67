"""kill -9 while an account with several roots is made, and while one is added: whole, or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshhw.errors import UsageError
from meshhw.keystore import registry
from meshhw.keystore.uri import TokenURI
from meshhw.managers.account.addroot import NewRoot
from meshhw.managers.account.administrators import add_administrator
from meshhw.managers.account.authority import authority
from meshhw.schema.assertion import roots_of
from tests.account.killing import killed_everywhere, some_or_all
from tests.account.people import ALICE, OPTIONS
from tests.account.test_roots import Three, fresh, profile, vault


def keys_on(token: TokenURI) -> int:
    opened = registry.open_token(token, OPTIONS)
    try:
        return len(opened.keys())
    finally:
        opened.close()


def test_a_root_is_there_or_is_added_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was interrupted, the account opens, and a repetition leaves one key on the new token."""
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    three, third = Three(tmp_path), vault(tmp_path / "third")
    three.create()
    homes = [three.host.home, three.base / "third"]

    def add() -> None:
        with NewRoot(authority(three.host, ALICE, OPTIONS), third) as new:
            new.add(three.second)

    found = set()
    for _ in killed_everywhere(homes, add):
        there = len(roots_of(authority(three.host, ALICE, OPTIONS).profile)) == 3
        if there:
            with pytest.raises(UsageError, match="already"):
                add()
        else:
            add()
        assert len(roots_of(authority(three.host, ALICE, OPTIONS).profile)) == 3
        assert keys_on(third) == 1
        after = add_administrator(authority(three.host, ALICE, OPTIONS), fresh().public, third)
        assert after.version == 3
        found.add(there)
    assert found == {True, False}


@some_or_all(3)
def test_an_account_is_whole_or_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    alice = Three(tmp_path)
    homes = [alice.host.home, *(tmp_path / name for name in ("daily", "first", "second"))]
    found = set()
    for _ in killed_everywhere(homes, alice.create, every=every):
        there = bool(alice.host.profiles())
        record = alice.record if there else alice.create()
        assert len(roots_of(profile(record))) == 2
        kept = [keys_on(token) for token in (alice.daily, alice.first, alice.second)]
        assert (sum(kept), kept[2]) == (len(record.keys), 1)
        found.add(there)
    assert found == {True, False}
