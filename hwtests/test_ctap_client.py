"""The virtual FIDO2 card judged by python-fido2's own client, over PC/SC."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

fido2 = pytest.importorskip("fido2", reason="python-fido2 is not installed")
pytest.importorskip("smartcard", reason="pyscard is not installed")

from fido2.client import (  # noqa: E402  # after the checks that they are there
    ClientError,
    DefaultClientDataCollector,
    Fido2Client,
    PinRequiredError,
    UserInteraction,
)
from fido2.ctap import CtapError  # noqa: E402
from fido2.ctap2 import ClientPin, CredentialManagement, Ctap2  # noqa: E402
from fido2.ctap2.extensions import CredProtectExtension, HmacSecretExtension  # noqa: E402
from fido2.ctap2.pin import PinProtocolV1, PinProtocolV2  # noqa: E402
from fido2.pcsc import CtapPcscDevice  # noqa: E402
from fido2.server import Fido2Server  # noqa: E402
from fido2.webauthn import (  # noqa: E402
    PublicKeyCredentialRpEntity,
    PublicKeyCredentialUserEntity,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from meshhw.lab.ctap.card import CtapCard  # noqa: E402
from meshhw.lab.ctap.token import VirtualCtapToken  # noqa: E402
from meshhw.lab.fixtures_ctap import InsertCtapCard  # noqa: E402

PIN = "1234-pin"
ORIGIN = "https://example.com"
RP = PublicKeyCredentialRpEntity(id="example.com", name="Example")
SALT = {"salt1": bytes(32)}
PROTOCOLS = [PinProtocolV1, PinProtocolV2]
ERR = CtapError.ERR


class Person(UserInteraction):
    """Knows the PIN, and counts the touches that are asked for."""

    def __init__(self, pin: str | None = PIN) -> None:
        self.known = pin
        self.prompts = 0

    def prompt_up(self) -> None:
        self.prompts += 1

    def request_pin(self, permissions: object, rp_id: object) -> str | None:
        return self.known


@pytest.fixture
def device(ctap_card: VirtualCtapToken) -> Iterator[CtapPcscDevice]:
    (found,) = CtapPcscDevice.list_devices(ctap_card.reader.name)
    yield found
    found.close(release=True)


@pytest.fixture
def ctap(device: CtapPcscDevice) -> Ctap2:
    return Ctap2(device)


def client(device: CtapPcscDevice, person: Person | None = None) -> Fido2Client:
    return Fido2Client(
        device,
        client_data_collector=DefaultClientDataCollector(ORIGIN),
        user_interaction=person or Person(),
        extensions=[HmacSecretExtension(allow_hmac_secret=True), CredProtectExtension()],
    )


def user(name: str = "alice") -> PublicKeyCredentialUserEntity:
    return PublicKeyCredentialUserEntity(id=name.encode(), name=name)


def register(
    device: CtapPcscDevice, name: str = "alice", **options: Any
) -> tuple[Fido2Server, Any, dict[str, Any]]:
    server = Fido2Server(RP, attestation="direct")
    extensions = options.pop("extensions", {"hmacCreateSecret": True})
    request, state = server.register_begin(user(name), extensions=extensions, **options)
    made = client(device).make_credential(request.public_key)
    data = server.register_complete(state, made)
    return server, data.credential_data, dict(made.client_extension_results)


def authenticate(
    device: CtapPcscDevice,
    server: Fido2Server,
    known: list[Any],
    listed: bool = True,
    verification: UserVerificationRequirement = UserVerificationRequirement.PREFERRED,
    **extensions: Any,
) -> Any:
    request, state = server.authenticate_begin(
        known if listed else None, user_verification=verification, extensions=extensions or None
    )
    answer = client(device).get_assertion(request.public_key).get_response(0)
    server.authenticate_complete(state, known, answer)
    return answer


def refused(code: int, action: Callable[[], object]) -> None:
    with pytest.raises(CtapError) as caught:
        action()
    assert caught.value.code == code


def test_info_says_what_there_is(ctap: Ctap2, ctap_card: VirtualCtapToken) -> None:
    info = ctap.info
    assert info.aaguid == ctap_card.card.aaguid
    assert info.versions == ["FIDO_2_0", "FIDO_2_1"]
    assert set(info.extensions) == {"credProtect", "hmac-secret"}
    assert info.options["clientPin"] is False
    assert info.pin_uv_protocols == [2, 1]
    assert CredentialManagement.is_supported(info)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("discoverable", list(ResidentKeyRequirement))
def test_register_and_authenticate_with_a_pin(
    device: CtapPcscDevice, ctap: Ctap2, protocol: type[PinProtocolV1], discoverable: ResidentKeyRequirement
) -> None:
    ClientPin(ctap, protocol()).set_pin(PIN)
    server, credential, _ = register(device, resident_key_requirement=discoverable)
    answer = authenticate(device, server, [credential])
    assert answer.response.authenticator_data.is_user_verified()
    assert answer.response.authenticator_data.is_user_present()


def test_without_a_pin_there_is_presence_alone(device: CtapPcscDevice) -> None:
    server, credential, _ = register(device, user_verification=UserVerificationRequirement.DISCOURAGED)
    answer = authenticate(device, server, [credential], verification=UserVerificationRequirement.DISCOURAGED)
    assert not answer.response.authenticator_data.is_user_verified()
    assert answer.response.authenticator_data.is_user_present()


def test_counters_grow_and_keys_differ(device: CtapPcscDevice, ctap: Ctap2) -> None:
    ClientPin(ctap).set_pin(PIN)
    server, one, _ = register(device)
    _, two, _ = register(device, "bob")
    counters = [authenticate(device, server, [one]).response.authenticator_data.counter for _ in range(2)]
    assert counters[0] < counters[1]
    assert one.public_key != two.public_key


def test_hmac_secret_is_stable_and_of_its_salt(device: CtapPcscDevice, ctap: Ctap2) -> None:
    ClientPin(ctap).set_pin(PIN)
    server, credential, results = register(device)
    assert results["hmacCreateSecret"] is True

    def secret(**salts: bytes) -> Any:
        answer = authenticate(device, server, [credential], hmacGetSecret=salts)
        return answer.client_extension_results["hmacGetSecret"]

    first = secret(salt1=bytes(32))
    assert secret(salt1=bytes(32))["output1"] == first["output1"]
    both = secret(salt1=bytes(32), salt2=b"\1" * 32)
    assert both["output1"] == first["output1"]
    assert both["output2"] != first["output1"]
    _, other, _ = register(device, "bob")
    theirs = authenticate(device, server, [other], hmacGetSecret=SALT)
    assert theirs.client_extension_results["hmacGetSecret"]["output1"] != first["output1"]


def test_hmac_secret_has_two_values_with_and_without_the_pin(device: CtapPcscDevice, ctap: Ctap2) -> None:
    server, credential, _ = register(device, user_verification=UserVerificationRequirement.DISCOURAGED)
    without = authenticate(
        device,
        server,
        [credential],
        verification=UserVerificationRequirement.DISCOURAGED,
        hmacGetSecret=SALT,
    )
    ClientPin(ctap).set_pin(PIN)
    verified = authenticate(device, server, [credential], hmacGetSecret=SALT)
    outputs = [answer.client_extension_results["hmacGetSecret"]["output1"] for answer in (without, verified)]
    assert outputs[0] != outputs[1]


def test_a_protected_credential_needs_the_pin(device: CtapPcscDevice, ctap: Ctap2) -> None:
    ClientPin(ctap).set_pin(PIN)
    server, credential, _ = register(
        device,
        resident_key_requirement=ResidentKeyRequirement.REQUIRED,
        extensions={"credentialProtectionPolicy": "userVerificationRequired"},
    )
    authenticate(device, server, [credential], listed=False)
    allow = [{"id": credential.credential_id, "type": "public-key"}]
    refused(ERR.NO_CREDENTIALS, lambda: ctap.get_assertion("example.com", bytes(32), allow))


def test_credentials_are_managed(device: CtapPcscDevice, ctap: Ctap2) -> None:
    pin = ClientPin(ctap)
    pin.set_pin(PIN)
    for name in ("alice", "bob", "carol"):
        server, credential, _ = register(
            device, name, resident_key_requirement=ResidentKeyRequirement.REQUIRED
        )

    def management() -> CredentialManagement:
        token = pin.get_pin_token(PIN, ClientPin.PERMISSION.CREDENTIAL_MGMT)
        return CredentialManagement(ctap, pin.protocol, token)

    result = CredentialManagement.RESULT
    assert management().get_metadata()[result.EXISTING_CRED_COUNT] == 3
    (party,) = management().enumerate_rps()
    assert party[result.RP]["id"] == "example.com"
    kept = management().enumerate_creds(party[result.RP_ID_HASH])
    assert [one[result.USER]["name"] for one in kept] == ["alice", "bob", "carol"]
    assert kept[2][result.PUBLIC_KEY] == credential.public_key
    management().update_user_info(
        kept[0][result.CREDENTIAL_ID], PublicKeyCredentialUserEntity(id=b"alice", name="Alice Liddell")
    )
    management().delete_cred(kept[1][result.CREDENTIAL_ID])
    left = management().enumerate_creds(party[result.RP_ID_HASH])
    assert [one[result.USER]["name"] for one in left] == ["Alice Liddell", "carol"]
    answer = authenticate(device, server, [credential], listed=False)
    assert answer.raw_id == credential.credential_id  # the newest comes first


def test_a_token_for_one_thing_is_not_good_for_another(ctap: Ctap2) -> None:
    pin = ClientPin(ctap)
    pin.set_pin(PIN)
    token = pin.get_pin_token(PIN, ClientPin.PERMISSION.GET_ASSERTION, "example.com")
    manage = CredentialManagement(ctap, pin.protocol, token)
    refused(ERR.PIN_AUTH_INVALID, manage.get_metadata)
    proof = pin.protocol.authenticate(token, bytes(32))
    refused(
        ERR.PIN_AUTH_INVALID,
        lambda: ctap.get_assertion(
            "other.example", bytes(32), pin_uv_param=proof, pin_uv_protocol=pin.protocol.VERSION
        ),
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_wrong_pins_are_counted_and_lock(
    insert_ctap_card: InsertCtapCard, protocol: type[PinProtocolV1]
) -> None:
    token = insert_ctap_card()
    (device,) = CtapPcscDevice.list_devices(token.reader.name)
    pin = ClientPin(Ctap2(device), protocol())
    pin.set_pin(PIN)
    refused(ERR.PIN_INVALID, lambda: pin.get_pin_token("wrong"))
    assert pin.get_pin_retries() == (7, False)
    pin.get_pin_token(PIN)
    assert pin.get_pin_retries() == (8, False)
    refused(ERR.PIN_INVALID, lambda: pin.get_pin_token("wrong"))
    refused(ERR.PIN_INVALID, lambda: pin.get_pin_token("wrong"))
    refused(ERR.PIN_AUTH_BLOCKED, lambda: pin.get_pin_token("wrong"))
    refused(ERR.PIN_AUTH_BLOCKED, lambda: pin.get_pin_token(PIN))
    assert pin.get_pin_retries() == (5, True)
    for _ in range(2):  # a card that lost its power takes three more
        token.card.reset()
        device._select()
        for _ in range(3):
            with pytest.raises(CtapError):
                pin.get_pin_token("wrong")
    refused(ERR.PIN_BLOCKED, lambda: pin.get_pin_token(PIN))
    device.close(release=True)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_pin_changes(ctap: Ctap2, protocol: type[PinProtocolV1]) -> None:
    pin = ClientPin(ctap, protocol())
    pin.set_pin(PIN)
    refused(ERR.PIN_AUTH_INVALID, lambda: pin.set_pin("another"))
    refused(ERR.PIN_INVALID, lambda: pin.change_pin("wrong", "another"))
    pin.change_pin(PIN, "another")
    pin.get_pin_token("another")
    refused(ERR.PIN_INVALID, lambda: pin.get_pin_token(PIN))
    assert ctap.get_info().options["clientPin"] is True


def test_a_discoverable_credential_needs_the_pin_once_there_is_one(
    device: CtapPcscDevice, ctap: Ctap2
) -> None:
    ClientPin(ctap).set_pin(PIN)
    server = Fido2Server(RP)
    request, _ = server.register_begin(user(), resident_key_requirement=ResidentKeyRequirement.REQUIRED)
    with pytest.raises(PinRequiredError):
        client(device, Person(None)).make_credential(request.public_key)


def test_touch_is_asked_for_and_waited_for(device: CtapPcscDevice, ctap_card: VirtualCtapToken) -> None:
    ctap_card.card.finger.delay = 0.3
    person, server = Person(), Fido2Server(RP)
    request, state = server.register_begin(user(), user_verification=UserVerificationRequirement.DISCOURAGED)
    start = time.monotonic()
    server.register_complete(state, client(device, person).make_credential(request.public_key))
    assert time.monotonic() - start >= 0.3
    assert person.prompts == 1
    assert ctap_card.card.finger.waits == 1


def test_a_touch_that_never_comes_ends(ctap: Ctap2, ctap_card: VirtualCtapToken) -> None:
    ctap_card.card.finger.willing, ctap_card.card.finger.patience = False, 0.3
    refused(ERR.USER_ACTION_TIMEOUT, ctap.selection)


def test_waiting_can_be_cancelled(ctap: Ctap2, ctap_card: VirtualCtapToken) -> None:
    ctap_card.card.finger.willing = False
    stop = threading.Event()
    timer = threading.Timer(0.2, stop.set)
    timer.start()
    refused(ERR.KEEPALIVE_CANCEL, lambda: ctap.selection(event=stop))
    timer.join()


def test_the_same_user_is_not_registered_twice(device: CtapPcscDevice) -> None:
    server, credential, _ = register(device, user_verification=UserVerificationRequirement.DISCOURAGED)
    request, _ = server.register_begin(
        user("bob"), [credential], user_verification=UserVerificationRequirement.DISCOURAGED
    )
    with pytest.raises(ClientError) as caught:
        client(device).make_credential(request.public_key)
    assert caught.value.code == ClientError.ERR.DEVICE_INELIGIBLE


def test_a_full_card_says_so(device: CtapPcscDevice, ctap: Ctap2, ctap_card: VirtualCtapToken) -> None:
    ClientPin(ctap).set_pin(PIN)
    ctap_card.fill()
    server = Fido2Server(RP)
    request, _ = server.register_begin(user(), resident_key_requirement=ResidentKeyRequirement.REQUIRED)
    with pytest.raises(ClientError) as caught:
        client(device).make_credential(request.public_key)
    assert isinstance(caught.value.cause, CtapError)
    assert caught.value.cause.code == ERR.KEY_STORE_FULL


def test_reset_forgets_everything(device: CtapPcscDevice, ctap: Ctap2) -> None:
    pin = ClientPin(ctap)
    pin.set_pin(PIN)
    _, credential, _ = register(device)
    ctap.reset()
    assert ctap.get_info().options["clientPin"] is False
    allow = [{"id": credential.credential_id, "type": "public-key"}]
    refused(ERR.NO_CREDENTIALS, lambda: ctap.get_assertion("example.com", bytes(32), allow))


def test_reset_is_refused_later_than_ten_seconds(ctap: Ctap2, ctap_card: VirtualCtapToken) -> None:
    ctap_card.card.authenticator.context.session.since -= 11
    refused(ERR.NOT_ALLOWED, ctap.reset)


def test_what_is_no_request_is_refused(ctap: Ctap2) -> None:
    refused(ERR.INVALID_COMMAND, lambda: ctap.send_cbor(0x55))
    refused(ERR.MISSING_PARAMETER, lambda: ctap.send_cbor(Ctap2.CMD.GET_ASSERTION, {1: "example.com"}))
    refused(ERR.CBOR_UNEXPECTED_TYPE, lambda: ctap.send_cbor(Ctap2.CMD.GET_ASSERTION, {1: 1, 2: b""}))
    refused(ERR.INVALID_SUBCOMMAND, lambda: ctap.send_cbor(Ctap2.CMD.CLIENT_PIN, {1: 2, 2: 99}))
    refused(ERR.NOT_ALLOWED, ctap.get_next_assertion)


def test_another_card_does_not_know_this_ones_credentials(insert_ctap_card: InsertCtapCard) -> None:
    first, second = insert_ctap_card(), insert_ctap_card(CtapCard())
    (one,) = CtapPcscDevice.list_devices(first.reader.name)
    (two,) = CtapPcscDevice.list_devices(second.reader.name)
    _, credential, _ = register(one, user_verification=UserVerificationRequirement.DISCOURAGED)
    allow = [{"id": credential.credential_id, "type": "public-key"}]
    assert Ctap2(one).get_assertion("example.com", bytes(32), allow, options={"up": False})
    refused(
        ERR.NO_CREDENTIALS,
        lambda: Ctap2(two).get_assertion("example.com", bytes(32), allow, options={"up": False}),
    )
    one.close(release=True)
    two.close(release=True)
