"""Devices that sign as was published: base and activation added while the base key is open (`sealed`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshhw.algorithms import Suite
from meshhw.errors import NotSupported, SignatureInvalid, UsageError
from meshhw.keystore.api import SignsComposed
from meshhw.managers.account.activation import Use, composed_public, scalar
from meshhw.managers.account.authority import authority
from meshhw.managers.account.membership import Membership
from meshhw.managers.device import DeviceManager
from meshhw.managers.host import Host
from meshhw.managers.keys import opened
from meshhw.managers.profilemaking import ProfileRequest
from meshhw.schema.assertion import open_assertion, sign_assertion
from meshhw.schema.keydata import SEALED, public_key
from meshhw.schema.message import RequestConnection
from meshhw.udf import Seed, Specifier
from tests.account.people import ALICE, OPTIONS, Admin, Phone
from tests.account.vaults import cheap_vault

NOTE = RequestConnection(message_id="N")
EDWARDS = [Suite.S448, Suite.S25519]


class SealedPhone(Phone):
    """A phone that signs as was published; with a seed, of derived keys."""

    def __init__(self, home: Path, suite: Suite, seed: Seed | None = None) -> None:
        self.host = Host(home)
        with DeviceManager(self.host, OPTIONS) as manager:
            wanted = ProfileRequest(tokens=cheap_vault(home, OPTIONS), suite=suite, seed=seed)
            self.device = manager.create(wanted, sealed=True)


@pytest.fixture
def admin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Admin:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    return Admin(tmp_path / "admin", Suite.S25519)


@pytest.fixture(params=EDWARDS)
def member(tmp_path: Path, admin: Admin, request: pytest.FixtureRequest) -> Membership:
    phone = SealedPhone(tmp_path / "phone", request.param)
    return phone.complete(admin.answer(phone.ask(), "web"))


def test_the_connected_key_is_base_plus_activation_and_signs(member: Membership) -> None:
    base = member.device.key("signature").public_key
    seed = member.activation(OPTIONS)
    expected = composed_public(base, scalar(seed, Use.SIGNATURE, base.algorithm))
    connected = member.connection.signature
    assert connected is not None
    assert (connected.mode, public_key(connected)) == (SEALED, expected)
    with member.signer(OPTIONS) as signer:
        assert signer.public == expected
        signed = sign_assertion(NOTE, signer, "N")
    assert open_assertion(signed, RequestConnection, [expected]).value == NOTE
    with pytest.raises(SignatureInvalid):
        open_assertion(signed, RequestConnection, [base])


def test_a_nonce_is_never_the_messages_alone(member: Membership) -> None:
    """Two signatures of one message have two nonces, and neither is the token's own key's."""
    with (
        member.signer(OPTIONS) as signer,
        opened(member.device.key("signature").uri, member.host.home, OPTIONS) as base,
    ):
        assert isinstance(base.key, SignsComposed)
        halves = {signer.sign(b"m")[:32], signer.sign(b"m")[:32], base.key.sign_composed(b"m", 0)[:32]}
        assert len(halves) == 3
        assert "activation" not in repr(signer)


@pytest.mark.parametrize("suite", EDWARDS)
def test_a_device_of_a_seed_and_an_administrator_sign_so_too(
    tmp_path: Path, admin: Admin, suite: Suite
) -> None:
    phone = SealedPhone(tmp_path / "phone", suite, Seed.generate(Specifier.PROFILE_DEVICE))
    phone.complete(admin.answer(phone.ask(), "admin", "web"))
    desk = authority(phone.host, ALICE, OPTIONS)
    with desk.administrator() as signer:
        signed = sign_assertion(NOTE, signer, "N")
    assert open_assertion(signed, RequestConnection, [desk.administrator_key]).value == NOTE


def test_what_works_inside_its_token_is_not_sealed(tmp_path: Path, admin: Admin) -> None:
    with pytest.raises(NotSupported, match="P-256 key works inside"):
        SealedPhone(tmp_path / "phone", Suite.P256)
    home = Host(tmp_path / "both")
    wanted = ProfileRequest(tokens=cheap_vault(home.home, OPTIONS), suite=Suite.S25519)
    with DeviceManager(home, OPTIONS) as manager, pytest.raises(UsageError):
        manager.create(wanted, dual=True, sealed=True)
    assert home.profiles() == ()
