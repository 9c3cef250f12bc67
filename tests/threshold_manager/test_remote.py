"""Holders on another machine: requests and answers that travel as files."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from meshhw.algorithms import PublicKey, Suite
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import RecipientKey
from meshhw.dare.prepare import Outline
from meshhw.dare.write import seal
from meshhw.errors import (
    Cancelled,
    FormatError,
    IntegrityError,
    InvalidPublicKey,
    KeyNotFound,
    MeshError,
    SignatureInvalid,
    StateError,
    TokenNotFound,
)
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.managers.host import Host
from meshhw.managers.threshold import descriptor
from meshhw.managers.threshold.asking import request
from meshhw.managers.threshold.provision import Request, provision
from meshhw.managers.threshold.signed import open_object
from meshhw.managers.threshold.store import Store
from meshhw.managers.threshold.tokens import OpenTokens
from meshhw.schema.threshold import ThresholdRequest
from tests.threshold_manager.conftest import PASSPHRASE, NewVault
from tests.threshold_manager.machines import PAYLOAD, Machines, hide, show, two_machines
from tests.uses import Log


@pytest.fixture
def machines(host: Host, options: OpenOptions, new_vault: NewVault, tmp_path: Path) -> Machines:
    return two_machines(host, options, new_vault, tmp_path)


def test_one_answer_and_one_local_holder_decrypt(machines: Machines) -> None:
    asked = machines.request()
    hide(machines.vaults[0])
    hide(machines.vaults[1])
    answer = machines.respond(asked)
    show(machines.vaults[0])
    hide(machines.vaults[2])
    assert machines.decrypt(answer) == PAYLOAD
    with pytest.raises(KeyNotFound, match="answers no request"):
        machines.decrypt(answer)  # it was used


def test_answers_alone_decrypt(machines: Machines) -> None:
    asked = machines.request()
    hide(machines.vaults[0])
    answer = machines.respond(asked)
    hide(machines.vaults[1])
    hide(machines.vaults[2])
    assert machines.decrypt(answer) == PAYLOAD


def test_the_key_that_opens_an_answer_stands_in_the_log(machines: Machines) -> None:
    answer = machines.respond(machines.request())
    log = Log()
    machines.options = replace(machines.options, recorder=log)
    assert machines.decrypt(answer) == PAYLOAD
    assert [told for _, *told in log.in_memory] == [["agree", "ok"]]


def test_the_holder_sees_what_is_asked_and_may_decline(machines: Machines) -> None:
    asked = machines.request()
    person = Scripted({PinKind.VAULT: PASSPHRASE}, confirms=False)
    with pytest.raises(Cancelled, match="not trusted"):
        machines.respond(asked, OpenOptions(person))
    assert "signed by device" in person.questions[0]
    machines.respond(asked)
    assert isinstance(machines.options.interaction, Scripted)
    assert "asks holder 1, 2, 3 of team to help decrypt" in machines.options.interaction.questions[-1]
    with pytest.raises(Cancelled, match="not answered"):
        machines.respond(machines.request(), OpenOptions(person))


def test_a_request_is_answered_once(machines: Machines) -> None:
    asked = machines.request()
    machines.respond(asked)
    with pytest.raises(StateError, match="answered already"):
        machines.respond(asked)


def test_no_holder_here(machines: Machines) -> None:
    asked = machines.request()
    for vault in machines.vaults:
        hide(vault)
    with pytest.raises(TokenNotFound, match="no token of a holder"):
        machines.respond(asked)


def opened(octets: bytes) -> ThresholdRequest:
    return open_object(octets, ThresholdRequest)[0]


def test_requests_that_are_refused(machines: Machines) -> None:
    asked = opened(machines.request())
    replace = msgspec.structs.replace
    other = seal(b"other", Outline(readers=[RecipientKey(_group(machines))]))
    wrong: list[tuple[ThresholdRequest, type[MeshError]]] = [
        (replace(asked, generation=2), IntegrityError),
        (replace(asked, purpose="sign"), FormatError),
        (replace(asked, expires=asked.created.replace(year=2000)), StateError),
        (replace(asked, epk=opened(_requested(machines, other)).epk), IntegrityError),
        (replace(asked, identifier=bytes(16)), IntegrityError),
    ]
    for bad, error in wrong:
        with pytest.raises(error):
            machines.respond(machines.signed(bad, machines.home))
    with pytest.raises(SignatureInvalid, match="not signed by a device that the descriptor lists"):
        machines.respond(machines.signed(asked, machines.away))


def _requested(machines: Machines, envelope: Envelope) -> bytes:
    return request(io.BytesIO(envelope.octets()), machines.home, machines.options)


def _group(machines: Machines) -> PublicKey:
    loaded = descriptor.load(Store(machines.home).at("team"), Host(machines.home))
    return descriptor.group_public(loaded.key("decryption"))


def test_a_changed_answer_is_refused_and_the_request_stays_open(machines: Machines) -> None:
    answer = machines.respond(machines.request())
    with pytest.raises(MeshError):
        machines.decrypt(answer[:-40] + bytes(40))
    assert machines.decrypt(answer) == PAYLOAD


def test_another_key_under_a_known_name_is_refused(machines: Machines) -> None:
    """A person who trusts everybody must still not be led to answer for another key of that name."""
    away = Host(machines.away)
    own = provision(
        Store(machines.away).at("team"),
        away,
        machines.options,
        Request(1, machines.vaults[:1], Suite.S25519, signs=False),
    )
    with pytest.raises(IntegrityError, match="another threshold key is called team here"):
        machines.respond(machines.request())
    assert descriptor.load(Store(machines.away).at("team"), away).value == own.value
    assert not (machines.away / "threshold" / "answered.json").exists()


@pytest.mark.parametrize("octets", [bytes(32), bytes([2]) + bytes(31), bytes(31)])
def test_a_verification_point_that_is_none_reaches_no_token(machines: Machines, octets: bytes) -> None:
    """Of small order, on the twist, or short: an answer about it would tell of the share."""
    machines.respond(machines.request())  # the descriptor is trusted
    bad = msgspec.structs.replace(opened(machines.request()), verification=octets)
    person = Scripted({PinKind.VAULT: PASSPHRASE})
    with pytest.raises(InvalidPublicKey):
        machines.respond(machines.signed(bad, machines.home), OpenOptions(person))
    assert not person.asked


def test_what_is_no_request_is_refused_by_what_it_is(machines: Machines) -> None:
    with pytest.raises(FormatError, match="this is no ThresholdRequest, which is not encrypted"):
        machines.respond(machines.envelope.octets())
    with pytest.raises(FormatError):
        machines.respond(Store(machines.home).at("team").descriptor())


def test_an_envelope_for_somebody_else(machines: Machines) -> None:
    plain = seal(PAYLOAD, Outline())
    with pytest.raises(KeyNotFound, match="for no threshold key"):
        _requested(machines, plain)


def test_an_older_descriptor_is_refused(machines: Machines) -> None:
    store, host = Store(machines.home).at("team"), Host(machines.home)
    old = store.descriptor()
    loaded = descriptor.load(store, host)
    newer = msgspec.structs.replace(loaded.value, version=2)
    with OpenTokens(machines.options) as tokens, descriptor.device_signer(host, tokens) as signer:
        descriptor.save(newer, signer, store)
        store.save_descriptor(old)
        with pytest.raises(IntegrityError, match="version 1, and 2 was seen"):
            descriptor.load(store, host)
        other = msgspec.structs.replace(newer, suite="448")
        with pytest.raises(IntegrityError, match="version 2, and 2 was seen"):
            descriptor.save(other, signer, store)
