"""Who may sign the next descriptor: the listed devices, the quorum itself, and nobody else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from meshhw.algorithms import PublicKey, Suite
from meshhw.dare.signing import Signer
from meshhw.errors import (
    IntegrityError,
    KeyNotFound,
    NotSupported,
    SignatureInvalid,
    StateError,
    TokenNotFound,
    UsageError,
)
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.uri import TokenURI
from meshhw.managers.device import DeviceManager
from meshhw.managers.host import Host
from meshhw.managers.profilemaking import ProfileRequest
from meshhw.managers.threshold import descriptor
from meshhw.managers.threshold.authority import Setting
from meshhw.managers.threshold.devices import change_devices, device_named
from meshhw.managers.threshold.provision import Request, provision
from meshhw.managers.threshold.renew import refresh, replace
from meshhw.managers.threshold.signed import sign_object
from meshhw.managers.threshold.store import KeyStore, Store
from meshhw.managers.threshold.tokens import OpenTokens
from meshhw.schema.keydata import key_data
from meshhw.schema.threshold import ThresholdDescriptor
from meshhw.udf import fingerprint
from tests.account.killing import killed_everywhere
from tests.threshold_manager.conftest import NewVault
from tests.threshold_manager.machines import PAYLOAD, two_machines


@dataclass
class Place:
    """A machine, a device on it that is on no descriptor, and the vaults."""

    host: Host
    options: OpenOptions
    vaults: list[TokenURI]
    new_vault: NewVault
    folder: Path

    @property
    def store(self) -> KeyStore:
        return Store(self.host.home).at("team")

    @property
    def setting(self) -> Setting:
        return Setting(self.store, self.host, self.options)

    def provision(self, *, signs: bool) -> descriptor.Loaded:
        request = Request(2, self.vaults, Suite.S25519, signs=signs, renewable=True)
        return provision(self.store, self.host, self.options, request)

    def new_device(self, host: Host, vault: str) -> PublicKey:
        with DeviceManager(host, self.options) as manager:
            record = manager.create(ProfileRequest(tokens=[self.new_vault(vault)], suite=Suite.S25519))
        return record.key("signature").public_key

    def lose_device(self) -> None:
        shutil.rmtree(self.folder / "device")

    @contextmanager
    def signer(self, host: Host) -> Iterator[Signer]:
        with OpenTokens(self.options) as tokens, descriptor.device_signer(host, tokens) as signer:
            yield signer


@pytest.fixture
def place(host: Host, options: OpenOptions, new_vault: NewVault, tmp_path: Path) -> Place:
    return Place(host, options, [new_vault(name) for name in ("one", "two", "three")], new_vault, tmp_path)


def listed(value: ThresholdDescriptor) -> list[PublicKey]:
    return descriptor.devices_of(value)


def test_every_device_of_the_machine_is_listed_and_another_one_signs(place: Place) -> None:
    second = place.new_device(place.host, "second-device")
    first = place.provision(signs=False)
    assert set(listed(first.value)) == set(descriptor.local_devices(place.host))
    assert first.signer != second
    place.lose_device()
    new = refresh(place.store, place.host, place.options)
    assert new.signer == second
    assert new.key("decryption").generation == 2


def test_a_quorum_signs_when_the_device_is_lost_with_a_holder(place: Place) -> None:
    first = place.provision(signs=True)
    place.lose_device()
    shutil.rmtree(Path(place.vaults[0].get("vault") or ""))
    said: list[str] = []
    new = replace(place.store, place.host, place.options, (1, place.new_vault("four")), said.append)
    assert any("a quorum signs in its place" in line for line in said)
    assert new.signer.octets == first.key("signing").public
    assert (new.key("decryption").generation, new.key("signing").generation) == (2, 2)
    assert descriptor.load(place.store, place.host).value == new.value
    device = place.new_device(place.host, "next-device")
    gone = fingerprint(listed(first.value)[0])
    changed = change_devices(place.setting, [device], [gone])
    assert listed(changed.value) == [device]
    again = refresh(place.store, place.host, place.options)
    assert again.signer == device


def test_without_a_signing_key_a_lost_device_is_told_with_what_is_left(place: Place) -> None:
    place.provision(signs=False)
    place.lose_device()
    with pytest.raises(TokenNotFound, match="device is not here") as caught:
        refresh(place.store, place.host, place.options)
    assert "--new-key NEW" in caught.value.hint
    assert place.store.journal() is None
    place.new_device(place.host, "stranger")
    with pytest.raises(TokenNotFound, match="device is not here"):
        refresh(place.store, place.host, place.options)


def test_a_descriptor_that_does_not_list_who_signed_it_is_refused(place: Place) -> None:
    value = place.provision(signs=False).value
    second = place.new_device(place.host, "second-device")
    changed = msgspec.structs.replace(value, version=2, devices=(key_data(second),))
    with place.signer(place.host) as signer, pytest.raises(SignatureInvalid, match="a device that it lists"):
        descriptor.save(changed, signer, place.store)
    assert descriptor.load(place.store, place.host).value == value


def test_a_descriptor_whose_parts_do_not_fit_is_refused(place: Place) -> None:
    """Shares, commitments, public key and name belong together, whoever signs."""
    value = place.provision(signs=False).value
    key = value.decryption
    assert key is not None
    change = msgspec.structs.replace
    one, two, three = key.holders
    shares, name = "shares do not belong to its public key", "Udf is not that of its public key"
    bad = [
        (change(value, decryption=change(key, holders=(change(one, share=two.share), two, three))), shares),
        (change(value, decryption=change(key, commitments=key.commitments[:1])), shares),
        (change(value, decryption=change(key, udf=fingerprint(listed(value)[0]))), name),
        (change(value, dealerless=True, decryption=change(key, threshold=3)), shares),  # no sum of them
    ]
    with place.signer(place.host) as signer:
        for wrong, why in bad:
            with pytest.raises(IntegrityError, match=why):
                descriptor.save(change(wrong, version=2), signer, place.store)
    assert descriptor.load(place.store, place.host).value == value


def test_a_descriptor_by_a_device_that_was_not_listed_is_refused(place: Place) -> None:
    """Whoever knows the public identifier could otherwise list itself in a newer version."""
    value = place.provision(signs=True).value
    away = Host(place.folder / "elsewhere")
    thief = place.new_device(away, "thief")
    taken = msgspec.structs.replace(value, version=value.version + 1, devices=(key_data(thief),))
    with place.signer(away) as signer:
        octets = sign_object(taken, signer).octets()
    with pytest.raises(SignatureInvalid, match="not known here"):
        descriptor.read(octets, place.store, descriptor.local_devices(place.host))
    place.store.save_descriptor(octets)
    with pytest.raises(SignatureInvalid, match="not known here"):
        descriptor.load(place.store, place.host)


def test_a_renewal_that_changes_the_public_keys_is_refused(place: Place) -> None:
    value = place.provision(signs=True).value
    other = Store(place.host.home).at("other")
    request = Request(2, place.vaults, Suite.S25519)
    strange = provision(other, place.host, place.options, request).value.decryption
    changed = msgspec.structs.replace(value, version=value.version + 1, decryption=strange)
    with place.signer(place.host) as signer, pytest.raises(IntegrityError, match="other public keys"):
        descriptor.save(changed, signer, place.store)


def test_adding_and_removing_devices(place: Place) -> None:
    first = place.provision(signs=False)
    own = listed(first.value)[0]
    away = Host(place.folder / "elsewhere")
    friend = place.new_device(away, "friend")
    profile = place.folder / "friend.profile"
    profile.write_bytes(away.profiles("ProfileDevice")[0].envelope)
    assert device_named(str(profile), place.host) == friend
    changed = change_devices(place.setting, [friend], [])
    assert listed(changed.value) == [own, friend]
    with pytest.raises(UsageError, match="cannot remove itself"):
        change_devices(place.setting, [], [fingerprint(own)])
    with pytest.raises(KeyNotFound, match="lists no device"):
        change_devices(place.setting, [], [fingerprint(friend)[:-4] + "AAAA"])
    back = change_devices(place.setting, [], [fingerprint(friend)])
    assert listed(back.value) == [own]
    assert back.value.version == changed.value.version + 1
    with pytest.raises(UsageError, match="must be left"):
        change_devices(place.setting, [], [fingerprint(own)])
    with OpenTokens(place.options) as tokens, pytest.raises(NotSupported, match="no device of this machine"):
        descriptor.local_device(away, tokens, among=[own])


def test_a_change_that_was_killed_at_any_moment_leaves_a_key_that_can_be_used(place: Place) -> None:
    first = place.provision(signs=False)
    friend = place.new_device(Host(place.folder / "elsewhere"), "friend")
    found = set()
    for _ in killed_everywhere([place.host.home], lambda: change_devices(place.setting, [friend], [])):
        found.add(len(listed(descriptor.load(place.store, place.host).value)))
        change_devices(place.setting, [friend], [])
        assert listed(descriptor.load(place.store, place.host).value) == [*listed(first.value), friend]
    assert found == {1, 2}


def test_a_holder_that_was_killed_as_it_took_a_later_descriptor_answers_afterwards(
    host: Host, options: OpenOptions, new_vault: NewVault, tmp_path: Path
) -> None:
    machines = two_machines(host, options, new_vault, tmp_path)
    machines.respond(machines.request())
    setting = Setting(Store(machines.home).at("team"), host, options)
    with DeviceManager(Host(tmp_path / "elsewhere"), options) as manager:
        record = manager.create(ProfileRequest(tokens=[new_vault("friend")], suite=Suite.S25519))
    change_devices(setting, [record.key("signature").public_key], [])
    asked = machines.request()
    refused = 0
    for _ in killed_everywhere([machines.away], lambda: machines.respond(asked)):
        try:
            answer = machines.respond(asked)
        except StateError:  # the id was written down already, and nothing went out
            refused += 1
        descriptor.load(Store(machines.away).at("team"), Host(machines.away))
    assert machines.decrypt(answer) == PAYLOAD
    assert refused
