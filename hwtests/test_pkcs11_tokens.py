"""PKCS#11 tokens as wholes: found without waiting for the slow, administered, sealing and storing."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from meshhw_pkcs11 import discovery, modules

from meshhw.algorithms import Algorithm
from meshhw.errors import DecryptionFailed, NotSupported, OperationTimeout, PinIncorrect, TokenBusy
from meshhw.keystore.api import KeySpec, OpenOptions, Watches
from meshhw.keystore.interaction import PinKind, PinRequest, Scripted
from meshhw.keystore.registry import driver, open_token
from meshhw.keystore.uri import TokenURI
from meshhw.lab import shim
from meshhw.lab.fixtures_pkcs11 import NewToken
from meshhw.lab.pkcs11_token import Pkcs11Token
from meshhw.lab.shim import Trouble
from tests.patience import until

Troubled = tuple[Pkcs11Token, Trouble]


def person(token: Pkcs11Token, new: str) -> Scripted:
    """Somebody who knows the token's PINs and wants `new` for a new one."""
    pins = {PinKind.USER: token.pin, PinKind.SO: token.so_pin}

    def answer(request: PinRequest) -> str:
        return new if request.new else pins[request.kind]

    return Scripted(answer)


def test_a_hung_module_does_not_keep_the_others_from_the_list(
    troubled_softhsm: Troubled, nss_token: Pkcs11Token
) -> None:
    lab_token, trouble = troubled_softhsm
    trouble.hang("C_GetTokenInfo")
    began = time.monotonic()
    hung, there = discovery.look([modules.at(lab_token.module_path), modules.at(nss_token.module_path)], 2)
    assert time.monotonic() - began < 8
    trouble.clear()
    assert isinstance(hung[1], OperationTimeout)
    assert lab_token.module_path in hung[1].message
    assert isinstance(there[1], list)
    assert nss_token.label in {found.token.label for found in there[1]}


def test_modules_that_cannot_be_loaded_are_told_and_break_nothing(
    softhsm_token: Pkcs11Token, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.so"
    broken.write_text("no module")
    monkeypatch.setenv(modules.VARIABLE, f"{broken}:{softhsm_token.module_path}")
    pkcs11: Any = driver("pkcs11")
    assert softhsm_token.label in {info.label for info in pkcs11.tokens()}
    said = pkcs11.modules()
    assert "is not a PKCS#11 module" in said[str(broken)]
    assert said[softhsm_token.module_path] == ""


def test_a_token_is_found_by_any_of_its_attributes(softhsm_token: Pkcs11Token) -> None:
    token: Any = softhsm_token.open()
    info = token.info()
    token.close()
    query = {"module-path": softhsm_token.module_path}
    for uri in (
        info.uri,
        TokenURI.make("pkcs11", query, serial=info.serial),
        TokenURI.make("pkcs11", query, manufacturer="SoftHSM project", token=info.label),
        TokenURI.make("pkcs11", query, library_manufacturer="SoftHSM", model="SoftHSM v2", token=info.label),
    ):
        again = open_token(uri, softhsm_token.options())
        assert again.info().uri == info.uri
        again.close()


def test_tokens_plugged_and_pulled_are_told(
    troubled_softhsm: Troubled, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, trouble = troubled_softhsm
    monkeypatch.setenv(modules.VARIABLE, token.module_path)
    watched = driver("pkcs11")
    assert isinstance(watched, Watches)
    events = (event for event in watched.events(60) if event.uri.get("token") == token.label)
    control = shim.Control(shim.control_of(Path(token.module_path)))
    control.reset()

    def pull() -> None:
        until(lambda: control.calls().get("C_GetSlotList", 0) > 2)  # two calls a look: the second has begun
        trouble.pull()

    pulling = Thread(target=pull)
    pulling.start()
    assert not next(events).present
    pulling.join()
    trouble.put_back()
    assert next(events).present


def test_several_modules_in_one_process(softhsm_token: Pkcs11Token, nss_token: Pkcs11Token) -> None:
    tokens: list[Any] = [softhsm_token.open(), nss_token.open()]
    keys = [token.generate(KeySpec(Algorithm.P256)) for token in tokens]
    assert keys[0].agree(keys[1].public) == keys[1].agree(keys[0].public)
    tokens[0].close()
    assert len(keys[1].sign(b"message")) == 64
    tokens[1].close()


def test_two_openings_share_a_login_until_the_last_is_closed(pkcs11_token: Pkcs11Token) -> None:
    first: Any = pkcs11_token.open()
    key = first.generate(KeySpec(Algorithm.P256))
    second: Any = open_token(pkcs11_token.uri, OpenOptions())  # nobody to ask, and nothing to be asked
    assert second.key(key.uri).public == key.public
    first.close()
    assert len(second.key(key.uri).sign(b"message")) == 64
    second.close()


def test_the_pin_is_changed(pkcs11_token: Pkcs11Token) -> None:
    token: Any = pkcs11_token.open(interaction=person(pkcs11_token, "87654321"))
    token.change_pin(PinKind.USER)
    token.close()
    token = pkcs11_token.open()
    with pytest.raises(PinIncorrect):
        token.keys()
    token.close()
    token = pkcs11_token.open(interaction=Scripted({PinKind.USER: "87654321"}))
    assert token.keys() == []
    token.close()


def test_a_deadline_holds_for_every_function_and_hinders_none(softhsm_token: Pkcs11Token) -> None:
    token: Any = softhsm_token.open(interaction=person(softhsm_token, softhsm_token.pin), deadline=20.0)
    with token.hold():
        key = token.generate(KeySpec(Algorithm.P256))
        assert key.agree(key.public)
        assert token.unseal(token.seal(b"secret", b""), b"") == b"secret"
        token.store_data("name", b"data")
        assert token.load_data("name") == b"data"
        assert token.retries_left(PinKind.USER) is None
        assert token.protection(key.uri).extractable is False
    token.change_pin(PinKind.USER)
    token.unlock()
    token.delete(key.uri)
    assert token.keys() == []
    token.reset()
    token.close()


def test_a_token_in_use_is_not_reset(softhsm_token: Pkcs11Token) -> None:
    user: Any = softhsm_token.open()
    key = user.generate(KeySpec(Algorithm.P256))
    token: Any = softhsm_token.open()
    with pytest.raises(TokenBusy):
        token.reset()
    assert len(key.sign(b"message")) == 64
    token.close()
    user.close()


def test_a_wrong_old_pin_changes_nothing(softhsm_token: Pkcs11Token) -> None:
    wrong = Scripted(lambda request: "87654321" if request.new else "0000000")
    token: Any = softhsm_token.open(interaction=wrong)
    with pytest.raises(PinIncorrect):
        token.change_pin(PinKind.USER)
    with pytest.raises(PinIncorrect):
        token.unlock()
    with pytest.raises(NotSupported):
        token.change_pin(PinKind.PUK)
    token.close()
    token = softhsm_token.open()
    assert token.keys() == []
    token.close()


def test_a_reset_token_is_empty(softhsm_token: Pkcs11Token) -> None:
    token: Any = softhsm_token.open(interaction=person(softhsm_token, "87654321"))
    token.generate(KeySpec(Algorithm.P256))
    token.reset()
    token.unlock()  # sets the first user PIN of the new token
    token.close()
    again: Any = softhsm_token.open(interaction=Scripted({PinKind.USER: "87654321"}))
    assert again.info().label == softhsm_token.label
    assert again.keys() == []
    again.close()


def test_sealed_secrets_open_on_their_own_token_alone(new_softhsm: NewToken) -> None:
    mine: Any = new_softhsm().open()
    other: Any = new_softhsm().open()
    blob = mine.seal(b"secret", b"purpose")
    other.seal(b"x", b"y")  # it has a wrapping key of its own
    assert mine.unseal(blob, b"purpose") == b"secret"
    assert b"secret" not in blob
    for token, sealed, purpose in (
        (other, blob, b"purpose"),
        (mine, blob, b"another"),
        (mine, blob[:-1], b"purpose"),
        (mine, b"", b"purpose"),
    ):
        with pytest.raises(DecryptionFailed):
            token.unseal(sealed, purpose)
    for position in range(len(blob)):
        changed = blob[:position] + bytes([blob[position] ^ 1]) + blob[position + 1 :]
        with pytest.raises(DecryptionFailed):
            mine.unseal(changed, b"purpose")
    with pytest.raises(NotSupported):
        mine.seal(bytes(4097), b"purpose")
    mine.close()
    other.close()


def test_the_wrapping_key_never_leaves(softhsm_token: Pkcs11Token) -> None:
    from meshhw_pkcs11.sealing import _wrapping_keys
    from pkcs11 import Attribute

    token: Any = softhsm_token.open()
    token.seal(b"secret", b"")
    (key,) = token.session.run(_wrapping_keys)
    assert (key[Attribute.SENSITIVE], key[Attribute.EXTRACTABLE]) == (True, False)
    token.close()


def test_data_is_replaced_and_private_data_is_hidden(softhsm_token: Pkcs11Token) -> None:
    token: Any = softhsm_token.open()
    token.store_data("public", b"1", private=False)
    token.store_data("private", b"2")
    token.store_data("private", b"3")
    assert token.load_data("private") == b"3"
    assert list(token.data_names()) == ["private", "public"]
    token.close()
    seen: Any = open_token(softhsm_token.uri, OpenOptions())
    from meshhw_pkcs11 import data

    assert seen.session.run(lambda session: data.load(session, "public"), login=False) == b"1"
    assert seen.session.run(lambda session: data.load(session, "private"), login=False) is None
    seen.close()


def test_the_fault_module_says_why_it_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from meshhw.errors import DriverUnavailable

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DriverUnavailable, match="no cc") as told:
        shim.compiled()
    assert told.value.hint == "apt-get install gcc"
