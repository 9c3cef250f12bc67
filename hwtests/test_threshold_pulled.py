"""A token pulled at each step of a key's life (SoftHSM): rolled back or resumed, and always T shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace as changed
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hwtests.threshold_lab import Lab
from meshhw.algorithms import Operation, Suite
from meshhw.errors import MeshError, TokenNotFound
from meshhw.keystore import registry
from meshhw.keystore.interaction import PinRequest
from meshhw.keystore.uri import KeyURI, TokenURI
from meshhw.lab.shim import State
from meshhw.managers.threshold import descriptor
from meshhw.managers.threshold.provision import Request
from meshhw.managers.threshold.renew import refresh, replace
from meshhw.managers.threshold.state import delete_key, is_complete, old_shares, unfinished

if TYPE_CHECKING:
    from meshhw.lab.fixtures_pkcs11 import NewTroubled
    from meshhw.lab.shim import Trouble

Reached = Callable[[list[str]], bool]
"""Whether the moment has come, by what was done and asked: "import", "agree", "delete", "pin LABEL"."""


class Pullable(Lab):
    """Three tokens, the last of which is pulled at a certain step.

    It is the recorder of all uses: a token's process waits until its use is written down, so that the pull
    falls between that use and whatever comes next.
    """

    def __init__(self, home: Path, new_token: NewTroubled) -> None:
        pairs = [new_token() for _ in range(3)]
        self.troubles: list[Trouble] = [trouble for _, trouble in pairs]
        self.trouble = self.troubles[-1]
        self.new_token = new_token
        self.journal: dict[str, Any] = {}
        self._events: list[str] = []
        self._reached: Reached | None = None
        self._pulled: tuple[Trouble, ...] = ()
        super().__init__(home, [token for token, _ in pairs])
        self.options = changed(self.options, recorder=self)

    @contextmanager
    def pulled_when(self, reached: Reached, *troubles: Trouble) -> Iterator[None]:
        """These tokens, or the last one; fails if it never came to that."""
        self._events, self._reached, self._pulled = [], reached, troubles or (self.trouble,)
        yield
        assert self._reached is None, f"no token was pulled: {self._events}"

    def record(self, _key: KeyURI, operation: Operation, _result: str) -> None:
        """As `UseRecorder`."""
        self._happened(operation.value)

    def pin(self, request: PinRequest) -> str:
        """As every lab's."""
        self._happened(f"pin {request.token.get('token')}")
        return super().pin(request)

    def _happened(self, event: str) -> None:
        self._events.append(event)
        if self._reached is not None and self._reached(self._events):
            self._reached = None
            self.journal = self.store.journal() or {}
            for trouble in self._pulled:
                trouble.pull()

    def spare(self) -> tuple[TokenURI, Trouble]:
        """One more token."""
        token, trouble = self.new_token()
        self.pins[token.label] = token.pin
        return token.uri, trouble

    def held(self, *uris: TokenURI) -> list[int]:
        """How many keys these tokens hold, or the three."""
        counts = []
        for uri in uris or self.uris:
            token = registry.open_token(uri, self.options)
            counts.append(len(token.keys()))
            token.close()
        return counts


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_troubled_softhsm: NewTroubled) -> Pullable:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    return Pullable(tmp_path / "home", new_troubled_softhsm)


def imported(count: int) -> Reached:
    """So many shares are in their tokens."""
    return lambda events: events.count("import") == count


def proved(count: int) -> Reached:
    """All three shares are in their tokens, and so many were asked to prove theirs."""
    return lambda events: events.count("import") == 3 and events[-count:] == ["agree"] * count


def destroyed(events: list[str]) -> bool:
    """The first share is gone."""
    return events.count("delete") == 1


def asked(token: TokenURI) -> Reached:
    """That token's PIN is asked for."""
    return lambda events: events[-1] == f"pin {token.get('token')}"


@pytest.mark.parametrize("count", [1, 3])
def test_while_provisioning(lab: Pullable, count: int) -> None:
    request = Request(2, lab.uris, Suite.P256, signs=False)
    with lab.pulled_when(imported(count)), pytest.raises(MeshError):
        lab.provision(request)
    assert lab.journal["doing"] == "provision"
    assert len(lab.journal.get("keys", ())) == count - 1
    assert not lab.store.exists
    lab.trouble.put_back()
    assert lab.provision(request).value.version == 1  # rolls back first what the pulled token kept
    assert lab.held() == [1, 1, 1]


MAKING, DESTROYING = "making new shares", "destroying old shares"


@pytest.mark.parametrize(
    ("reached", "doing"),
    [
        (None, MAKING),
        (imported(2), MAKING),
        (imported(3), MAKING),
        (proved(1), MAKING),
        (destroyed, DESTROYING),
    ],
    ids=["begun", "two", "three", "proved", "destroying"],
)
def test_while_refreshing(lab: Pullable, reached: Reached | None, doing: str) -> None:
    first = lab.provision(Request(2, lab.uris, Suite.P256, signs=False, renewable=True))
    envelope = lab.envelope(first)
    with lab.pulled_when(reached or asked(lab.uris[2])), suppress(MeshError):
        refresh(lab.store, lab.host, lab.options)
    assert lab.journal["doing"] == doing
    now = descriptor.load(lab.store, lab.host)
    assert lab.decrypts(now, (1, 2), envelope)  # without the pulled token
    lab.trouble.put_back()
    for pair in combinations((1, 2, 3), 2):
        assert lab.decrypts(now, pair, envelope)
    new = refresh(lab.store, lab.host, lab.options)
    assert old_shares(new, lab.store) == []
    assert lab.store.journal() is None
    assert lab.held() == [1, 1, 1]
    for pair in combinations((1, 2, 3), 2):
        assert lab.decrypts(new, pair, envelope)


@pytest.mark.parametrize(
    ("victim", "reached", "doing"),
    [
        ("new token", None, MAKING),
        ("new token", imported(2), MAKING),
        ("holder", imported(2), MAKING),
        ("holder", destroyed, DESTROYING),
    ],
    ids=["new-begun", "new-two", "holder-two", "holder-destroying"],
)
def test_while_replacing(lab: Pullable, victim: str, reached: Reached | None, doing: str) -> None:
    """The first token is lost, and a second one goes while it is replaced: the new token, or a holder's."""
    first = lab.provision(Request(2, lab.uris, Suite.P256, signs=False, renewable=True))
    envelope = lab.envelope(first)
    spare, trouble = lab.spare()
    lab.troubles[0].pull()
    lab.trouble = trouble if victim == "new token" else lab.troubles[2]
    with lab.pulled_when(reached or asked(spare), lab.trouble), suppress(MeshError):
        replace(lab.store, lab.host, lab.options, (1, spare))
    assert lab.trouble.state is State.PULLED
    assert lab.journal["doing"] == doing
    lab.trouble.put_back()
    now = descriptor.load(lab.store, lab.host)
    quorum = (2, 3) if now.key("decryption").generation == 1 else (1, 2)
    assert lab.decrypts(now, quorum, envelope)
    if now.key("decryption").generation == 1:  # rolled back: the same again
        new = replace(lab.store, lab.host, lab.options, (1, spare))
    else:
        new = refresh(lab.store, lab.host, lab.options)
    for pair in combinations((1, 2, 3), 2):
        assert lab.decrypts(new, pair, envelope)
    told = old_shares(new, lab.store)
    assert [line.partition(" of ")[0] for line in told] == ["old share 1"]
    assert is_complete(new, lab.store)
    assert lab.store.journal() is None
    assert lab.held(spare, *lab.uris[1:]) == [1, 1, 1]


def test_a_new_token_that_is_lost_while_it_is_given_its_share(lab: Pullable) -> None:
    """It never comes back: another one takes its place, and it is told of until it does."""
    first = lab.provision(Request(2, lab.uris, Suite.P256, signs=False, renewable=True))
    envelope = lab.envelope(first)
    lost, trouble = lab.spare()
    other, _ = lab.spare()
    lab.troubles[0].pull()
    with lab.pulled_when(imported(3), trouble), pytest.raises(MeshError):
        replace(lab.store, lab.host, lab.options, (1, lost))
    new = replace(lab.store, lab.host, lab.options, (1, other))
    for pair in combinations((1, 2, 3), 2):
        assert lab.decrypts(new, pair, envelope)
    told = old_shares(new, lab.store)
    assert any(line.startswith("a share of a renewal that was given up may exist on") for line in told)
    assert is_complete(new, lab.store)  # one share of it combines with nothing
    trouble.put_back()
    again = refresh(lab.store, lab.host, lab.options)
    assert not any("given up" in line for line in old_shares(again, lab.store))
    assert lab.held(lost, other) == [0, 1]


def test_a_renewal_is_complete_when_too_few_old_shares_are_left(lab: Pullable) -> None:
    first = lab.provision(Request(2, lab.uris, Suite.P256, signs=False, renewable=True))
    envelope = lab.envelope(first)
    with lab.pulled_when(destroyed, *lab.troubles[1:]):
        new = refresh(lab.store, lab.host, lab.options)
    for trouble in lab.troubles:
        trouble.put_back()
    told = old_shares(new, lab.store)
    assert [line.partition(" of generation")[0] for line in told[:2]] == ["old share 2", "old share 3"]
    assert "the renewal is not complete: 2 old shares of generation 1 still combine" in told[2]
    assert not is_complete(new, lab.store)
    assert lab.decrypts(first, (2, 3), envelope)  # so they do
    again = refresh(lab.store, lab.host, lab.options)
    assert old_shares(again, lab.store) == []
    assert is_complete(again, lab.store)
    with pytest.raises(TokenNotFound):
        lab.decrypts(first, (2, 3), envelope)


def test_while_deleting(lab: Pullable) -> None:
    lab.provision(Request(2, lab.uris, Suite.P256, signs=False))
    with lab.pulled_when(destroyed), pytest.raises(TokenNotFound) as caught:
        delete_key(lab.store, lab.options)
    assert "--forget" in caught.value.hint
    assert "goes on" in unfinished(lab.store)
    lab.trouble.put_back()
    assert delete_key(lab.store, lab.options) == []
    assert lab.held() == [0, 0, 0]
    assert not lab.store.path.exists()


def test_a_key_with_an_absent_token_is_deleted_only_to_be_forgotten(lab: Pullable) -> None:
    first = lab.provision(Request(2, lab.uris, Suite.P256, signs=False))
    lab.trouble.pull()
    with pytest.raises(TokenNotFound, match="tokens with shares of team are not here") as caught:
        delete_key(lab.store, lab.options)
    assert "--forget" in caught.value.hint
    assert lab.decrypts(first, (1, 2))  # nothing was destroyed
    left = delete_key(lab.store, lab.options, forget=True)
    assert left == [first.key("decryption").holder(3).key]
    assert not lab.store.path.exists()
    lab.trouble.put_back()
    assert lab.held() == [0, 0, 1]
