"""Answers that are wrong, late, twice or half; and a responder that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from meshhw import files
from meshhw.algorithms import Algorithm, PublicKey
from meshhw.curves.named import curve_named
from meshhw.dare.prepare import Outline
from meshhw.dare.write import seal
from meshhw.errors import (
    IntegrityError,
    KeyNotFound,
    PinIncorrect,
    ShareError,
    SignatureInvalid,
    StateError,
)
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.managers.host import Host
from meshhw.managers.threshold import descriptor
from meshhw.managers.threshold.signed import open_object, sign_object
from meshhw.managers.threshold.store import Store
from meshhw.managers.threshold.tokens import OpenTokens
from meshhw.managers.threshold.use import find_holders
from meshhw.schema.codec import encode
from meshhw.schema.threshold import ThresholdAnswer, ThresholdRequest, ThresholdResponse
from tests.threshold_manager.conftest import PASSPHRASE, NewVault
from tests.threshold_manager.machines import PAYLOAD, Machines, hide, show, two_machines


@pytest.fixture
def machines(host: Host, options: OpenOptions, new_vault: NewVault, tmp_path: Path) -> Machines:
    return two_machines(host, options, new_vault, tmp_path)


def asked(machines: Machines, octets: bytes) -> ThresholdRequest:
    return open_object(octets, ThresholdRequest)[0]


def response(
    machines: Machines,
    octets: bytes,
    answers: tuple[ThresholdAnswer, ...],
    generation: int = 1,
    identifier: bytes | None = None,
) -> bytes:
    """An answer to a request as a machine would send it, with these contents."""
    told = asked(machines, octets)
    value = ThresholdResponse(id=identifier or told.id, generation=generation, answers=answers)
    reader = PublicKey(Algorithm.X25519, told.response_key)
    with OpenTokens(machines.options) as tokens, descriptor.device_signer(Host(machines.away), tokens) as own:
        return sign_object(value, own, readers=[reader]).octets()


def wrong(machines: Machines, index: int, other: int) -> ThresholdAnswer:
    """The public points of two shares: well formed, and no answer to what was asked."""
    key = descriptor.load(Store(machines.home).at("team"), Host(machines.home)).key("decryption")
    points = [descriptor.share_point(key, i).x_octets() for i in (index, other)]
    return ThresholdAnswer(index=index, epk=points[0], verification=points[1])


def test_two_machines_answer_one_request(machines: Machines) -> None:
    octets = machines.request()
    hide(machines.vaults[1])
    hide(machines.vaults[2])
    first = machines.respond(octets)
    other = replace(machines, away=machines.folder / "third")
    files.private_directory(other.away)
    files.replace(other.away / "host.json", (machines.away / "host.json").read_bytes())
    hide(machines.vaults[0])
    show(machines.vaults[1])
    second = other.respond(octets)
    hide(machines.vaults[1])
    assert machines.decrypt(first, second) == PAYLOAD


def test_a_holder_that_answers_wrongly_is_named_and_left_out(machines: Machines) -> None:
    octets = machines.request()
    with pytest.raises(ShareError, match="holder 1 ") as caught:
        machines.decrypt(response(machines, octets, (wrong(machines, 1, 2),)))
    assert caught.value.holder == "1"
    good = right(machines, octets, 2)
    for vault in machines.vaults[:2]:
        hide(vault)
    assert machines.decrypt(response(machines, octets, (wrong(machines, 1, 2), good))) == PAYLOAD


def right(machines: Machines, octets: bytes, index: int) -> ThresholdAnswer:
    told = asked(machines, octets)
    key = descriptor.load(Store(machines.home).at("team"), Host(machines.home)).key("decryption")
    curve = curve_named(key.algorithm)
    with OpenTokens(machines.options) as tokens:
        (holder,), _ = find_holders(key, [key.holder(index)], tokens)
        points = [holder.partial(curve.decode(point)).point for point in (told.epk, told.verification)]
    return ThresholdAnswer(index=index, epk=points[0].x_octets(), verification=points[1].x_octets())


def test_an_answer_that_was_changed_or_is_of_another_generation(machines: Machines) -> None:
    octets = machines.request()
    good = machines.respond(octets)
    for place in range(300, len(good), 97):
        changed = bytearray(good)
        changed[place] ^= 1
        with pytest.raises((IntegrityError, KeyNotFound)):
            machines.decrypt(bytes(changed))
    with pytest.raises(IntegrityError, match="of another generation"):
        machines.decrypt(response(machines, octets, (wrong(machines, 1, 2),), generation=2))
    other = asked(machines, machines.request()).id
    with pytest.raises(IntegrityError, match="to another request"):
        machines.decrypt(response(machines, octets, (wrong(machines, 1, 2),), identifier=other))
    assert machines.decrypt(good) == PAYLOAD


def test_an_answer_that_comes_too_late(machines: Machines) -> None:
    good = machines.respond(machines.request())
    (pending,) = Store(machines.home).at("team").path.glob("request-*")
    members = msgspec.json.decode(pending.read_bytes())
    pending.write_bytes(msgspec.json.encode(members | {"expires": "2020-01-01T00:00:00Z"}))
    with pytest.raises(StateError, match="has expired"):
        machines.decrypt(good)
    assert not pending.exists()


def test_a_request_whose_signature_does_not_cover_its_header(machines: Machines) -> None:
    value = asked(machines, machines.request())
    with OpenTokens(machines.options) as tokens, descriptor.device_signer(Host(machines.home), tokens) as own:
        octets = seal(encode(value), Outline(signers=[own], compat=True)).octets()
    with pytest.raises(SignatureInvalid, match="with its header"):
        machines.respond(octets)


def test_no_more_holders_are_asked_than_could_be_needed(machines: Machines) -> None:
    person = Scripted({PinKind.VAULT: PASSPHRASE})
    machines.respond(machines.request(), OpenOptions(interaction=person))
    holders = {Path(asked.token.get("vault") or "").name for asked in person.asked} - {"away-device"}
    assert holders == {"one", "two"}


def test_an_id_is_used_up_when_the_holder_fails(machines: Machines) -> None:
    octets = machines.request()
    machines.respond(machines.request())  # the descriptor is trusted
    with pytest.raises(PinIncorrect):
        machines.respond(octets, OpenOptions(interaction=Scripted({PinKind.VAULT: "wrong"})))
    with pytest.raises(StateError, match="answered already"):
        machines.respond(octets)


def test_a_killed_responder_does_not_answer_again(machines: Machines) -> None:
    octets = machines.request()
    file, out = machines.folder / "request", machines.folder / "answer"
    file.write_bytes(octets)
    silent, held_open = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "meshhw", "threshold", "respond", str(file), "--out", str(out), "--yes"],
        env=os.environ | {"MESHHW_HOME": str(machines.away), "MESHHW_PIN_SOURCE": f"fd:{silent}"},
        pass_fds=[silent],
        stderr=subprocess.DEVNULL,
    )
    answered = machines.away / "threshold" / "answered.json"
    deadline = time.monotonic() + 60
    while not answered.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    os.close(silent)
    os.close(held_open)
    assert not out.exists()
    with pytest.raises(StateError, match="answered already"):
        machines.respond(octets)
