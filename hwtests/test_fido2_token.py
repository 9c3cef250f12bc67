"""The FIDO2 driver on virtual cards: sealing, presence, PIN, and what can befall an authenticator."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fido2", reason="python-fido2 is not installed")
pytest.importorskip("smartcard", reason="pyscard is not installed")

from meshhw_software.driver import SoftwareDriver
from meshhw_software.kdf import Cost

from hwtests import fido2_lab
from hwtests.fido2_lab import DIGEST, PIN, PURPOSE, OpenToken, listed, set_pin
from hwtests.piv_cards import wait_until_empty
from meshhw.algorithms import Algorithm, Operation, Tier
from meshhw.conformance.run import check_token
from meshhw.errors import (
    Ambiguous,
    DecryptionFailed,
    KeyNotFound,
    NotSupported,
    PinRequired,
    SignatureInvalid,
    TokenFull,
    TokenMismatch,
    TokenNotFound,
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
from meshhw.keystore.home import VARIABLE
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.presence import PresenceProof, verify_presence
from meshhw.keystore.uri import KeyURI, TokenURI
from meshhw.lab.ctap.attestation import Maker
from meshhw.lab.ctap.card import CtapCard
from meshhw.lab.ctap.model import Model
from meshhw.lab.ctap.token import VirtualCtapToken
from meshhw.lab.fixtures_ctap import InsertCtapCard

# pytest finds fixtures by the names in the module.
home, open_token, with_pin = fido2_lab.home, fido2_lab.open_token, fido2_lab.with_pin


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
    virtual = insert_ctap_card(CtapCard(model=Model(protocols=protocols)))
    if pin:
        set_pin(virtual, open_token)
    report = check_token(open_token(virtual))
    assert report.broken == []


def test_the_table_of_its_check_tells_how_many_commands_an_unsealing_takes(
    ctap_card: VirtualCtapToken, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "meshhw", "token", "check", str(ctap_card.uri)]
    environment = os.environ | {VARIABLE: str(tmp_path / "home")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    head, row = done.stdout.splitlines()[-2:]
    assert head.split() == ["algorithm", "operation", "tier", "ms", "calls"]
    found = re.fullmatch(r"sealed secret +unwrap +sealed +\d+\.\d\d +(\d)", row)
    assert found
    assert 2 <= int(found[1]) <= 6  # whose it is, a key agreed on, the assertion, and what a PIN adds


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
    wait_until_empty(ctap_card.reader.name)
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
    wait_until_empty(with_pin.reader.name)
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
