"""kill -9 while a key is provisioned or renewed: rolled back or resumed, and never too few valid shares."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest

from meshhw.algorithms import Suite
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.prepare import Outline
from meshhw.dare.read import open_envelope
from meshhw.dare.write import seal
from meshhw.errors import StateError
from meshhw.keystore import registry
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.uri import TokenURI
from meshhw.managers.host import Host
from meshhw.managers.threshold import descriptor
from meshhw.managers.threshold.authority import Setting
from meshhw.managers.threshold.provision import Request, provision
from meshhw.managers.threshold.renew import refresh, replace
from meshhw.managers.threshold.signing import ThresholdSigner
from meshhw.managers.threshold.state import delete_key, unfinished
from meshhw.managers.threshold.store import Store
from meshhw.managers.threshold.succession import Succession, succeed
from meshhw.managers.threshold.tokens import OpenTokens
from meshhw.managers.threshold.use import ThresholdPrivateKey
from tests.threshold_manager.conftest import NewVault
from tests.threshold_manager.killing import kill_at

PAYLOAD = b"only together"
ALL, MANAGER = True, False
PROVISION = [("keys 0", ALL), ("keys 1", MANAGER), ("keys 2", ALL), ("keys 3", ALL)]
RENEW = [("begun", ALL), ("keys 1", ALL), ("keys 2", MANAGER), ("keys 3", ALL), ("destroying", ALL)]
REPLACE = [("keys 2", ALL), ("signing", ALL), ("destroying", MANAGER)]


def held(vaults: list[TokenURI], options: OpenOptions) -> int:
    total = 0
    for uri in vaults:
        token = registry.open_token(uri, options)
        total += len(token.keys())
        token.close()
    return total


@pytest.mark.parametrize(("point", "whole_group"), PROVISION)
def test_provisioning_is_rolled_back(
    host: Host, options: OpenOptions, new_vault: NewVault, point: str, whole_group: bool
) -> None:
    vaults = [new_vault(name) for name in ("one", "two", "three")]
    store = Store(host.home).at("team")
    on = [argument for uri in vaults for argument in ("--on", str(uri))]
    arguments = ["provision", "team", "--threshold", "2", "--suite", "25519", "--use", "encrypt", *on]
    kill_at(store, point, arguments, whole_group=whole_group, anew=lambda: delete_key(store, options))
    assert not store.exists
    assert "`meshhw threshold delete team` rolls it back" in unfinished(store)
    assert delete_key(store, options) == []
    assert held(vaults, options) == 0
    assert provision(store, host, options, Request(2, vaults, Suite.S25519, signs=False))


@pytest.mark.parametrize(("point", "whole_group"), RENEW)
def test_a_renewal_is_rolled_back_or_resumed(
    host: Host, options: OpenOptions, new_vault: NewVault, point: str, whole_group: bool
) -> None:
    vaults = [new_vault(name) for name in ("one", "two", "three")]
    store = Store(host.home).at("team")
    request = Request(2, vaults, Suite.S25519, signs=False, renewable=True)
    loaded = provision(store, host, options, request)
    public = descriptor.group_public(loaded.key("decryption"))
    envelope = seal(PAYLOAD, Outline(readers=[RecipientKey(public)]))
    kill_at(store, point, ["refresh", "team"], whole_group=whole_group)
    assert unfinished(store).endswith("was interrupted: repeat the command to go on")
    for _ in ("as it was left", "after another refresh"):
        current = descriptor.load(store, host)
        with OpenTokens(options) as tokens:
            ring = KeyRing([ThresholdPrivateKey(current, tokens)])
            assert open_envelope(envelope, ring).payload == PAYLOAD
        refresh(store, host, options)
    assert store.journal() is None
    assert held(vaults, options) == 3


@pytest.mark.parametrize(("point", "whole_group"), REPLACE)
def test_a_replacement_is_rolled_back_or_resumed(
    host: Host, options: OpenOptions, new_vault: NewVault, point: str, whole_group: bool
) -> None:
    vaults = [new_vault(name) for name in ("one", "two", "three")]
    spare = new_vault("spare")
    store = Store(host.home).at("team")
    loaded = provision(store, host, options, Request(2, vaults, Suite.S25519, renewable=True))
    public = descriptor.group_public(loaded.key("decryption"))
    envelope = seal(PAYLOAD, Outline(readers=[RecipientKey(public)]))
    shutil.rmtree(Path(vaults[0].get("vault") or ""))
    kill_at(store, point, ["replace", "team", "--holder", "1", "--on", str(spare)], whole_group=whole_group)
    assert unfinished(store).endswith("was interrupted: repeat the command to go on")
    for _ in ("as it was left", "after it was repeated"):
        current = descriptor.load(store, host)
        with OpenTokens(options) as tokens:
            ring = KeyRing([ThresholdPrivateKey(current, tokens)])
            assert open_envelope(envelope, ring).payload == PAYLOAD
        assert ThresholdSigner(current, store, options).sign(PAYLOAD)
        replace(store, host, options, (1, spare))
    assert store.journal() is None
    assert held([spare, *vaults[1:]], options) == 3
    assert {holder.token for holder in descriptor.load(store, host).key("signing").holders} == {
        str(uri) for uri in (spare, *vaults[1:])
    }


def test_deleting_is_repeated(host: Host, options: OpenOptions, new_vault: NewVault) -> None:
    vaults = [new_vault(name) for name in ("one", "two", "three")]
    store = Store(host.home).at("team")
    request = Request(2, vaults, Suite.S25519, renewable=True)
    provision(store, host, options, request)
    arguments = ["delete", "team", "--yes"]
    anew = partial(provision, store, host, options, request)
    kill_at(store, "begun", arguments, whole_group=ALL, anew=anew)
    assert "`meshhw threshold delete team` goes on" in unfinished(store)
    with pytest.raises(StateError, match="was begun"):
        refresh(store, host, options)
    assert delete_key(store, options) == []
    assert not store.path.exists()
    assert held(vaults, options) == 0


def test_a_new_key_in_the_place_of_another_is_gone_on_with(
    host: Host, options: OpenOptions, new_vault: NewVault
) -> None:
    vaults = [new_vault(name) for name in ("one", "two", "three")]
    old, new = Store(host.home).at("old"), Store(host.home).at("new")
    provision(old, host, options, Request(2, vaults, Suite.S25519, signs=False))

    def forget() -> None:
        old.discard("successor")
        delete_key(new, options)

    kill_at(new, "keys 1", ["refresh", "old", "--new-key", "new"], whole_group=ALL, anew=forget)
    assert not new.exists
    made = succeed(Setting(old, host, options), new, Succession("new"))
    assert new.journal() is None
    assert descriptor.load(new, host).value == made.value
    assert held(vaults, options) == 6  # the old key's shares, and one set of new ones
