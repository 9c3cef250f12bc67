"""A token pulled at each step of a key's life (SoftHSM): rolled back or resumed, and always T shares."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from hwtests.threshold_lab import Lab
from meshhw.algorithms import Suite
from meshhw.errors import MeshError, TokenNotFound
from meshhw.keystore import registry
from meshhw.managers.threshold import descriptor
from meshhw.managers.threshold.provision import Request
from meshhw.managers.threshold.renew import refresh
from meshhw.managers.threshold.state import delete_key, is_complete, old_shares

if TYPE_CHECKING:
    from meshhw.lab.fixtures_pkcs11 import NewTroubled
    from meshhw.lab.shim import Trouble

Reached = Callable[[dict[str, object]], bool]


class Pullable(Lab):
    """Three tokens, the last of which is pulled when the journal says so."""

    def __init__(self, home: Path, new_token: NewTroubled) -> None:
        pairs = [new_token() for _ in range(3)]
        self.troubles: list[Trouble] = [trouble for _, trouble in pairs]
        self.trouble = self.troubles[-1]
        super().__init__(home, [token for token, _ in pairs])

    @contextmanager
    def pulled_when(self, reached: Reached, count: int = 1) -> Iterator[None]:
        """The last `count` tokens."""
        done = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(reached, count, done))
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()

    def _watch(self, reached: Reached, count: int, done: threading.Event) -> None:
        path = self.store.path / "journal.json"
        while not done.is_set():
            try:
                journal = msgspec.json.decode(path.read_bytes(), type=dict[str, object])
            except (FileNotFoundError, msgspec.DecodeError):
                journal = {}
            if reached(journal):
                for trouble in self.troubles[-count:]:
                    trouble.pull()
                return
            time.sleep(0.0005)

    def held(self) -> list[int]:
        counts = []
        for uri in self.uris:
            token = registry.open_token(uri, self.options)
            counts.append(len(token.keys()))
            token.close()
        return counts


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_troubled_softhsm: NewTroubled) -> Pullable:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    return Pullable(tmp_path / "home", new_troubled_softhsm)


def keys(count: int) -> Reached:
    """So many new keys are in their tokens."""

    def reached(journal: dict[str, object]) -> bool:
        found = journal.get("keys", [])
        assert isinstance(found, list)
        return "shares" in journal and len(found) >= count

    return reached


def doing(what: str) -> Reached:
    return lambda journal: journal.get("doing") == what


@pytest.mark.parametrize("count", [1, 3])
def test_while_provisioning(lab: Pullable, count: int) -> None:
    request = Request(2, lab.uris, Suite.P256, signs=False)
    with lab.pulled_when(keys(count)), suppress(MeshError):
        lab.provision(request)
    lab.trouble.put_back()
    if not lab.store.exists:
        assert lab.provision(request).value.version == 1  # rolls back first what the pulled token kept
    assert lab.held() == [1, 1, 1]


@pytest.mark.parametrize(
    "reached",
    [doing("making new shares"), keys(2), keys(3), doing("destroying old shares")],
    ids=["begun", "two", "three", "destroying"],
)
def test_while_refreshing(lab: Pullable, reached: Reached) -> None:
    first = lab.provision(Request(2, lab.uris, Suite.P256, signs=False, renewable=True))
    envelope = lab.envelope(first)
    with lab.pulled_when(reached), suppress(MeshError):
        refresh(lab.store, lab.host, lab.options)
    now = descriptor.load(lab.store, lab.host)
    assert lab.decrypts(now, (1, 2), envelope)  # without the pulled token
    lab.trouble.put_back()
    for pair in combinations((1, 2, 3), 2):
        assert lab.decrypts(now, pair, envelope)
    new = refresh(lab.store, lab.host, lab.options)
    assert old_shares(new) == []
    assert lab.store.journal() is None
    assert lab.held() == [1, 1, 1]
    for pair in combinations((1, 2, 3), 2):
        assert lab.decrypts(new, pair, envelope)


def test_a_renewal_is_complete_when_too_few_old_shares_are_left(lab: Pullable) -> None:
    first = lab.provision(Request(2, lab.uris, Suite.P256, signs=False, renewable=True))
    envelope = lab.envelope(first)
    with lab.pulled_when(doing("destroying old shares"), count=2):
        new = refresh(lab.store, lab.host, lab.options)
    for trouble in lab.troubles:
        trouble.put_back()
    told = old_shares(new)
    assert [line.partition(" of generation")[0] for line in told[:2]] == ["old share 2", "old share 3"]
    assert "the renewal is not complete: 2 old shares of generation 1 still combine" in told[2]
    assert not is_complete(new)
    assert lab.decrypts(first, (2, 3), envelope)  # so they do
    again = refresh(lab.store, lab.host, lab.options)
    assert old_shares(again) == []
    assert is_complete(again)
    with pytest.raises(TokenNotFound):
        lab.decrypts(first, (2, 3), envelope)


def test_while_deleting(lab: Pullable) -> None:
    lab.provision(Request(2, lab.uris, Suite.P256, signs=False))
    with lab.pulled_when(doing("deleting")):
        left = delete_key(lab.store, lab.options)
    lab.trouble.put_back()
    assert sum(lab.held()) == len(left) <= 1
