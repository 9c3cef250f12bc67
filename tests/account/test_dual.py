"""Devices that sign with two keys (rule R4): the token's and the activation's, both needed, neither alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from meshhw.algorithms import Algorithm, Suite
from meshhw.dare.envelope import Envelope
from meshhw.dare.local import LocalKey
from meshhw.errors import FormatError, IntegrityError, MeshError, NotSupported, SignatureInvalid
from meshhw.managers.account.connected import connected_keys, require_same
from meshhw.managers.account.membership import Membership
from meshhw.managers.device import DeviceManager
from meshhw.managers.profilemaking import ProfileRequest
from meshhw.schema.assertion import enclose, open_assertion, sign_assertion
from meshhw.schema.keydata import key_data, signature_keys
from meshhw.schema.message import RequestConnection
from meshhw.schema.profile import ProfileDevice
from meshhw.udf import Seed, Specifier
from tests.account.people import OPTIONS, Admin, Phone
from tests.account.vaults import cheap_vault

NOTE = RequestConnection(message_id="N")


class DualPhone(Phone):
    """A phone that wants two signatures."""

    def __init__(self, home: Path, suite: Suite) -> None:
        super().__init__(home, suite)
        with DeviceManager(self.host, OPTIONS) as manager:
            manager.delete(self.device)
            wanted = ProfileRequest(tokens=cheap_vault(home, OPTIONS), suite=suite)
            self.device = manager.create(wanted, dual=True)


@pytest.fixture
def admin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Admin:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    return Admin(tmp_path / "admin", Suite.S25519)


@pytest.fixture(params=list(Suite))
def member(tmp_path: Path, admin: Admin, request: pytest.FixtureRequest) -> Membership:
    phone = DualPhone(tmp_path / "phone", request.param)
    return phone.complete(admin.answer(phone.ask(), "web"))


def test_both_keys_sign_and_both_are_needed(member: Membership) -> None:
    both = signature_keys(member.connection.signature)
    assert len(both) == 2
    with member.signers(OPTIONS) as signers:
        assert tuple(signer.public for signer in signers) == both
        assert signers[0].public == member.device.key("signature").public_key
        whole = sign_assertion(NOTE, signers, "N")
        halves = [sign_assertion(NOTE, signer, "N") for signer in signers]
    assert open_assertion(whole, RequestConnection, [both]).value == NOTE
    for half in halves:
        with pytest.raises(SignatureInvalid):
            open_assertion(half, RequestConnection, [both])
    stranger = LocalKey(Seed.generate(Specifier.ANY).derive(Algorithm.ED25519, "k")).public
    for other in ((both[0], stranger), (stranger, both[1]), ()):
        with pytest.raises(SignatureInvalid):
            open_assertion(whole, RequestConnection, [other])


def test_neither_signature_can_be_taken_away(member: Membership) -> None:
    both = signature_keys(member.connection.signature)
    with member.signers(OPTIONS) as signers:
        header, body, trailer = sign_assertion(NOTE, signers, "N").array()
    for kept in (0, 1):
        cut = {**trailer, "signatures": [trailer["signatures"][kept]]}
        shorter = {**header, "signers": [header["signers"][kept]]}
        for array in ([header, body, cut], [shorter, body, cut]):
            with pytest.raises(MeshError):
                open_assertion(Envelope.from_array(array), RequestConnection, [both, both[kept]])


def test_what_it_keeps_for_itself_needs_both_signatures_too(member: Membership) -> None:
    kept = next((member.host.home / "accounts").glob("*/granted.dare"))
    granted = member.common(OPTIONS)
    reader = member.device.key("encryption").public_key
    with member.signers(OPTIONS) as signers:
        for signer in signers:
            kept.write_bytes(enclose(granted, signer, reader, "N").octets())
            with pytest.raises(SignatureInvalid):
                member.common(OPTIONS)
    kept.write_bytes(member.kept_envelope(granted, OPTIONS).octets())
    assert member.common(OPTIONS) == granted


def test_where_one_key_signs_such_a_device_says_no(tmp_path: Path, admin: Admin, member: Membership) -> None:
    with pytest.raises(NotSupported, match="two keys"), member.signer(OPTIONS):
        pass
    phone = DualPhone(tmp_path / "other", Suite.S25519)
    with pytest.raises(NotSupported, match="an administrator signs with one key"):
        admin.answer(phone.ask(), "admin")


def test_the_connection_must_name_the_activations_own_key(tmp_path: Path, admin: Admin) -> None:
    phone = DualPhone(tmp_path / "phone", Suite.S25519)
    found = phone.complete(admin.answer(phone.ask(), "web"))
    seed = found.activation(OPTIONS)
    profile = Envelope.parse(phone.device.envelope)
    device = open_assertion(profile, ProfileDevice, [phone.device.key("profile-signature").public_key]).value
    keys = connected_keys(device, seed)
    require_same(keys, found.connection)
    signature = found.connection.signature
    assert signature is not None
    other = key_data(keys.signature, mode="dual", beside=found.device.key("profile-signature").public_key)
    for wrong in (other, replace(signature, mode="direct", beside=None)):
        with pytest.raises(IntegrityError, match="second Signature key"):
            require_same(keys, replace(found.connection, signature=wrong))


def test_malformed_pairs_are_refused() -> None:
    first, second = (
        LocalKey(Seed.generate(Specifier.ANY).derive(Algorithm.ED25519, "k")).public for _ in "ab"
    )
    assert signature_keys(key_data(first, mode="direct")) == (first,)
    assert signature_keys(key_data(first, mode="dual", beside=second)) == (first, second)
    for data in (
        key_data(first, mode="dual"),
        key_data(first, mode="dual", beside=first),
        key_data(first, mode="direct", beside=second),
        key_data(first, beside=second),
        None,
    ):
        with pytest.raises(FormatError):
            signature_keys(data)
