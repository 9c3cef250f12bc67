"""Nobody signs an activation: a device takes the one alone that gives the keys of its signed connection."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from meshhw.algorithms import Algorithm, Suite
from meshhw.dare.envelope import Envelope
from meshhw.dare.local import LocalKey
from meshhw.dare.read import open_envelope
from meshhw.dare.signing import Signer
from meshhw.errors import IntegrityError, MeshError, SignatureInvalid
from meshhw.managers.account.authority import authority
from meshhw.managers.account.membership import memberships
from meshhw.managers.openers import Keys
from meshhw.schema.activation import ActivationAccount
from meshhw.schema.assertion import enclose, open_bound
from meshhw.schema.codec import decode
from meshhw.schema.core import Enveloped
from meshhw.schema.message import RespondConnection
from meshhw.udf import Seed, Specifier
from tests.account.people import ALICE, OPTIONS, Admin, Phone


class Link:
    """Alice's machine and a device of hers; what passes between them is opened, and put together anew."""

    def __init__(self, path: Path, suite: Suite) -> None:
        self.admin = Admin(path / "admin", suite)
        self.phone = Phone(path / "phone", suite)
        self.base = self.phone.device.key("encryption").public_key

    def answer(self) -> RespondConnection:
        octets = self.admin.answer(self.phone.ask(), "device")
        with Keys(self.phone.host.home, OPTIONS) as keys:
            return decode(open_envelope(Envelope.parse(octets), keys).payload, RespondConnection)

    def activation(self, answer: RespondConnection) -> ActivationAccount:
        with Keys(self.phone.host.home, OPTIONS) as keys:
            return open_bound(envelope_in(answer), ActivationAccount, [], keys)

    def sealed(self, activation: ActivationAccount, *signers: Signer) -> Envelope:
        """As anybody can make one for the device."""
        return enclose(activation, signers, self.base, self.phone.device.udf)

    def complete(self, answer: RespondConnection, activation: Envelope) -> None:
        """Complete the answer with this activation in it, everything else as the administrator has signed
        it."""
        entry = replace(answer.cataloged_device, enveloped_activation_account=Enveloped(activation.array()))
        changed = replace(answer, cataloged_device=entry)
        with authority(self.admin.host, ALICE, OPTIONS).administrator() as admin:
            octets = enclose(changed, admin, self.base, answer.message_id or "").octets()
        self.phone.complete(octets)


def envelope_in(answer: RespondConnection) -> Envelope:
    assert answer.cataloged_device is not None
    found = answer.cataloged_device.enveloped_activation_account
    assert found is not None
    return Envelope.from_array(found.array)


@pytest.fixture(params=[Suite.S25519, Suite.P256])
def link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Link:
    """A device whose signature key is the token's own, and one that multiplies it."""
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    return Link(tmp_path, request.param)


def test_no_other_activation_is_taken_whoever_made_it(link: Link) -> None:
    earlier, answer = link.answer(), link.answer()
    assert envelope_in(answer).header.signers == ()
    right = link.activation(answer)
    other = Seed.generate(Specifier.ACTIVATION_ACCOUNT).text
    stranger = LocalKey(Seed.generate(Specifier.ANY).derive(Algorithm.ED25519, "k"))
    wrong: list[tuple[Envelope, type[MeshError], str]] = [
        (link.sealed(replace(right, activation_key=other)), IntegrityError, "base and activation give"),
        (envelope_in(earlier), IntegrityError, "base and activation give"),
        (link.sealed(replace(right, account_udf=link.phone.device.udf)), IntegrityError, "another account"),
        (link.sealed(replace(right, activation_key=None)), IntegrityError, "another account"),
        (link.sealed(right, stranger), SignatureInvalid, "may sign it"),
    ]
    for envelope, error, why in wrong:
        with pytest.raises(error, match=why):
            link.complete(answer, envelope)
        assert memberships(link.phone.host) == []
    link.complete(answer, link.sealed(right))
    assert len(memberships(link.phone.host)) == 1


def test_one_that_an_administrator_has_signed_is_taken_too(link: Link) -> None:
    answer = link.answer()
    with authority(link.admin.host, ALICE, OPTIONS).administrator() as admin:
        signed = link.sealed(link.activation(answer), admin)
    link.complete(answer, signed)
    [found] = memberships(link.phone.host)
    assert found.activation(OPTIONS).text == link.activation(answer).activation_key
