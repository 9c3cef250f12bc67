"""What the use log hears of a key's whole life, from every driver's emulated token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hwtests.families import FAMILIES
from hwtests.family import Family
from hwtests.test_pkcs11_keys import same_id
from hwtests.threshold_lab import Lab
from meshhw.algorithms import Algorithm, Operation, Suite
from meshhw.errors import DecryptionFailed, KeyNotFound, MeshError, StateError
from meshhw.keystore.api import (
    Administers,
    Attests,
    Deletes,
    Generates,
    Key,
    KeySpec,
    OpenOptions,
    Seals,
    Token,
)
from meshhw.keystore.registry import open_token
from meshhw.keystore.uri import TokenURI
from meshhw.managers.threshold import renew
from meshhw.managers.threshold.provision import Request
from meshhw.managers.threshold.signing import ThresholdSigner
from tests.uses import Log

if TYPE_CHECKING:
    from meshhw.lab.pkcs11_token import Pkcs11Token


MAKING = ("software", "softhsm", "nss", "swtpm", "piv")
"""Whose tokens make keys that sign a message: one and more of each driver."""


@pytest.fixture(params=MAKING)
def family(request: pytest.FixtureRequest) -> Iterator[Family]:
    made = FAMILIES[request.param](request)
    yield made
    made.heal()


@pytest.fixture
def authenticator(request: pytest.FixtureRequest) -> Iterator[Family]:
    made = FAMILIES["ctap"](request)
    yield made
    made.heal()


def destroy(token: Token, key: Key) -> None:
    assert isinstance(token, Deletes)
    token.delete(key.uri)


def test_a_key_is_made_used_and_destroyed(family: Family) -> None:
    log = Log()
    with closing(family.open(recorder=log)) as token:
        subject = family.subject(token)
        key = subject.key
        assert key is not None
        subject.use()
        destroy(token, key)
        with pytest.raises(KeyNotFound):
            destroy(token, key)
        family.pull()
        with pytest.raises(MeshError) as caught:
            family.make_key(token)
        family.put_back()
    uri, token_uri = str(key.uri), str(token.info().uri).partition("?")[0]
    assert log.lines == [
        (uri, "generate", "ok"),
        (uri, "sign", "ok"),
        (uri, "delete", "ok"),
        (uri, "delete", "KeyNotFound"),
        (token_uri, "generate", type(caught.value).__name__),
    ]


def test_a_key_that_cannot_be_recorded_is_not_left_behind(family: Family) -> None:
    log = Log()
    with closing(family.open(recorder=log)) as token:
        before = len(token.keys())
        log.full = True
        with pytest.raises(StateError):
            family.make_key(token)
        log.full = False
        assert len(token.keys()) == before


def test_an_authenticators_key_is_made_and_used(authenticator: Family) -> None:
    log = Log()
    with closing(authenticator.open(recorder=log)) as token:
        subject = authenticator.subject(token)
        subject.use()
    assert [line[1:] for line in log.lines] == [("generate", "ok"), ("unwrap", "ok")]
    assert log.lines[0][0] == log.lines[1][0]


SEALING = ("software", "softhsm", "nss", "opencryptoki", "swtpm", "piv", "ctap")
NAMED = ("piv", "ctap")
"""Whose sealed secrets are opened by a key that has a name; for the others the token stands in its place."""


@pytest.fixture
def token_uri(sealer: Family) -> str:
    with closing(sealer.open()) as token:
        return str(token.info().uri).partition("?")[0]


@pytest.fixture(params=SEALING)
def sealer(request: pytest.FixtureRequest) -> Iterator[Family]:
    made = FAMILIES[request.param](request)
    yield made
    made.heal()


@pytest.fixture
def sealing(sealer: Family) -> Callable[[Log], Token]:
    """Opens the token, which has what it seals to."""

    def opened(log: Log) -> Token:
        token = sealer.open(recorder=log)
        if sealer.uri.scheme == "yubikey":
            sealer.make_key(token)
        assert isinstance(token, Seals)
        return token

    return opened


def test_every_opening_of_a_sealed_secret_is_recorded_once(
    sealer: Family, sealing: Callable[[Log], Token], token_uri: str, request: pytest.FixtureRequest
) -> None:
    log = Log()
    with closing(sealing(log)) as token:
        assert isinstance(token, Seals)
        blob = token.seal(b"secret", b"purpose")
        assert log.of("unwrap") == []
        before = len(log.lines)
        assert token.unseal(blob, b"purpose") == b"secret"
        for sealed, purpose in ((blob, b"another"), (blob[:-1] + bytes([blob[-1] ^ 1]), b"purpose")):
            with pytest.raises(DecryptionFailed):
                token.unseal(sealed, purpose)
        with pytest.raises(DecryptionFailed):
            token.unseal(b"nothing that was ever sealed", b"purpose")
        sealer.pull()
        with pytest.raises(MeshError) as gone:
            token.unseal(blob, b"purpose")
        sealer.put_back()
    named = request.node.callspec.params["sealer"] in NAMED
    by = log.of("unwrap")[0][0]
    assert by.startswith(token_uri)
    assert (by != token_uri) is named
    assert [result for _, result in log.of("unwrap")] == [
        "ok",
        "DecryptionFailed",
        "DecryptionFailed",
        "DecryptionFailed",
        type(gone.value).__name__,
    ]
    assert {name for name, _ in log.of("unwrap")[:3]} <= {by, token_uri}
    assert log.of("unwrap")[3][0] == token_uri
    assert len(log.lines) == before + 5  # the agreement of a card is no second line


def test_a_secret_whose_opening_cannot_be_recorded_is_not_given_out(
    sealer: Family, sealing: Callable[[Log], Token]
) -> None:
    log = Log()
    with closing(sealing(log)) as token:
        assert isinstance(token, Seals)
        blob = token.seal(b"secret", b"purpose")
        log.full = True
        with pytest.raises(StateError, match="the use log cannot be written"):
            token.unseal(blob, b"purpose")


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_softhsm: Callable[[], Pkcs11Token]) -> Lab:
    """Two SoftHSM tokens, a vault, and a device."""
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    return Lab(tmp_path / "home", [new_softhsm(), new_softhsm()])


def name_in_log(uri: TokenURI, options: OpenOptions) -> str:
    with closing(open_token(uri, options)) as token:
        return str(token.info().uri).partition("?")[0]


def test_the_opening_of_a_share_is_recorded_when_it_signs_and_when_it_is_renewed(lab: Lab) -> None:
    log = Log()
    places = [name_in_log(uri, lab.options) for uri in (*lab.uris, lab.vault)]
    loaded = lab.provision(Request(2, [*lab.uris, lab.vault], Suite.S25519, renewable=True))
    lab.options = replace(lab.options, recorder=log)
    ThresholdSigner(loaded, lab.store, lab.options).sign(b"message")
    assert sorted(log.of("unwrap")) == sorted((place, "ok") for place in places[:2])
    log.lines.clear()
    renew.refresh(lab.store, lab.host, lab.options)
    assert sorted(log.of("unwrap")) == sorted((place, "ok") for place in 2 * places)
    log.lines.clear()
    another = lab.vault.get("vault") + "-another"  # type: ignore[operator]
    renew.replace(lab.store, lab.host, lab.options, (3, TokenURI.make("software", vault=another)))
    assert sorted(log.of("unwrap")) == sorted((place, "ok") for place in 2 * places[:2])


def test_a_share_that_its_token_does_not_open_is_recorded(lab: Lab) -> None:
    log = Log()
    lab.provision(Request(2, [*lab.uris, lab.vault], Suite.S25519, encrypts=False))
    lab.options = replace(lab.options, recorder=log)
    name = "signing-1-2"
    blob = lab.store.load(name)
    lab.store.save(name, blob[:-1] + bytes([blob[-1] ^ 1]))
    with pytest.raises(DecryptionFailed):
        renew.refresh(lab.store, lab.host, lab.options)
    assert (name_in_log(lab.uris[1], lab.options), "DecryptionFailed") in log.of("unwrap")


ATTESTING = ("piv", "swtpm")


@pytest.mark.parametrize("family", ATTESTING, indirect=True)
def test_a_statement_about_a_key_is_recorded(family: Family) -> None:
    log = Log()
    with closing(family.open(recorder=log)) as token:
        key = family.make_key(token)
        assert isinstance(token, Attests)
        token.attest(key.uri)
        destroy(token, key)
        with pytest.raises(MeshError):
            token.attest(key.uri)
    assert log.of("attest")[0] == (str(key.uri).partition("?")[0], "ok")


def test_finding_out_which_key_is_whose_is_recorded(pkcs11_token: Pkcs11Token) -> None:
    """Two keys of one label and identifier are told apart by having each sign."""
    log = Log()
    with closing(pkcs11_token.open()) as token:
        assert isinstance(token, Generates)
        for _ in range(2):
            token.generate(KeySpec(Algorithm.P256, label="twin", uses=frozenset({Operation.SIGN})))
        first, second = (key.uri.attributes["id"] for key in list(token.keys()))
        same_id(token, first, second)
        name = str(token.info().uri.key(id=first, object="twin", type="private")).partition("?")[0]
    with closing(pkcs11_token.open(recorder=log)) as token:
        assert len(token.keys()) == 2
    assert set(log.of("sign")) == {(name, "ok")}
    assert len(log.lines) == 4  # each of two keys against each of two public ones


RESETTABLE = ("software", "swtpm", "piv")


@pytest.mark.parametrize("family", RESETTABLE, indirect=True)
def test_the_end_of_all_keys_of_a_token_is_recorded(family: Family) -> None:
    with closing(family.open()) as token:
        family.make_key(token)
    log = Log()
    ends_all_keys(family.open(recorder=log), log)


def test_the_end_of_all_keys_of_a_module_token_is_recorded(softhsm_token: Pkcs11Token) -> None:
    log = Log()
    ends_all_keys(softhsm_token.open(recorder=log), log)


def ends_all_keys(token: Token, log: Log) -> None:
    name = str(token.info().uri).partition("?")[0]
    assert isinstance(token, Administers)
    token.reset()
    token.close()
    assert log.lines == [(name, "delete", "ok")]
