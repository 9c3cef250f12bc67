"""Renewal: refreshing every share, replacing a lost one, and what an interruption leaves."""

from __future__ import annotations

import shutil
from itertools import combinations
from pathlib import Path

import msgspec
import pytest

from meshhw.algorithms import Suite
from meshhw.curves.eddsa import edwards_curve, verify
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.prepare import Outline
from meshhw.dare.read import open_envelope
from meshhw.dare.write import seal
from meshhw.errors import Cancelled, DecryptionFailed, MeshError, TokenNotFound, UsageError
from meshhw.jsonbcd import encode_base64url
from meshhw.keystore import registry
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinRequest, Scripted
from meshhw.keystore.uri import TokenURI
from meshhw.managers.host import Host
from meshhw.managers.threshold import descriptor
from meshhw.managers.threshold.descriptor import Loaded
from meshhw.managers.threshold.provision import Request, provision
from meshhw.managers.threshold.renew import refresh, replace, resume
from meshhw.managers.threshold.signing import ThresholdSigner
from meshhw.managers.threshold.state import old_shares
from meshhw.managers.threshold.store import KeyStore, Store
from meshhw.managers.threshold.tokens import OpenTokens
from meshhw.managers.threshold.use import ThresholdPrivateKey
from tests.threshold_manager.conftest import PASSPHRASE, NewVault

PAYLOAD = b"only together"


class Team:
    """A renewable two-of-three key, and an envelope from before any renewal."""

    def __init__(self, host: Host, options: OpenOptions, vaults: list[TokenURI], suite: Suite) -> None:
        self.host = host
        self.options = options
        self.vaults = vaults
        self.store: KeyStore = Store(host.home).at("team")
        request = Request(2, vaults, suite, signs=False, renewable=True)
        self.first = provision(self.store, host, options, request)
        public = descriptor.group_public(self.first.key("decryption"))
        self.envelope: Envelope = seal(PAYLOAD, Outline(readers=[RecipientKey(public)]))

    def now(self) -> Loaded:
        return descriptor.load(self.store, self.host)

    def opens(self, loaded: Loaded, *holders: int) -> bool:
        """Whether exactly these holders open the envelope."""
        key = loaded.key("decryption")
        left = tuple(holder for holder in key.holders if holder.index in holders)
        changed = msgspec.structs.replace(loaded.value, decryption=msgspec.structs.replace(key, holders=left))
        with OpenTokens(self.options) as tokens:
            ring = KeyRing([ThresholdPrivateKey(Loaded(changed, loaded.signer), tokens)])
            return open_envelope(self.envelope, ring).payload == PAYLOAD

    def keys(self) -> list[int]:
        """How many keys each vault holds."""
        counts = []
        for uri in self.vaults:
            token = registry.open_token(uri, self.options)
            counts.append(len(token.keys()))
            token.close()
        return counts


@pytest.fixture
def team(host: Host, options: OpenOptions, new_vault: NewVault) -> Team:
    return Team(host, options, [new_vault(name) for name in ("one", "two", "three")], Suite.S25519)


@pytest.mark.parametrize("suite", [Suite.S448, Suite.P256])
def test_refresh_in_other_suites(host: Host, options: OpenOptions, new_vault: NewVault, suite: Suite) -> None:
    team = Team(host, options, [new_vault(name) for name in ("one", "two", "three")], suite)
    assert team.opens(refresh(team.store, host, options), 2, 3)


def test_refresh_keeps_the_key_and_destroys_the_old_shares(team: Team) -> None:
    new = refresh(team.store, team.host, team.options)
    old, key = team.first.key("decryption"), new.key("decryption")
    assert (key.udf, key.public, key.generation) == (old.udf, old.public, 2)
    assert {h.share for h in key.holders}.isdisjoint(h.share for h in old.holders)
    for pair in combinations((1, 2, 3), 2):
        assert team.opens(new, *pair)
    assert team.keys() == [1, 1, 1]
    assert all(share.destroyed for share in new.value.retired)
    assert old_shares(new, team.store) == []
    assert team.store.journal() is None
    assert [name for name in team.store.files() if name.startswith("copy-")] == [
        f"copy-2-{index}.dare" for index in (1, 2, 3)
    ]
    with pytest.raises(TokenNotFound):
        team.opens(team.first, 1, 2)  # the old shares are gone
    again = refresh(team.store, team.host, team.options)
    assert team.opens(again, 1, 3)


def test_what_is_asked_is_told_once_and_all_of_it(
    host: Host, options: OpenOptions, new_vault: NewVault
) -> None:
    vaults = [new_vault(name) for name in ("one", "two", "three")]
    store = Store(host.home).at("both")
    provision(store, host, options, Request(2, vaults, Suite.S25519, renewable=True))
    said: list[str] = []
    refresh(store, host, options, said.append)
    assert said == ["renewing both asks every holder; 4 PINs: one, two, three, device"]


def test_shares_of_different_generations_do_not_combine(team: Team) -> None:
    kept = {uri: Path(uri.get("vault") or "") for uri in team.vaults}
    shutil.copytree(kept[team.vaults[0]], kept[team.vaults[0]].with_suffix(".kept"))
    new = refresh(team.store, team.host, team.options)
    shutil.rmtree(kept[team.vaults[0]])
    kept[team.vaults[0]].with_suffix(".kept").rename(kept[team.vaults[0]])
    old = team.first.key("decryption").holder(1)
    mixed = tuple(old if h.index == 1 else h for h in new.key("decryption").holders)
    key = msgspec.structs.replace(new.key("decryption"), holders=mixed)
    changed = Loaded(msgspec.structs.replace(new.value, decryption=key), new.signer)
    with pytest.raises((DecryptionFailed, MeshError)):
        team.opens(changed, 1, 2)
    assert team.opens(new, 2, 3)


def test_a_lost_holder_is_replaced(team: Team, new_vault: NewVault) -> None:
    shutil.rmtree(Path(team.vaults[0].get("vault") or ""))
    with pytest.raises(TokenNotFound, match=r"needs every holder's token; missing: 1 "):
        refresh(team.store, team.host, team.options)
    new = replace(team.store, team.host, team.options, (1, new_vault("four")))
    assert new.key("decryption").public == team.first.key("decryption").public
    for pair in combinations((1, 2, 3), 2):
        assert team.opens(new, *pair)
    told = old_shares(new, team.store)
    assert len(told) == 1
    assert "old share 1 of generation 1 may still exist" in told[0]


def test_signing_shares_are_renewed_and_replaced_too(
    host: Host, options: OpenOptions, new_vault: NewVault
) -> None:
    vaults = [new_vault(name) for name in ("one", "two", "three")]
    store = Store(host.home).at("signers")
    first = provision(store, host, options, Request(2, vaults, Suite.S448, encrypts=False))
    old = store.load("signing-1-2")
    shutil.rmtree(Path(vaults[2].get("vault") or ""))
    new = replace(store, host, options, (3, new_vault("four")))
    assert new.key("signing").public == first.key("signing").public
    assert new.key("signing").generation == 2
    assert [name for name in store.files() if name.startswith("signing-")] == [
        f"signing-2-{index}" for index in (1, 2, 3)
    ]
    for away in (1, 2, 3):
        left = tuple(h for h in new.key("signing").holders if h.index != away)
        key = msgspec.structs.replace(new.key("signing"), holders=left)
        loaded = Loaded(msgspec.structs.replace(new.value, signing=key), new.signer)
        signature = ThresholdSigner(loaded, store, options).sign(PAYLOAD)
        verify(edwards_curve("Ed448"), key.public, PAYLOAD, signature)
    store.save("signing-2-2", old)
    key = msgspec.structs.replace(new.key("signing"), holders=new.key("signing").holders[:2])
    loaded = Loaded(msgspec.structs.replace(new.value, signing=key), new.signer)
    with pytest.raises(MeshError):
        ThresholdSigner(loaded, store, options).sign(PAYLOAD)


def test_replacements_that_are_refused(team: Team) -> None:
    with pytest.raises(UsageError, match="another share"):
        replace(team.store, team.host, team.options, (1, team.vaults[1]))
    with pytest.raises(MeshError, match="no holder 7"):
        replace(team.store, team.host, team.options, (7, team.vaults[1]))


def test_a_failing_holder_leaves_the_old_shares_working(team: Team) -> None:
    copy = team.store.load("copy-1-3.dare")
    team.store.save("copy-1-3.dare", team.store.load("copy-1-2.dare"))
    with pytest.raises(MeshError):
        refresh(team.store, team.host, team.options)
    team.store.save("copy-1-3.dare", copy)
    assert team.keys() == [1, 1, 1]
    assert team.store.journal() is None
    assert team.opens(team.now(), 1, 3)
    assert refresh(team.store, team.host, team.options).key("decryption").generation == 2


def test_old_shares_stand_until_the_new_descriptor_is_signed(team: Team) -> None:
    """The device's PIN is asked when it signs: every vault then holds its old share beside the new one."""
    held: list[int] = []

    def answer(request: PinRequest) -> str:
        if Path(request.token.get("vault") or "").name == "device":
            held.extend(team.keys())
            raise Cancelled("the device does not sign")
        return PASSPHRASE

    with pytest.raises(Cancelled, match="does not sign"):
        refresh(team.store, team.host, OpenOptions(Scripted(answer)))
    assert held == [2, 2, 2]
    assert team.keys() == [1, 1, 1]
    assert team.now().value == team.first.value
    assert team.store.journal() is None
    assert team.opens(team.now(), 2, 3)


def test_a_planned_share_is_found_on_its_token_after_a_crash(team: Team) -> None:
    """As if the process was killed between an import and the journal's word of it."""
    holder = team.first.key("decryption").holder(2)
    planned = {
        "doing": "making new shares",
        "use": "decryption",
        "generation": 2,
        "algorithm": "X25519",
        "shares": [[holder.token, encode_base64url(holder.share)]],
    }
    team.store.write_journal(planned)
    assert resume(team.store, team.host, team.options)
    assert team.keys() == [1, 0, 1]


def test_stray_new_shares_are_destroyed_after_a_crash(team: Team) -> None:
    """As if the process was killed after an import that the journal had announced and not yet confirmed."""
    share = team.first.key("decryption").holder(2)
    stray = {
        "doing": "making new shares",
        "use": "decryption",
        "generation": 2,
        "algorithm": "X25519",
        "shares": [],
        "keys": [share.key],
    }
    team.store.write_journal(stray)
    assert resume(team.store, team.host, team.options)
    assert team.keys() == [1, 0, 1]
    assert team.opens(team.now(), 1, 3)


def test_a_crash_after_the_new_descriptor_keeps_the_new_shares(team: Team) -> None:
    """Killed between the signed descriptor and the journal's next entry: the new shares are valid."""
    new = refresh(team.store, team.host, team.options)
    keys = [holder.key for holder in new.key("decryption").holders]
    team.store.write_journal(
        {
            "doing": "making new shares",
            "use": "decryption",
            "generation": 2,
            "algorithm": "X25519",
            "keys": keys,
        }
    )
    assert resume(team.store, team.host, team.options)
    assert team.keys() == [1, 1, 1]
    assert team.opens(team.now(), 1, 3)


def test_destroying_old_shares_is_resumed(team: Team) -> None:
    new = refresh(team.store, team.host, team.options)
    retired = msgspec.structs.replace(new.value.retired[0], destroyed=False)
    changed = msgspec.structs.replace(
        new.value, version=new.value.version + 1, retired=(retired, *new.value.retired[1:])
    )
    with OpenTokens(team.options) as tokens, descriptor.device_signer(team.host, tokens) as signer:
        descriptor.save(changed, signer, team.store)
    team.store.write_journal({"doing": "destroying old shares"})
    assert resume(team.store, team.host, team.options)
    assert all(share.destroyed for share in team.now().value.retired)
    assert not resume(team.store, team.host, team.options)
