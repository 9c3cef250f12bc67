"""The vault as a token: conformance, names, the passphrase, the use log."""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from meshhw_software.driver import SoftwareDriver
from meshhw_software.token import VaultToken

from meshhw.algorithms import Algorithm, Operation, PrivateKey, Tier
from meshhw.conformance.run import check_token
from meshhw.errors import (
    Ambiguous,
    KeyNotFound,
    MeshError,
    NotSupported,
    PinIncorrect,
    PinRequired,
    TokenNotFound,
    UsageError,
)
from meshhw.keystore.api import (
    Administers,
    Agrees,
    AgreesFully,
    Decrypts,
    Deletes,
    Generates,
    Imports,
    Key,
    KeySpec,
    OpenOptions,
    Seals,
    Signs,
    SignsDigest,
    StoresData,
    Token,
    TouchPolicy,
)
from meshhw.keystore.interaction import PinKind, PinRequest, Scripted
from meshhw.keystore.uri import KeyURI, TokenURI

OpenVault = Callable[..., VaultToken]


def test_every_promise_that_applies_is_kept(open_vault: OpenVault) -> None:
    report = check_token(open_vault())
    assert report.broken == []
    signed = {measured.algorithm for measured in report.measurements if measured.operation is Operation.SIGN}
    assert signed == {algorithm for algorithm in Algorithm if algorithm.signs}


def test_it_has_the_powers_that_it_claims(open_vault: OpenVault) -> None:
    token = open_vault()
    for power in (Token, Generates, Imports, Deletes, Seals, StoresData, Administers):
        assert isinstance(token, power)
    assert set(token.capabilities().matrix.values()) == {Tier.SOFTWARE}


@pytest.mark.parametrize(
    ("algorithm", "uses", "can", "cannot"),
    [
        (Algorithm.ED448, (), (Signs,), (Agrees, SignsDigest, Decrypts)),
        (Algorithm.X448, (), (Agrees, AgreesFully), (Signs, SignsDigest)),
        (Algorithm.P256, (), (Signs, SignsDigest, Agrees, AgreesFully), (Decrypts,)),
        (Algorithm.P384, (Operation.SIGN,), (Signs, SignsDigest), (Agrees, AgreesFully)),
        (Algorithm.P256, (Operation.AGREE,), (Agrees, AgreesFully), (Signs, SignsDigest)),
        (Algorithm.RSA2048, (Operation.DECRYPT,), (Decrypts,), (Signs, Agrees)),
    ],
)
def test_a_key_has_the_methods_of_its_uses_and_no_others(
    open_vault: OpenVault,
    algorithm: Algorithm,
    uses: tuple[Operation, ...],
    can: tuple[type, ...],
    cannot: tuple[type, ...],
) -> None:
    key = open_vault().generate(KeySpec(algorithm, uses=frozenset(uses)))
    assert isinstance(key, Key)
    assert all(isinstance(key, power) for power in can)
    assert not any(isinstance(key, power) for power in cannot)


def test_a_use_that_the_algorithm_does_not_have_is_refused(open_vault: OpenVault) -> None:
    with pytest.raises(NotSupported):
        open_vault().generate(KeySpec(Algorithm.X25519, uses=frozenset({Operation.SIGN})))
    with pytest.raises(NotSupported, match="touch"):
        open_vault().generate(KeySpec(Algorithm.X25519, touch_policy=TouchPolicy.ALWAYS))


def test_keys_are_listed_without_the_passphrase(open_vault: OpenVault) -> None:
    made = open_vault().generate(KeySpec(Algorithm.ED25519, label="mail"))
    nobody = Scripted()
    (found,) = open_vault(asked=nobody).keys()
    assert (found.uri, found.public, found.algorithm, found.label) == (
        made.uri,
        made.public,
        Algorithm.ED25519,
        "mail",
    )
    assert found.needs().pin
    assert nobody.asked == []


def test_the_passphrase_is_asked_once(open_vault: OpenVault) -> None:
    open_vault().generate(KeySpec(Algorithm.ED25519))
    person = Scripted({PinKind.VAULT: "correct horse"})
    (key,) = open_vault(asked=person).keys()
    assert isinstance(key, Signs)
    key.sign(b"1")
    key.sign(b"2")
    assert [(request.kind, request.new) for request in person.asked] == [(PinKind.VAULT, False)]
    assert not key.needs().pin


def test_after_close_it_is_asked_again(open_vault: OpenVault) -> None:
    person = Scripted({PinKind.VAULT: "correct horse"})
    token = open_vault(asked=person)
    key = token.generate(KeySpec(Algorithm.ED25519))
    assert isinstance(key, Signs)
    token.close()
    token.close()
    key.sign(b"m")
    assert [request.new for request in person.asked] == [True, False]


def test_a_wrong_passphrase_never_locks(open_vault: OpenVault) -> None:
    made = open_vault().generate(KeySpec(Algorithm.P256))
    for _ in range(3):
        key = open_vault(passphrase="wrong").key(made.uri)
        assert isinstance(key, Signs)
        with pytest.raises(PinIncorrect) as caught:
            key.sign(b"m")
        assert caught.value.retries_left is None
    right = open_vault().key(made.uri)
    assert isinstance(right, Signs)
    assert len(right.sign(b"m")) == 64


def test_a_wrong_passphrase_is_not_kept(open_vault: OpenVault) -> None:
    made = open_vault().generate(KeySpec(Algorithm.ED25519))
    answers = ["wrong", "correct horse"]
    key = open_vault(asked=Scripted(lambda request: answers.pop(0))).key(made.uri)
    assert isinstance(key, Signs)
    with pytest.raises(PinIncorrect):
        key.sign(b"m")
    assert len(key.sign(b"m")) == 64


def test_without_anybody_to_ask_nothing_is_made(open_vault: OpenVault, home: Path) -> None:
    with pytest.raises(PinRequired):
        open_vault(asked=Scripted()).generate(KeySpec(Algorithm.ED25519))
    assert not (home / "vault" / "vault.box").exists()


def test_an_empty_passphrase_is_refused(open_vault: OpenVault) -> None:
    with pytest.raises(UsageError):
        open_vault(passphrase="").generate(KeySpec(Algorithm.ED25519))


def test_a_passphrase_is_the_same_in_every_unicode_form(open_vault: OpenVault) -> None:
    open_vault(passphrase="caf\u00e9").seal(b"s", b"p")
    blob = open_vault(passphrase="cafe\u0301").seal(b"secret", b"p")
    assert open_vault(passphrase="caf\u00e9").unseal(blob, b"p") == b"secret"


def test_the_passphrase_changes_and_the_keys_stay(open_vault: OpenVault) -> None:
    made = open_vault().generate(KeySpec(Algorithm.ED448))

    def answer(request: PinRequest) -> str:
        return "new one" if request.new else "correct horse"

    open_vault(asked=Scripted(answer)).change_pin(PinKind.VAULT)
    old, new = open_vault().key(made.uri), open_vault(passphrase="new one").key(made.uri)
    assert isinstance(old, Signs)
    assert isinstance(new, Signs)
    with pytest.raises(PinIncorrect):
        old.sign(b"m")
    assert len(new.sign(b"m")) == 114


def test_a_change_with_the_wrong_passphrase_changes_nothing(open_vault: OpenVault, home: Path) -> None:
    open_vault().seal(b"s", b"p")
    before = (home / "vault" / "vault.box").read_bytes()
    with pytest.raises(PinIncorrect):
        open_vault(passphrase="wrong").change_pin(PinKind.VAULT)
    with pytest.raises(NotSupported):
        open_vault().change_pin(PinKind.PUK)
    assert (home / "vault" / "vault.box").read_bytes() == before


def test_a_key_is_found_by_uri_alone_or_not_at_all(open_vault: OpenVault, tmp_path: Path) -> None:
    token = open_vault()
    with pytest.raises(KeyNotFound):
        token.key(KeyURI.parse("software:"))
    one = token.generate(KeySpec(Algorithm.ED25519))
    assert token.key(KeyURI.parse("software:")).uri == one.uri
    assert KeyURI.parse(str(one.uri)) == one.uri
    token.generate(KeySpec(Algorithm.ED25519))
    with pytest.raises(Ambiguous) as caught:
        token.key(KeyURI.parse("software:"))
    assert str(one.uri) in caught.value.candidates
    with pytest.raises(KeyNotFound):
        token.key(KeyURI.make("software", id=bytes(8)))
    with pytest.raises(KeyNotFound):
        token.key(KeyURI.make("software", id=b"../../../vault"))
    with pytest.raises(KeyNotFound):
        token.delete(KeyURI.make("software", id=bytes(1000)))
    with pytest.raises(KeyNotFound):
        token.key(KeyURI.make("software", vault=str(tmp_path), id=bytes(8)))


def test_a_key_deleted_by_somebody_else_is_gone(open_vault: OpenVault) -> None:
    here, there = open_vault(), open_vault()
    key = here.generate(KeySpec(Algorithm.ED25519))
    assert isinstance(key, Signs)
    key.sign(b"m")
    there.delete(key.uri)
    with pytest.raises(KeyNotFound):
        key.sign(b"m")
    with pytest.raises(KeyNotFound):
        there.delete(key.uri)


def test_a_vault_by_its_path(open_vault: OpenVault, tmp_path: Path) -> None:
    uri = TokenURI.make("software", vault=str(tmp_path / "other vault;1"))
    key = open_vault(str(uri)).generate(KeySpec(Algorithm.X25519))
    assert key.uri.token == uri
    assert open_vault(str(uri), asked=Scripted()).key(key.uri).public == key.public
    assert open_vault().keys() == []
    with pytest.raises(TokenNotFound):
        open_vault(f"software:vault={tmp_path}/no/where").generate(KeySpec(Algorithm.X25519))


def test_discovery_tells_whether_the_vault_was_made(open_vault: OpenVault, driver: SoftwareDriver) -> None:
    (before,) = driver.tokens()
    open_vault().store_data("a", b"1")
    (after,) = driver.tokens()
    assert (before.initialised, after.initialised) == (False, True)
    assert str(after.uri) == "software:"
    assert open_vault().info() == after


def test_files_are_private(open_vault: OpenVault, home: Path) -> None:
    token = open_vault()
    token.generate(KeySpec(Algorithm.ED25519))
    token.store_data("name", b"data")
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [home, *home.rglob("*")]}
    assert all(mode == (0o700 if path.is_dir() else 0o600) for path, mode in modes.items())


def test_no_secret_is_in_clear_on_disk(open_vault: OpenVault, home: Path) -> None:
    token = open_vault()
    octets = bytes(range(32))
    token.import_key(PrivateKey(Algorithm.ED25519, octets), KeySpec(Algorithm.ED25519))
    token.store_data("name", b"the private data")
    written = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert octets not in written
    assert b"the private data" not in written
    assert b"correct horse" not in written


def test_data_is_kept_private_or_public(open_vault: OpenVault) -> None:
    token = open_vault()
    token.store_data("note/../1", b"one")
    token.store_data("note/../1", b"two")
    token.store_data("open", b"to all", private=False)
    shut = open_vault(asked=Scripted())
    assert shut.data_names() == ["note/../1", "open"]
    assert shut.load_data("open") == b"to all"
    assert shut.load_data("absent") is None
    with pytest.raises(PinRequired):
        shut.load_data("note/../1")
    assert token.load_data("note/../1") == b"two"
    token.delete_data("open")
    token.delete_data("open")
    assert token.data_names() == ["note/../1"]
    with pytest.raises(UsageError):
        token.store_data("", b"")


class Recorder:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[KeyURI, Operation, str]] = []

    def record(self, key: KeyURI, operation: Operation, result: str) -> None:
        self.told.append((key, operation, result))


def test_every_use_is_recorded_with_its_result(open_vault: OpenVault) -> None:
    recorder = Recorder()
    token = open_vault(recorder=recorder)
    key = token.generate(KeySpec(Algorithm.P256))
    assert isinstance(key, SignsDigest)
    key.sign_digest(bytes(32))
    with pytest.raises(UsageError):
        key.sign_digest(bytes(31))
    assert recorder.told == [
        (key.uri, Operation.GENERATE, "ok"),
        (key.uri, Operation.SIGN_DIGEST, "ok"),
        (key.uri, Operation.SIGN_DIGEST, "UsageError"),
    ]


def test_reset_leaves_an_empty_place(open_vault: OpenVault, home: Path) -> None:
    token = open_vault()
    key = token.generate(KeySpec(Algorithm.ED25519))
    token.reset()
    assert token.keys() == []
    assert not (home / "vault" / "vault.box").exists()
    other = open_vault(passphrase="another")
    other.generate(KeySpec(Algorithm.ED25519))
    with pytest.raises(MeshError):
        other.key(key.uri)


def test_threads_share_a_token(open_vault: OpenVault) -> None:
    person = Scripted({PinKind.VAULT: "correct horse"})
    token = open_vault(asked=person)
    made: list[Key] = []

    def work() -> None:
        key = token.generate(KeySpec(Algorithm.ED25519))
        assert isinstance(key, Signs)
        assert len(key.sign(b"m")) == 64
        made.append(key)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({str(key.uri) for key in made}) == 4
    assert len(person.asked) == 1


def test_it_is_found_through_the_registry(home: Path) -> None:
    from meshhw.keystore import registry

    token = registry.open_token(registry.find_token("software:"), OpenOptions())
    assert token.info().kind == "vault"
    assert token.keys() == []
