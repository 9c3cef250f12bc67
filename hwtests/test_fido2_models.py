"""The FIDO2 driver on authenticators of other times and makers: used for what they have."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

pytest.importorskip("fido2", reason="python-fido2 is not installed")
pytest.importorskip("smartcard", reason="pyscard is not installed")

from meshhw_fido2.token import Fido2Token

from hwtests import fido2_lab
from hwtests.fido2_lab import DIGEST, PIN, PURPOSE, OpenToken, listed
from hwtests.piv_cards import shown
from meshhw.errors import MeshError, NotSupported, PinRequired, TokenNotFound, UsageError
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.presence import verify_presence
from meshhw.keystore.registry import driver
from meshhw.lab.ctap.card import MESSAGE as CTAP_MESSAGE
from meshhw.lab.ctap.card import CtapCard
from meshhw.lab.ctap.model import MODELS
from meshhw.lab.ctap.state import CAPACITY
from meshhw.lab.ctap.token import VirtualCtapToken
from meshhw.lab.fixtures_ctap import InsertCtapCard
from meshhw.lab.piv.faults import Kind

home, open_token = fido2_lab.home, fido2_lab.open_token  # pytest finds fixtures by the module's names

WHOLE = ["2.1", "2.0", "preview", "always", "strict"]
"""Models that seal and prove with a PIN."""


@pytest.mark.parametrize("model", WHOLE)
def test_with_a_pin_it_seals_and_proves(
    insert_ctap_card: InsertCtapCard, open_token: OpenToken, model: str
) -> None:
    virtual = insert_ctap_card(CtapCard(model=model))
    virtual.set_pin(PIN)
    script = Scripted({PinKind.USER: PIN})
    token = open_token(virtual, script)
    assert token.capabilities().seals
    assert token.unseal(token.seal(b"secret", PURPOSE), PURPOSE) == b"secret"
    key = token.enrol("present", discoverable=False)
    facts = verify_presence(key.public, DIGEST, key.prove(DIGEST))
    assert facts.verified
    assert len(script.asked) == 1
    assert key.uri in [one.uri for one in listed(token)]
    token.delete(key.uri)


@pytest.mark.parametrize("model", ["2.1", "2.0", "pinless"])
def test_without_a_pin_a_touch_is_enough(
    insert_ctap_card: InsertCtapCard, open_token: OpenToken, model: str
) -> None:
    token = open_token(insert_ctap_card(CtapCard(model=model)), Scripted({}))
    assert token.unseal(token.seal(b"secret", PURPOSE), PURPOSE) == b"secret"
    assert token.retries_left(PinKind.USER) is None


@pytest.mark.parametrize("model", ["2.1", "preview"])
def test_what_it_keeps_is_listed_and_deleted(
    insert_ctap_card: InsertCtapCard, open_token: OpenToken, home: object, model: str
) -> None:
    virtual = insert_ctap_card(CtapCard(model=model))
    virtual.set_pin(PIN)
    token = open_token(virtual)
    key = token.enrol("kept")
    for file in (home / "fido2").iterdir():  # type: ignore[operator]  # another machine remembers nothing
        file.unlink()
    (found,) = listed(token)
    assert found.uri == key.uri
    token.delete(found.uri)
    assert listed(token) == []


def test_one_that_can_have_no_pin_says_so(insert_ctap_card: InsertCtapCard, open_token: OpenToken) -> None:
    token = open_token(insert_ctap_card(CtapCard(model="pinless")))
    with pytest.raises(NotSupported, match="no PIN"):
        token.change_pin(PinKind.USER)


def test_one_without_hmac_secret_seals_nothing_and_asks_nobody(
    insert_ctap_card: InsertCtapCard, open_token: OpenToken
) -> None:
    virtual, script = insert_ctap_card(CtapCard(model="bare")), Scripted({})
    token = open_token(virtual, script)
    assert not token.capabilities().seals
    with pytest.raises(NotSupported, match="hmac-secret"):
        token.seal(b"secret", PURPOSE)
    assert (script.asked, script.touches) == ([], [])
    key = token.enrol("present", discoverable=False)
    assert not verify_presence(key.public, DIGEST, key.prove(DIGEST)).verified


def test_one_that_always_verifies_wants_a_pin_first(
    insert_ctap_card: InsertCtapCard, open_token: OpenToken
) -> None:
    token = open_token(insert_ctap_card(CtapCard(model="always")))
    with pytest.raises(PinRequired) as wanted:
        token.seal(b"secret", PURPOSE)
    assert "change-pin" in wanted.value.hint


def test_a_pin_that_is_good_for_nothing_here_is_told(
    insert_ctap_card: InsertCtapCard, open_token: OpenToken
) -> None:
    virtual = insert_ctap_card(CtapCard(model="sensor"))
    virtual.set_pin(PIN)
    with pytest.raises(NotSupported, match="PIN is not good") as refused:
        open_token(virtual).seal(b"secret", PURPOSE)
    assert "sensor" in refused.value.hint


def test_a_pin_that_must_be_changed_is_asked_for_nothing_else(
    insert_ctap_card: InsertCtapCard, open_token: OpenToken
) -> None:
    virtual = insert_ctap_card(CtapCard(model="expired"))
    virtual.set_pin(PIN)
    script = Scripted(lambda request: "changed-pin" if request.new else PIN)
    token = open_token(virtual, script)
    with pytest.raises(PinRequired, match="changed"):
        token.seal(b"secret", PURPOSE)
    assert script.asked == []
    token.change_pin(PinKind.USER)
    fresh = open_token(virtual, Scripted({PinKind.USER: "changed-pin"}))
    assert fresh.unseal(fresh.seal(b"secret", PURPOSE), PURPOSE) == b"secret"


def test_a_longer_pin_is_wanted_before_it_is_sent(
    insert_ctap_card: InsertCtapCard, open_token: OpenToken
) -> None:
    token = open_token(insert_ctap_card(CtapCard(model="strict")), Scripted({PinKind.USER: "1234567"}))
    with pytest.raises(UsageError, match="8 characters"):
        token.change_pin(PinKind.USER)


def test_a_card_that_knows_u2f_alone_is_not_listed(
    insert_ctap_card: InsertCtapCard, open_token: OpenToken
) -> None:
    virtual = insert_ctap_card()
    virtual.card.faults.plan(Kind.STATUS, 0x6D00, ins=CTAP_MESSAGE, times=1 << 30)
    assert driver("fido2").tokens() == []
    with pytest.raises(TokenNotFound):
        open_token(virtual)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_fails_by_public_errors_alone(
    insert_ctap_card: InsertCtapCard, open_token: OpenToken, model: str
) -> None:
    virtual = insert_ctap_card(CtapCard(model=model))
    token = open_token(virtual)
    for work in (
        lambda: token.change_pin(PinKind.USER),
        lambda: token.seal(b"secret", PURPOSE),
        lambda: token.enrol("kept"),
        token.keys,
        lambda: token.retries_left(PinKind.USER),
        token.reset,
    ):
        with contextlib.suppress(MeshError):
            work()


@pytest.mark.parametrize(
    ("model", "facts"),
    [
        (
            "2.1",
            {
                "ctap_versions": "FIDO_2_0, FIDO_2_1",
                "extensions": "credProtect, hmac-secret",
                "pin": "not set",
                "shortest_pin": "4",
                "verification": "no sensor",
                "room_left": str(CAPACITY),
            },
        ),
        ("2.0", {"ctap_versions": "FIDO_2_0", "extensions": "hmac-secret", "pin": "not set"}),
        ("bare", {"extensions": "none", "pin": "none, and it can have none"}),
        ("always", {"verification": "no sensor, always wanted"}),
        ("strict", {"shortest_pin": "8"}),
    ],
)
def test_what_it_says_of_itself_is_shown(
    insert_ctap_card: InsertCtapCard, tmp_path: Path, model: str, facts: dict[str, str]
) -> None:
    told = shown(insert_ctap_card(CtapCard(model=model)), tmp_path)
    assert facts.items() <= told.items()
    assert ("room_left" in told) is (model != "2.0")
    assert ("shortest_pin" in told) is (model != "bare")


def test_the_state_of_the_pin_and_the_room_are_shown_as_they_are_now(
    ctap_card: VirtualCtapToken, open_token: OpenToken, tmp_path: Path
) -> None:
    ctap_card.set_pin(PIN)
    token = open_token(ctap_card)
    assert isinstance(token, Fido2Token)
    token.enrol("kept", discoverable=True)
    token.close()
    told = shown(ctap_card, tmp_path)
    assert (told["pin"], told["pin_tries_left"]) == ("set", "8")
    assert told["room_left"] == str(CAPACITY - 1)
    ctap_card.lock_pin()
    assert shown(ctap_card, tmp_path)["pin"] == "locked"


def test_a_pin_that_must_be_changed_is_shown(insert_ctap_card: InsertCtapCard, tmp_path: Path) -> None:
    virtual = insert_ctap_card(CtapCard(model="expired"))
    virtual.set_pin(PIN)
    assert shown(virtual, tmp_path)["pin"].startswith("set, and to be changed")
