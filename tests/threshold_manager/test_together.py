"""Descriptors that are changed together under one signature: each is taken by the same rules as one alone."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshhw.algorithms import Algorithm, PrivateKey, PublicKey, Suite
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import RecipientKey
from meshhw.dare.local import LocalKey
from meshhw.dare.prepare import Outline
from meshhw.dare.signing import Signer
from meshhw.dare.write import seal
from meshhw.errors import FormatError, IntegrityError, MeshError, SignatureInvalid, TokenNotFound
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.uri import TokenURI
from meshhw.managers.device import DeviceManager
from meshhw.managers.host import Host
from meshhw.managers.profilemaking import ProfileRequest
from meshhw.managers.threshold import descriptor
from meshhw.managers.threshold.authority import Setting
from meshhw.managers.threshold.devices import change_devices, signed_changes
from meshhw.managers.threshold.provision import Request, provision
from meshhw.managers.threshold.signed import open_descriptor, sign_descriptors, sign_object
from meshhw.managers.threshold.store import Store
from meshhw.managers.uselog import UseLog, entries
from meshhw.schema.codec import encode
from meshhw.schema.core import Enveloped
from meshhw.schema.keydata import key_data
from meshhw.schema.threshold import MAX_CHANGES, ThresholdChanged, ThresholdChanges, ThresholdDescriptor
from meshhw.udf import fingerprint
from tests.dare.test_hostile import SHORT_AND_LONG, damaged
from tests.threshold_manager.conftest import NewVault

SIGNER, THIEF = (LocalKey(PrivateKey(Algorithm.ED25519, bytes([n]) * 32)) for n in (1, 2))
LETTERBOX = LocalKey(PrivateKey(Algorithm.X25519, bytes(range(32))))
FRIEND = LocalKey(PrivateKey(Algorithm.ED25519, bytes([3]) * 32)).public


def value(name: str) -> ThresholdDescriptor:
    """A descriptor, as far as its envelope is concerned."""
    return ThresholdDescriptor(
        format=1,
        name=name,
        identifier=name.encode() * 4,
        version=2,
        created=datetime(2026, 1, 1, tzinfo=UTC),
        suite="25519",
        renewable=False,
        dealerless=False,
        devices=(key_data(SIGNER.public),),
    )


VALUES = [value(name) for name in ("crew", "team", "many")]
HALF = b'{"ThresholdDescriptor":{"Name":"crew"}}'
FILES = list(sign_descriptors(VALUES, SIGNER))


def changed(body: bytes, digests: Sequence[bytes], *, signers: Sequence[Signer] = (SIGNER,)) -> Envelope:
    """A descriptor beside a list with these digests, which somebody has signed."""
    changes = ThresholdChanges(digests=tuple(digests))
    listed = sign_object(changes, signers[0]) if signers else seal(encode(changes), Outline())
    both = ThresholdChanged(descriptor=body, enveloped_changes=Enveloped(listed.array()))
    return seal(encode(both), Outline())


def digest(body: bytes) -> bytes:
    return hashlib.sha512(body).digest()


def test_each_file_says_which_descriptor_it_is_and_who_signed() -> None:
    for octets, its in zip(FILES, VALUES, strict=True):
        assert open_descriptor(octets) == (its, SIGNER.public, encode(its))
    [alone] = sign_descriptors(VALUES[:1], SIGNER)
    assert Envelope.parse(alone).header.signers == (fingerprint(SIGNER.public),)
    assert open_descriptor(alone) == open_descriptor(FILES[0])


def test_many_take_as_few_signatures_as_fit() -> None:
    many = [value(f"key{number:03}") for number in range(MAX_CHANGES + 1)]
    made = list(sign_descriptors(many, SIGNER))
    assert [open_descriptor(octets)[0].name for octets in made] == [item.name for item in many]
    assert Envelope.parse(made[0]).header.signers == ()
    assert Envelope.parse(made[-1]).header.signers == (fingerprint(SIGNER.public),)


def test_what_the_signature_is_not_about_is_refused() -> None:
    body, other = encode(VALUES[0]), encode(msgspec.structs.replace(VALUES[0], version=9))
    filler = [digest(bytes([number])) for number in range(MAX_CHANGES)]
    whole = seal(Envelope.parse(FILES[0]).body, Outline(signers=[SIGNER]))
    secret = seal(Envelope.parse(FILES[0]).body, Outline(readers=[RecipientKey(LETTERBOX.public)]))
    refused: list[tuple[Envelope, type[MeshError], str]] = [
        (changed(other, [digest(body)]), SignatureInvalid, "not among those"),
        (changed(body, []), SignatureInvalid, "not among those"),
        (changed(body, [digest(body)] * 2), FormatError, "different descriptors at once"),
        (changed(body, [digest(body), *filler]), FormatError, "at most 64"),
        (changed(body, [digest(body)], signers=[]), SignatureInvalid, "signed by one key"),
        (changed(encode(VALUES[0].devices[0]), [digest(encode(VALUES[0].devices[0]))]), FormatError, "not a"),
        (changed(HALF, [digest(HALF)]), FormatError, "is not whole: .*'format'"),
        (whole, FormatError, "not by itself"),
        (secret, FormatError, "not encrypted"),
    ]
    for envelope, error, why in refused:
        with pytest.raises(error, match=why):
            open_descriptor(envelope.octets())
    assert open_descriptor(changed(body, [digest(body), *filler[1:]]).octets())[0] == VALUES[0]


@SHORT_AND_LONG
@given(octets=damaged(FILES[0]))
def test_a_damaged_file_is_refused_or_says_the_same(run: str, octets: bytes) -> None:
    try:
        found = open_descriptor(octets)
    except MeshError:
        return
    assert found == open_descriptor(FILES[0])


@SHORT_AND_LONG
@given(body=st.binary(max_size=60), digests=st.lists(st.binary(max_size=70), max_size=4), right=st.booleans())
def test_a_body_of_any_octets_is_refused(run: str, body: bytes, digests: list[bytes], right: bool) -> None:
    """Even where the signature is about it."""
    listed = [digest(body), *digests] if right else digests
    with pytest.raises(MeshError):
        open_descriptor(changed(body, listed).octets())


class Place:
    """A machine with three threshold keys in one vault, whose device signs for them."""

    def __init__(self, host: Host, options: OpenOptions, vault: TokenURI, folder: Path) -> None:
        self.host, self.folder, self.options = host, folder, options
        self.log = folder / "uses.jsonl"
        for name in ("crew", "many", "team"):
            request = Request(1, [vault], Suite.S25519, signs=False)
            provision(Store(host.home).at(name), host, options, request)

    def settings(self, *names: str) -> list[Setting]:
        options = replace(self.options, recorder=UseLog(self.log, "test"))
        return [Setting(Store(self.host.home).at(name), self.host, options) for name in names]

    def signed(self, *names: str, left: dict[str, str] | None = None) -> dict[str, bytes]:
        return signed_changes(self.settings(*names), [FRIEND], [], left)

    def keep(self, made: dict[str, bytes]) -> None:
        for name, octets in made.items():
            store = Store(self.host.home).at(name)
            descriptor.keep(octets, store, descriptor.local_devices(self.host))

    def listed(self, name: str) -> list[PublicKey]:
        loaded = descriptor.load(Store(self.host.home).at(name), self.host)
        return descriptor.devices_of(loaded.value)

    def signatures(self) -> int:
        return sum(item.operation == "sign" for item, _ in entries(self.log))


@pytest.fixture
def place(host: Host, options: OpenOptions, new_vault: NewVault, tmp_path: Path) -> Place:
    return Place(host, options, new_vault("holder"), tmp_path)


def test_one_signature_changes_all_and_one_alone_carries_on(place: Place) -> None:
    made = place.signed("team", "crew", "many")
    assert list(made) == ["crew", "many", "team"]
    assert place.signatures() == 1
    assert FRIEND not in place.listed("crew")  # not in force yet
    place.keep(made)
    assert all(FRIEND in place.listed(name) for name in made)
    [setting] = place.settings("crew")
    after = change_devices(setting, [], [fingerprint(FRIEND)])
    assert after.value.version == 3
    with pytest.raises(IntegrityError, match="has version 2, and 3 was seen"):
        place.keep({"crew": made["crew"]})


def test_the_file_of_one_key_is_not_that_of_another(place: Place) -> None:
    made = place.signed("crew", "team")
    with pytest.raises(IntegrityError, match="is the descriptor of 'team'"):
        place.keep({"crew": made["team"]})


def test_who_was_not_listed_cannot_change_several_either(place: Place) -> None:
    values = []
    for name in ("crew", "team"):
        loaded = descriptor.load(Store(place.host.home).at(name), place.host).value
        taken = msgspec.structs.replace(loaded, version=2, devices=(key_data(THIEF.public),))
        values.append(taken)
    for octets, its in zip(sign_descriptors(values, THIEF), values, strict=True):
        with pytest.raises(SignatureInvalid, match="not known here"):
            place.keep({its.name: octets})
        assert place.listed(its.name) != [THIEF.public]


def test_the_device_that_may_sign_the_most_signs(
    place: Place, options: OpenOptions, new_vault: NewVault
) -> None:
    """A second device of the machine is listed for one key, and signs that one when the first is away."""
    with DeviceManager(place.host, options) as manager:
        record = manager.create(ProfileRequest(tokens=[new_vault("second")], suite=Suite.S25519))
    second = record.key("signature").public_key
    [setting] = place.settings("crew")
    change_devices(setting, [second], [])
    before = place.signatures()
    made = place.signed("crew", "many", "team")
    assert {open_descriptor(octets)[1] for octets in made.values()} == {place.listed("many")[0]}
    assert place.signatures() == before + 1
    shutil.rmtree(place.folder / "device")
    left: dict[str, str] = {}
    made = place.signed("crew", "many", "team", left=left)
    assert [(name, open_descriptor(octets)[1]) for name, octets in made.items()] == [("crew", second)]
    assert set(left) == {"many", "team"}
    before = place.signatures()
    with pytest.raises(TokenNotFound):
        place.signed("crew", "many")
    assert place.signatures() == before
