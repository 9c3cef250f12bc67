"""The FIDO2 driver on virtual cards: sealing, presence, PIN, and what can befall an authenticator."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("fido2", reason="python-fido2 is not installed")
pytest.importorskip("smartcard", reason="pyscard is not installed")

from meshhw_fido2.card import Card
from meshhw_fido2.token import Fido2Token
from meshhw_software.driver import SoftwareDriver
from meshhw_software.kdf import Cost

from meshhw.algorithms import Algorithm, Operation, Tier
from meshhw.conformance.run import check_token
from meshhw.errors import (
    Ambiguous,
    Cancelled,
    DecryptionFailed,
    KeyNotFound,
    MeshError,
    NotSupported,
    OperationTimeout,
    PinFinalTry,
    PinIncorrect,
    PinLocked,
    PinRequired,
    SignatureInvalid,
    TokenBusy,
    TokenFault,
    TokenFull,
    TokenMismatch,
    TokenNotFound,
    TokenRemoved,
    TouchTimeout,
    UsageError,
)
from meshhw.keystore import attestation, registry
from meshhw.keystore.api import (
    Administers,
    Attests,
    Deletes,
    EnrolsPresence,
    Generates,
    Imports,
    Key,
    KeySpec,
    OpenOptions,
    ProvesPresence,
    Seals,
    Signs,
    Token,
)
from meshhw.keystore.interaction import PinKind, PinRequest, Scripted
from meshhw.keystore.presence import PresenceProof, verify_presence
from meshhw.keystore.uri import KeyURI, TokenURI
from meshhw.lab.ctap import status
from meshhw.lab.ctap.attestation import Maker
from meshhw.lab.ctap.authenticator import PIN as CLIENT_PIN
from meshhw.lab.ctap.card import MESSAGE, CtapCard
from meshhw.lab.ctap.token import VirtualCtapToken
from meshhw.lab.fixtures_ctap import InsertCtapCard
from meshhw.lab.piv.faults import Kind

PIN = "1234-pin"
DIGEST = hashlib.sha256(b"what is confirmed").digest()
PURPOSE = b"purpose"

OpenToken = Callable[..., Fido2Token]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory of each test's own."""
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def open_token() -> Iterator[OpenToken]:
    """open_token(virtual, script) opens a token; all are closed in the end."""
    opened: list[Token] = []

    def open_it(
        virtual: VirtualCtapToken, script: Scripted | None = None, deadline: float | None = None
    ) -> Fido2Token:
        options = OpenOptions(script or Scripted({PinKind.USER: PIN}), deadline=deadline)
        token = virtual.open(options)
        assert isinstance(token, Fido2Token)
        opened.append(token)
        return token

    yield open_it
    for token in opened:
        token.close()


@pytest.fixture
def with_pin(ctap_card: VirtualCtapToken, open_token: OpenToken) -> VirtualCtapToken:
    """A card whose PIN is set."""
    set_pin(ctap_card, open_token)
    return ctap_card


def set_pin(virtual: VirtualCtapToken, open_token: OpenToken) -> None:
    token = open_token(virtual)
    token.change_pin(PinKind.USER)
    token.close()


def listed(token: Token) -> list[Key]:
    return list(token.keys())


def pin_commands(virtual: VirtualCtapToken) -> int:
    return virtual.card.commands.count(CLIENT_PIN)


def test_it_is_found_and_described(ctap_card: VirtualCtapToken, open_token: OpenToken) -> None:
    (info,) = registry.driver("fido2").tokens()
    assert info.uri == ctap_card.uri
    assert (info.kind, info.reader, info.firmware) == ("authenticator", ctap_card.reader.name, "1.0.0")
    token = open_token(ctap_card)
    assert token.info() == info
    assert token.capabilities().seals
    assert token.capabilities().algorithms() == ()
    for power in (Token, Seals, Deletes, Attests, Administers, EnrolsPresence):
        assert isinstance(token, power)
    assert not isinstance(token, Generates | Imports)


@pytest.mark.parametrize("protocols", [(2, 1), (1,)])
@pytest.mark.parametrize("pin", [True, False])
def test_every_promise_that_applies_is_kept(
    insert_ctap_card: InsertCtapCard, open_token: OpenToken, protocols: tuple[int, ...], pin: bool
) -> None:
    virtual = insert_ctap_card(CtapCard(protocols=protocols))
    if pin:
        set_pin(virtual, open_token)
    report = check_token(open_token(virtual))
    assert report.broken == []


def test_two_of_one_model_are_told_apart_by_their_place(
    insert_ctap_card: InsertCtapCard, open_token: OpenToken
) -> None:
    maker = Maker(bytes(16))
    one, two = (insert_ctap_card(CtapCard(maker, bytes(16))) for _ in range(2))
    with pytest.raises(Ambiguous) as caught:
        open_token(one)
    assert len(caught.value.candidates) == 2
    infos = registry.driver("fido2").tokens()
    assert {str(info.uri) for info in infos} == set(caught.value.candidates)
    for info in infos:
        token = registry.open_token(info.uri, OpenOptions())
        assert token.info().reader in (one.reader.name, two.reader.name)
        token.close()


def test_an_absent_one_is_asked_for(ctap_card: VirtualCtapToken, open_token: OpenToken) -> None:
    ctap_card.pull()
    time.sleep(1.0)  # pcscd looks every 0.4 s
    with pytest.raises(TokenNotFound):
        open_token(ctap_card)

    def lay_it_on(_: TokenURI) -> bool:
        ctap_card.put_back()
        return True

    assert open_token(ctap_card, Scripted(inserts=lay_it_on)).capabilities().seals


def test_the_pin_is_asked_once_and_the_touch_announced(
    with_pin: VirtualCtapToken, open_token: OpenToken
) -> None:
    script = Scripted({PinKind.USER: PIN})
    token = open_token(with_pin, script)
    with_pin.card.finger.delay = 0.2
    blob = token.seal(b"secret", PURPOSE)
    assert token.unseal(blob, PURPOSE) == b"secret"
    assert [(request.kind, request.retries_left) for request in script.asked] == [(PinKind.USER, 8)]
    assert len(script.touches) == 3  # the credential, its secret for the new salt, and again


def test_a_salt_of_its_own_for_each_secret(ctap_card: VirtualCtapToken, open_token: OpenToken) -> None:
    token = open_token(ctap_card)
    one, two = token.seal(b"", PURPOSE), token.seal(b"", PURPOSE)
    assert one != two
    ctap_card.card.commands.clear()
    assert token.unseal(one, PURPOSE) == token.unseal(two, PURPOSE) == b""


def test_sealed_with_the_pin_is_not_opened_without(with_pin: VirtualCtapToken, open_token: OpenToken) -> None:
    blob = open_token(with_pin).seal(b"secret", PURPOSE)
    with pytest.raises(PinRequired):
        open_token(with_pin, Scripted()).unseal(blob, PURPOSE)
    unverified = blob.replace(b'"verified":true', b'"verified":false')
    forged = unverified[:-32] + hashlib.sha256(unverified[:-32]).digest()
    with pytest.raises(DecryptionFailed):  # the credential's other value is not the key
        open_token(with_pin, Scripted()).unseal(forged, PURPOSE)


def test_any_change_of_a_blob_is_noticed_before_a_touch(
    ctap_card: VirtualCtapToken, open_token: OpenToken
) -> None:
    token = open_token(ctap_card)
    blob = token.seal(b"secret", PURPOSE)
    before = ctap_card.card.finger.waits
    for position in range(len(blob)):
        with pytest.raises(DecryptionFailed):
            token.unseal(blob[:position] + bytes([blob[position] ^ 4]) + blob[position + 1 :], PURPOSE)
    for other in (b"", b"not a blob", blob[:-1]):
        with pytest.raises(DecryptionFailed):
            token.unseal(other, PURPOSE)
    assert ctap_card.card.finger.waits == before


def test_what_is_too_long_is_refused(ctap_card: VirtualCtapToken, open_token: OpenToken) -> None:
    token = open_token(ctap_card)
    assert token.unseal(token.seal(bytes(4096), PURPOSE), PURPOSE) == bytes(4096)
    for secret, purpose in ((bytes(4097), PURPOSE), (b"", bytes(1025))):
        with pytest.raises(UsageError):
            token.seal(secret, purpose)


def test_another_authenticator_is_known_before_a_pin_is_asked(
    insert_ctap_card: InsertCtapCard, open_token: OpenToken
) -> None:
    maker = Maker(bytes(16))
    virtual = insert_ctap_card(CtapCard(maker, bytes(16)))
    set_pin(virtual, open_token)
    blob = open_token(virtual).seal(b"secret", PURPOSE)
    virtual.swap(CtapCard(maker, bytes(16)))
    nobody = Scripted()
    with pytest.raises(TokenMismatch):
        open_token(virtual, nobody).unseal(blob, PURPOSE)
    assert nobody.asked == []
    assert pin_commands(virtual) == 0


def test_a_card_swapped_under_an_open_token_never_sees_the_pin(
    insert_ctap_card: InsertCtapCard, open_token: OpenToken
) -> None:
    maker = Maker(bytes(16))
    virtual = insert_ctap_card(CtapCard(maker, bytes(16)))
    set_pin(virtual, open_token)
    script = Scripted({PinKind.USER: PIN})
    token = open_token(virtual, script)
    blob = token.seal(b"secret", PURPOSE)
    virtual.swap(CtapCard(maker, bytes(16)))
    with pytest.raises(TokenMismatch):
        token.unseal(blob, PURPOSE)
    assert pin_commands(virtual) == 0
    assert len(script.asked) == 1


def test_removed_and_returned(with_pin: VirtualCtapToken, open_token: OpenToken) -> None:
    script = Scripted({PinKind.USER: PIN})
    token = open_token(with_pin, script)
    blob = token.seal(b"secret", PURPOSE)
    with_pin.pull()
    with pytest.raises(TokenRemoved):
        token.unseal(blob, PURPOSE)
    with_pin.put_back()
    assert token.unseal(blob, PURPOSE) == b"secret"
    assert len(script.asked) == 2  # the PIN was forgotten with the removal


@pytest.mark.parametrize("kind", [Kind.PULL_BEFORE, Kind.PULL_DURING])
def test_removed_in_the_middle(ctap_card: VirtualCtapToken, open_token: OpenToken, kind: Kind) -> None:
    token = open_token(ctap_card)
    blob = token.seal(b"secret", PURPOSE)
    ctap_card.card.faults.plan(kind, ins=MESSAGE)
    with pytest.raises(TokenRemoved):
        token.unseal(blob, PURPOSE)
    ctap_card.put_back()
    assert token.unseal(blob, PURPOSE) == b"secret"


def test_wrong_pins_and_the_last_try(with_pin: VirtualCtapToken, open_token: OpenToken) -> None:
    wrong = Scripted({PinKind.USER: "wrong"})
    token = open_token(with_pin, wrong)
    for left in (7, 6):
        with pytest.raises(PinIncorrect) as caught:
            token.enrol("x")
        assert caught.value.retries_left == left
    with pytest.raises(PinLocked) as blocked:
        token.enrol("x")
    assert "put it back" in blocked.value.hint
    asked = len(wrong.asked)
    with pytest.raises(PinLocked):
        token.enrol("x")
    assert len(wrong.asked) == asked  # not asked while no PIN is taken
    with_pin.card.authenticator.restart()
    with_pin.card.authenticator.context.lasting.pin_retries = 1
    with pytest.raises(PinFinalTry):
        open_token(with_pin).enrol("x")
    assert token.retries_left(PinKind.USER) == 1
    open_token(with_pin, Scripted({PinKind.USER: PIN}, allow_final_try=True)).enrol("x")
    assert token.retries_left(PinKind.USER) == 8


def test_a_locked_pin_says_what_helps(with_pin: VirtualCtapToken, open_token: OpenToken) -> None:
    with_pin.lock_pin()
    with pytest.raises(PinLocked) as caught:
        open_token(with_pin).enrol("x")
    assert "reset" in caught.value.unlock_hint
    with pytest.raises(NotSupported):
        open_token(with_pin).unlock()


def test_the_pin_changes(ctap_card: VirtualCtapToken, open_token: OpenToken) -> None:
    def answer(request: PinRequest) -> str:
        return "second" if request.new else "first-pin"

    assert open_token(ctap_card).retries_left(PinKind.USER) is None
    open_token(ctap_card, Scripted({PinKind.USER: "first-pin"})).change_pin(PinKind.USER)
    open_token(ctap_card, Scripted(answer)).change_pin(PinKind.USER)
    with pytest.raises(PinIncorrect) as caught:
        open_token(ctap_card, Scripted(answer)).change_pin(PinKind.USER)
    assert caught.value.retries_left == 7
    for refused in ("123", "x" * 64):
        script = Scripted(partial(lambda new, request: new if request.new else "second", refused))
        with pytest.raises(UsageError):
            open_token(ctap_card, script).change_pin(PinKind.USER)
    with pytest.raises(NotSupported):
        open_token(ctap_card).change_pin(PinKind.PUK)


def test_a_touch_that_never_comes(ctap_card: VirtualCtapToken, open_token: OpenToken) -> None:
    ctap_card.card.finger.willing, ctap_card.card.finger.patience = False, 0.3
    script = Scripted()
    with pytest.raises(TouchTimeout):
        open_token(ctap_card, script).seal(b"secret", PURPOSE)
    assert len(script.touches) == 1


def test_waiting_for_a_touch_can_be_cancelled(ctap_card: VirtualCtapToken, open_token: OpenToken) -> None:
    ctap_card.card.finger.willing = False
    script = Scripted()
    timer = threading.Timer(0.3, lambda: setattr(script, "stop", True))
    timer.start()
    with pytest.raises(Cancelled):
        open_token(ctap_card, script).seal(b"secret", PURPOSE)
    timer.join()


def test_a_hung_card_is_left_behind(ctap_card: VirtualCtapToken, open_token: OpenToken) -> None:
    token = open_token(ctap_card, deadline=1.0)
    assert token.capabilities().seals
    ctap_card.card.faults.plan(Kind.HANG, ins=MESSAGE)
    start = time.monotonic()
    with pytest.raises(OperationTimeout):
        token.retries_left(PinKind.USER)
    assert time.monotonic() - start < 4
    with pytest.raises(OperationTimeout):
        token.keys()


def test_answers_that_are_not_ctap(ctap_card: VirtualCtapToken, open_token: OpenToken) -> None:
    token = open_token(ctap_card)
    assert token.keys() == []
    for length in (0, 1, 2, 7):
        ctap_card.card.faults.plan(Kind.TRUNCATE, length, ins=MESSAGE)
        with pytest.raises(MeshError):
            token.retries_left(PinKind.USER)
    ctap_card.card.faults.plan(Kind.STATUS, 0x6F00, ins=MESSAGE)
    with pytest.raises(TokenFault):
        token.retries_left(PinKind.USER)
    assert token.retries_left(PinKind.USER) is None


def test_other_programs_have_their_turn(with_pin: VirtualCtapToken, open_token: OpenToken) -> None:
    """While the PIN is asked somebody else takes the card and selects another application."""

    def meddle(_: PinRequest) -> str:
        other = Card(with_pin.reader.name)
        other.connect()
        assert other.transmit([0, 0xA4, 4, 0, 5, 0xA0, 0, 0, 3, 8])[1] == 0x6A
        other.disconnect()
        return PIN

    token = open_token(with_pin, Scripted(meddle))
    blob = token.seal(b"secret", PURPOSE)
    meddle(PinRequest(PinKind.USER, with_pin.uri, ""))
    assert token.unseal(blob, PURPOSE) == b"secret"


def test_a_card_that_another_program_holds_is_busy(
    ctap_card: VirtualCtapToken, open_token: OpenToken
) -> None:
    token = open_token(ctap_card)
    other = Card(ctap_card.reader.name)
    other.connect()
    with pytest.raises(TokenBusy):
        token.keys()
    with pytest.raises(TokenBusy):
        open_token(ctap_card)
    other.disconnect()
    assert token.keys() == []


def test_one_that_says_nothing_in_silence_is_asked_all_the_same(
    with_pin: VirtualCtapToken, open_token: OpenToken
) -> None:
    token = open_token(with_pin)
    blob = token.seal(b"secret", PURPOSE)
    with_pin.card.refusals = [status.PUAT_REQUIRED]
    assert token.unseal(blob, PURPOSE) == b"secret"


def test_every_status_is_a_public_error_that_keeps_it(
    ctap_card: VirtualCtapToken, open_token: OpenToken
) -> None:
    token = open_token(ctap_card)
    assert token.keys() == []
    for number in range(1, 256):
        ctap_card.card.refusals = [number]
        with pytest.raises(MeshError) as caught:
            token.retries_left(PinKind.USER)
        assert caught.value.code is not None
        assert (caught.value.code.layer, caught.value.code.value) == ("CTAP", number)
        assert caught.value.message
    assert token.retries_left(PinKind.USER) is None


@pytest.mark.parametrize("discoverable", [True, False])
def test_presence_is_proved_and_verified_offline(
    with_pin: VirtualCtapToken, open_token: OpenToken, discoverable: bool
) -> None:
    key = open_token(with_pin).enrol("phone", discoverable=discoverable)
    assert isinstance(key, Key)
    assert isinstance(key, ProvesPresence)
    assert not isinstance(key, Signs)
    assert key.tier is Tier.NATIVE
    assert key.needs().touch
    proof = PresenceProof.decode(key.prove(DIGEST).encode())
    presence = verify_presence(key.public, DIGEST, proof, need_verified=True)
    assert presence.verified
    later = verify_presence(key.public, DIGEST, key.prove(DIGEST))
    assert later.counter > presence.counter
    with pytest.raises(SignatureInvalid):
        verify_presence(key.public, hashlib.sha256(b"something else").digest(), proof)
    with pytest.raises(UsageError):
        key.prove(b"short")
    again = open_token(with_pin).key(KeyURI.parse(str(key.uri)))
    assert again.public == key.public
    assert [one.uri for one in listed(open_token(with_pin))] == [key.uri]


def test_without_a_pin_presence_is_all_that_is_proved(
    ctap_card: VirtualCtapToken, open_token: OpenToken
) -> None:
    key = open_token(ctap_card).enrol("phone")
    proof = key.prove(DIGEST)
    assert not verify_presence(key.public, DIGEST, proof).verified
    with pytest.raises(SignatureInvalid, match="verified"):
        verify_presence(key.public, DIGEST, proof, need_verified=True)


def test_credentials_are_listed_and_deleted(
    with_pin: VirtualCtapToken, open_token: OpenToken, home: Path
) -> None:
    token = open_token(with_pin)
    kept, unkept = token.enrol("kept"), token.enrol("unkept", discoverable=False)
    assert {key.uri for key in listed(token)} == {kept.uri, unkept.uri}
    with pytest.raises(Ambiguous):
        token.key(KeyURI.parse(str(token.info().uri)))
    for path in (home / "fido2").iterdir():
        path.unlink()
    (found,) = token.keys()  # what the authenticator keeps is found without this machine's memory
    assert (found.uri, found.public, found.label) == (kept.uri, kept.public, "kept")
    with pytest.raises(KeyNotFound):
        token.key(unkept.uri)
    with pytest.raises(NotSupported, match="attestation"):
        token.attest(kept.uri)
    token.delete(kept.uri)
    assert token.keys() == []
    with pytest.raises(KeyNotFound):
        token.delete(kept.uri)
    with pytest.raises(KeyNotFound):
        token.key(KeyURI.make("fido2", credential="no hex"))


def test_a_credential_that_is_not_kept_is_forgotten(
    with_pin: VirtualCtapToken, open_token: OpenToken
) -> None:
    token = open_token(with_pin)
    key = token.enrol("unkept", discoverable=False)
    token.delete(key.uri)
    assert token.keys() == []


def test_a_full_authenticator_says_so(with_pin: VirtualCtapToken, open_token: OpenToken) -> None:
    with_pin.fill()
    with pytest.raises(TokenFull):
        open_token(with_pin).enrol("x")
    assert open_token(with_pin).enrol("x", discoverable=False).public


def test_the_attestation_is_kept_and_leads_to_the_maker(
    ctap_card: VirtualCtapToken, open_token: OpenToken
) -> None:
    key = open_token(ctap_card).enrol("attested")
    statement = open_token(ctap_card).attest(key.uri)
    maker = ctap_card.card.authenticator.maker
    facts = attestation.verify(statement, [maker.root])
    assert facts.public == key.public
    assert facts.generated_inside is True
    assert facts.issuer == "Lab FIDO2 Root CA"
    with pytest.raises(SignatureInvalid, match="root"):
        attestation.verify(statement, [Maker(bytes(16)).root])


def test_a_reset_erases_and_what_was_sealed_is_lost(
    with_pin: VirtualCtapToken, open_token: OpenToken
) -> None:
    token = open_token(with_pin)
    blob = token.seal(b"secret", PURPOSE)
    with_pin.card.authenticator.context.session.since -= 11
    with pytest.raises(NotSupported) as caught:
        token.reset()
    assert "ten seconds" in caught.value.hint
    with_pin.card.authenticator.restart()
    token.reset()
    assert token.retries_left(PinKind.USER) is None
    with pytest.raises(TokenMismatch):
        token.unseal(blob, PURPOSE)


def test_a_software_key_behind_it_is_sealed(with_pin: VirtualCtapToken, open_token: OpenToken) -> None:
    script = Scripted({PinKind.USER: PIN, PinKind.VAULT: "passphrase"})
    vault = SoftwareDriver(Cost(19_456, 2)).open(TokenURI.parse("software:"), OpenOptions(script))
    assert isinstance(vault, Generates)
    key = vault.generate(KeySpec(Algorithm.ED448, place=str(with_pin.uri)))
    assert key.tier is Tier.SEALED
    assert key.needs().touch
    assert isinstance(key, Signs)
    waits = with_pin.card.finger.waits
    assert len(key.sign(b"message")) == 114
    key.sign(b"message")
    assert with_pin.card.finger.waits == waits + 2  # opened for one use each time
    with vault.hold():
        key.sign(b"one")
        key.sign(b"two")
    assert with_pin.card.finger.waits == waits + 3
    vault.close()
    with_pin.pull()
    time.sleep(1.0)
    with pytest.raises(TokenNotFound):
        key.sign(b"message")
    vault.close()


def test_a_vault_that_it_opens_has_no_passphrase(
    with_pin: VirtualCtapToken, open_token: OpenToken, tmp_path: Path
) -> None:
    script = Scripted({PinKind.USER: PIN})
    uri = TokenURI.make("software", vault=str(tmp_path / "v"), query={"sealed-by": str(with_pin.uri)})
    driver = SoftwareDriver()
    vault = driver.open(uri, OpenOptions(script))
    assert isinstance(vault, Generates)
    key = vault.generate(KeySpec(Algorithm.X448))
    assert key.tier is Tier.SEALED
    assert vault.capabilities().tier(Algorithm.X448, Operation.AGREE) is Tier.SEALED
    assert {request.kind for request in script.asked} == {PinKind.USER}
    vault.close()
