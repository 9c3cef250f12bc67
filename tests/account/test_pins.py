"""The PIN ceremony: a PIN connects one device once, also when the administrator is killed meanwhile."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from meshhw.algorithms import Algorithm, Suite
from meshhw.dare.envelope import Envelope
from meshhw.dare.local import LocalKey
from meshhw.dare.spool import MessageState
from meshhw.errors import (
    Expired,
    IntegrityError,
    InvalidName,
    KeyNotFound,
    Replayed,
    UsageError,
    WitnessMismatch,
)
from meshhw.managers.account.authority import authority
from meshhw.managers.account.pins import PinSpool, lifetime_of, pin_spool, pins_of, standing_of
from meshhw.managers.account.request import ACTION, Request, make_request, read_request
from meshhw.schema.message import RequestConnection
from meshhw.udf import UDF, Seed, Specifier
from meshhw.udf.locator import strong_name
from meshhw.udf.message import SaltedPin, new_pin
from tests.account.people import ALICE, OPTIONS, Admin, Phone

VECTOR = json.loads((Path(__file__).parents[1] / "vectors/schema_messages.json").read_text())["pin"]


@pytest.fixture
def admin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Admin:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    return Admin(tmp_path / "admin", Suite.S25519)


@pytest.fixture
def phone(tmp_path: Path, admin: Admin) -> Phone:
    return Phone(tmp_path / "phone", Suite.S25519)


@contextmanager
def pins(admin: Admin) -> Iterator[PinSpool]:
    found = authority(admin.host, ALICE, OPTIONS)
    with pins_of(found, found.held(common=False)) as spool:
        yield spool


def issued(admin: Admin, *roles: str, lifetime: timedelta = timedelta(hours=1)) -> UDF:
    with pins(admin) as spool:
        return spool.issue(roles or ("web",), lifetime)[0]


def asking(phone: Phone, pin: UDF, address: str = ALICE) -> Envelope:
    return make_request(phone.host, phone.device, address, OPTIONS, pin)


def accepted(admin: Admin, request: Envelope) -> bytes:
    return admin.connector.connect(read_request(request.octets())).octets()


def states(admin: Admin) -> list[str]:
    with pins(admin) as spool:
        return [standing_of(known) for known in spool.all()]


def test_a_pin_connects_a_device_with_its_roles_and_nobody_compares(admin: Admin, phone: Phone) -> None:
    pin = issued(admin, "web", "device")
    request = asking(phone, pin)
    found = phone.complete(accepted(admin, request))
    assert found.connection.roles == ("web", "device")
    assert states(admin) == ["used"]


def test_what_is_kept_and_sent_has_the_published_form(admin: Admin, phone: Phone) -> None:
    pin = UDF.parse(VECTOR["pin"])
    salted = SaltedPin.of(pin, ACTION)
    assert (salted.name, salted.pin_id(ALICE)) == (VECTOR["salted_pin"], VECTOR["pin_id"])
    witness = salted.witness(
        VECTOR["account"],
        urlsafe_b64decode(VECTOR["client_nonce"] + "=="),
        urlsafe_b64decode(VECTOR["payload_digest"] + "=="),
    )
    assert witness == urlsafe_b64decode(VECTOR["pin_witness"] + "==")
    message = read_request(asking(phone, pin).octets()).message
    assert message.pin_id == VECTOR["pin_id"]
    with pins(admin) as spool:
        fresh, kept = spool.issue(("web",))
    assert (kept.account, kept.action, kept.automatic, kept.roles) == (ALICE, "Device", True, ("web",))
    assert len(fresh.octets) * 8 == 120
    assert kept.salted_pin == SaltedPin.of(fresh, ACTION).name
    assert kept.message_id == SaltedPin.of(fresh, ACTION).pin_id(ALICE)


def test_the_pin_is_nowhere_on_disk_and_in_no_request(admin: Admin, phone: Phone) -> None:
    pin = issued(admin)
    request = asking(phone, pin)
    accepted(admin, request)
    salted = SaltedPin.of(pin, ACTION).udf
    texts = [request.octets()]
    for home in (admin.host.home, phone.host.home):
        texts += [path.read_bytes() for path in home.rglob("*") if path.is_file()]
    for secret in (pin, salted):
        letters = secret.text.replace("-", "").encode()
        assert not any(secret.data in text or letters in text.replace(b"-", b"") for text in texts)


def test_a_pin_is_good_once(tmp_path: Path, admin: Admin, phone: Phone) -> None:
    pin = issued(admin)
    second = Phone(tmp_path / "second", Suite.S25519)
    first, late = asking(phone, pin), asking(second, pin)
    accepted(admin, first)
    with pytest.raises(Replayed, match="used already"):
        accepted(admin, late)
    with pytest.raises(Replayed, match="answered already"):
        accepted(admin, first)


def test_a_pin_that_was_taken_back_or_has_expired_is_refused(admin: Admin, phone: Phone) -> None:
    pin = issued(admin)
    with pins(admin) as spool:
        [known] = spool.all()
        spool.close(known.pin_id)
        spool.close(known.pin_id)
        with pytest.raises(KeyNotFound):
            spool.close("NDTL-GUGD-IBJR-4ENF-M4E3-7YJY-OCLR")
    with pytest.raises(Replayed, match="taken back"):
        accepted(admin, asking(phone, pin))
    short = issued(admin, lifetime=timedelta(microseconds=1))
    with pytest.raises(Expired, match="the PIN has expired"):
        accepted(admin, asking(phone, short))
    assert states(admin) == ["expired", "closed"]


def test_a_wrong_pin_and_a_stolen_witness_are_refused(tmp_path: Path, admin: Admin, phone: Phone) -> None:
    pin = issued(admin)
    with pytest.raises(WitnessMismatch, match="none of this account"):
        accepted(admin, asking(phone, new_pin()))
    honest = read_request(asking(phone, pin).octets())
    other = Phone(tmp_path / "other", Suite.S25519)
    theirs = read_request(other.ask().octets())
    stolen = replace(theirs.message, pin_id=honest.message.pin_id, pin_witness=honest.message.pin_witness)
    nonced = replace(stolen, client_nonce=honest.message.client_nonce)
    cut = replace(honest.message, pin_witness=(honest.message.pin_witness or b"")[:-1])
    none = replace(honest.message, pin_witness=None)
    for message, request in ((stolen, theirs), (nonced, theirs), (cut, honest), (none, honest)):
        with pytest.raises(WitnessMismatch, match="does not prove"):
            admin.connector.connect(with_message(request, message))
    assert states(admin) == ["open"]


def with_message(request: Request, message: RequestConnection) -> Request:
    return Request(message, request.device, request.udf, request.envelope, request.profile)


def test_a_pin_of_another_account_is_worth_nothing(tmp_path: Path, admin: Admin, phone: Phone) -> None:
    elsewhere = Admin(tmp_path / "elsewhere", Suite.S25519)  # another account of the same address
    pin = issued(elsewhere)
    with pytest.raises(WitnessMismatch, match="none of this account"):
        accepted(admin, asking(phone, pin))
    request = asking(phone, pin, strong_name(ALICE, admin.account.udf))
    with pytest.raises(IntegrityError, match="was asked"):
        phone.complete(accepted(elsewhere, request))


def test_without_a_pin_somebody_has_to_say_what_the_device_shall_be(admin: Admin, phone: Phone) -> None:
    with pytest.raises(UsageError, match="knows no PIN"):
        accepted(admin, phone.ask())
    with pytest.raises(InvalidName, match="not a PIN"):
        asking(phone, UDF.parse("NDTL-GUGD-IBJR-4ENF-M4E3-7YJY-OCLR"))


@pytest.mark.parametrize("text", ["", "h", "1", "1w", "-1h", "1.5h", "9999999h", "¹h"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        lifetime_of(text)


def test_times_and_their_limits(admin: Admin) -> None:
    assert [lifetime_of(text) for text in ("30m", "24h", "7d")] == [
        timedelta(minutes=30),
        timedelta(hours=24),
        timedelta(days=7),
    ]
    with pins(admin) as spool:
        for lifetime in (timedelta(), timedelta(days=32)):
            with pytest.raises(UsageError):
                spool.issue(("web",), lifetime)
        with pytest.raises(UsageError):
            spool.issue(("king",))
    assert states(admin) == []


def test_older_keys_of_the_spool_still_open_it(tmp_path: Path) -> None:
    old, new = (LocalKey(Seed.generate(Specifier.ANY).derive(Algorithm.X25519, "k")) for _ in range(2))
    tmp_path.chmod(0o700)
    for ring in ([old], [new, old]):
        with pin_spool(tmp_path, ring, ALICE) as spool:
            spool.issue(("web",))
    with pin_spool(tmp_path, [new, old], ALICE) as spool:
        assert [known.state for known in spool.all()] == [MessageState.OPEN] * 2
