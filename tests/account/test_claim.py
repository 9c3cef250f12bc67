"""Preconfigured devices: published under their code's key, claimed by who knows it, and by nobody else."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from meshhw.algorithms import Suite
from meshhw.dare.envelope import Envelope
from meshhw.errors import (
    IntegrityError,
    InvalidName,
    KeyNotFound,
    MeshError,
    Replayed,
    UsageError,
    WitnessMismatch,
)
from meshhw.managers.account.authority import authority
from meshhw.managers.account.claiming import claim, take_claim
from meshhw.managers.account.devices import opened_devices
from meshhw.managers.account.membership import membership
from meshhw.managers.account.preconfigured import (
    answer_file,
    claim_file,
    preconfigure,
    publication,
    published,
)
from meshhw.managers.account.request import pending_requests
from meshhw.managers.account.rights import rights_of
from meshhw.schema.assertion import sign_assertion
from meshhw.schema.codec import decode
from meshhw.schema.message import MessageClaim
from meshhw.udf.locator import connection_uri, parse_connection_uri
from meshhw.udf.message import new_pin
from meshhw.udf.secret import symmetric_key, symmetric_key_id
from tests.account.killing import killed_everywhere, some_or_all
from tests.account.people import ALICE, OPTIONS, Admin, Phone

MAKER = "maker@example.net"


@pytest.fixture
def admin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Admin:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    return Admin(tmp_path / "admin", Suite.S25519)


@pytest.fixture
def sensor(tmp_path: Path, admin: Admin) -> Phone:
    return Phone(tmp_path / "sensor", Suite.S25519)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    path = tmp_path / "shared"
    path.mkdir()
    return path


def prepared(sensor: Phone, shared: Path) -> str:
    return preconfigure(sensor.host, sensor.device, MAKER, shared, OPTIONS)


def claimed(admin: Admin, uri: str, shared: Path) -> None:
    found = authority(admin.host, ALICE, OPTIONS)
    claim(found, published(uri, shared), uri, rights_of(["device"]), shared)


def test_who_scans_the_code_claims_the_device(admin: Admin, sensor: Phone, shared: Path) -> None:
    uri = prepared(sensor, shared)
    claimed(admin, uri, shared)
    found = take_claim(sensor.host, shared, OPTIONS)
    assert (found.address, found.udf, found.connection.roles) == (ALICE, admin.account.udf, ("device",))
    with pytest.raises(KeyNotFound, match="no device of this machine waits"):
        take_claim(sensor.host, shared, OPTIONS)
    with pytest.raises(Replayed, match="answered already"):
        claimed(admin, uri, shared)


def test_the_code_is_nowhere_in_clear_and_the_publication_hides_the_device(
    admin: Admin, sensor: Phone, shared: Path
) -> None:
    uri = prepared(sensor, shared)
    claimed(admin, uri, shared)
    _, key = parse_connection_uri(uri)
    texts = [
        path.read_bytes() for home in (sensor.host.home, shared) for path in home.rglob("*") if path.is_file()
    ]
    assert not any(key.data in text or key.text.encode() in text for text in texts)
    assert sensor.device.udf.encode() not in publication(shared, symmetric_key_id(key)).read_bytes()


def test_another_code_opens_nothing(sensor: Phone, shared: Path) -> None:
    uri = prepared(sensor, shared)
    _, key = parse_connection_uri(uri)
    other = symmetric_key()
    publication(shared, symmetric_key_id(key)).rename(publication(shared, symmetric_key_id(other)))
    with pytest.raises(KeyNotFound):
        published(connection_uri(MAKER, other), shared)
    with pytest.raises(KeyNotFound, match="there is no "):
        published(uri, shared)
    with pytest.raises(UsageError, match="holds a PIN"):
        published(connection_uri(MAKER, new_pin()), shared)
    with pytest.raises(InvalidName):
        published("https://example.net", shared)


def test_a_claim_of_somebody_who_does_not_know_the_code_is_refused(
    tmp_path: Path, admin: Admin, sensor: Phone, shared: Path
) -> None:
    """An eavesdropper on the directory has the claim, and an account of the same address."""
    uri = prepared(sensor, shared)
    with pytest.raises(KeyNotFound, match="nobody has claimed"):
        take_claim(sensor.host, shared, OPTIONS)
    claimed(admin, uri, shared)
    name = published(uri, shared).publication_id
    path, answer = claim_file(shared, name), answer_file(shared, name)
    honest, theirs = path.read_bytes(), answer.read_bytes()

    thief = Admin(tmp_path / "thief", Suite.S25519)
    claimed(thief, uri, shared)  # with the code, to have an answer that would fit
    stolen_claim, stolen_answer = path.read_bytes(), answer.read_bytes()
    value = decode(Envelope.parse(honest).body, MessageClaim)
    own = decode(Envelope.parse(stolen_claim).body, MessageClaim)
    for forged in (
        replace(own, device_authenticate=value.device_authenticate),
        replace(own, device_authenticate=None),
        replace(value, sender=own.sender),
        replace(value, publication_id="MAAA"),
    ):
        path.write_bytes(as_claim(thief, forged))
        with pytest.raises(WitnessMismatch):
            take_claim(sensor.host, shared, OPTIONS)
    path.write_bytes(as_claim(thief, replace(value, message_id=own.message_id)))
    answer.write_bytes(stolen_answer)
    with pytest.raises(IntegrityError, match="was asked"):
        take_claim(sensor.host, shared, OPTIONS)
    path.write_bytes(honest)
    answer.write_bytes(theirs)
    assert take_claim(sensor.host, shared, OPTIONS).udf == admin.account.udf


def as_claim(thief: Admin, value: MessageClaim) -> bytes:
    with authority(thief.host, ALICE, OPTIONS).administrator() as signer:
        return sign_assertion(value, signer, "N").octets()


def test_a_device_that_is_killed_takes_the_claim_again(admin: Admin, sensor: Phone, shared: Path) -> None:
    claimed(admin, prepared(sensor, shared), shared)
    places = sensor.host.home / "preconfigured"
    interrupted, done = 0, 0
    for killed in killed_everywhere([sensor.host.home], lambda: take_claim(sensor.host, shared, OPTIONS)):
        interrupted += killed
        if any(places.glob("*.sealed")):
            assert killed
            take_claim(sensor.host, shared, OPTIONS)
        else:
            done += 1
        assert membership(sensor.host, ALICE).udf == admin.account.udf
        assert membership(sensor.host, ALICE).connection.roles == ("device",)
        assert list(places.iterdir()) == []
        assert pending_requests(sensor.host.home) == []
    assert interrupted > 4
    assert done == 1  # the one that was not killed: what waits is forgotten last


@some_or_all(3)
def test_a_claimant_that_is_killed_claims_again(
    admin: Admin, sensor: Phone, shared: Path, every: int
) -> None:
    uri = prepared(sensor, shared)
    homes = [admin.host.home, sensor.host.home, shared]
    interrupted = 0
    for killed in killed_everywhere(homes, lambda: claimed(admin, uri, shared), every=every):
        interrupted += killed
        if killed:
            with suppress(Replayed):  # it was claimed: both files are there
                claimed(admin, uri, shared)
        assert take_claim(sensor.host, shared, OPTIONS).udf == admin.account.udf
        assert membership(sensor.host, ALICE).connection.roles == ("device",)
        with opened_devices(admin.host, OPTIONS, account=ALICE) as devices:
            assert [item.device_udf for item in devices.devices()].count(sensor.device.udf) == 1
    assert interrupted > 4


def test_an_answer_that_was_changed_or_cut_is_refused_and_the_device_still_waits(
    admin: Admin, sensor: Phone, shared: Path
) -> None:
    uri = prepared(sensor, shared)
    claimed(admin, uri, shared)
    path = answer_file(shared, published(uri, shared).publication_id)
    right = path.read_bytes()
    middle = len(right) // 2
    for changed in (
        right[:middle] + bytes([right[middle] ^ 1]) + right[middle + 1 :],
        right[:40] + bytes([right[40] ^ 1]) + right[41:],
        right[:middle],
        b"",
    ):
        path.write_bytes(changed)
        with pytest.raises(MeshError):
            take_claim(sensor.host, shared, OPTIONS)
        assert not (sensor.host.home / "accounts").exists()
    path.write_bytes(right)
    assert take_claim(sensor.host, shared, OPTIONS).udf == admin.account.udf
