"""Tokens whose agreed secrets never leave them unwrap under those secrets themselves: NSS in FIPS mode, which
lets no secret out, and any token that the user has told to keep them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from meshhw_pkcs11 import modules
from pkcs11 import KDF, Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.exceptions import AttributeSensitive, AttributeValueInvalid

from hwtests.test_pkcs11_keys import Recorder, same_id
from meshhw.algorithms import Algorithm, Operation
from meshhw.conformance import independent, key_checks
from meshhw.conformance.model import NotApplicable
from meshhw.conformance.subject import Subject
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.prepare import Outline
from meshhw.dare.read import open_envelope
from meshhw.dare.write import seal
from meshhw.errors import DecryptionFailed, MeshError, NotSupported, TokenFault
from meshhw.keystore.api import Agrees, Imports, KeySpec, Seals, Signs, UnwrapsAgreed
from meshhw.lab import shim
from meshhw.lab.pkcs11_token import Pkcs11Token
from meshhw.lab.shim import Control, Trouble
from meshhw.lab.skipping import or_skip

TEXT = b"opened under a secret that nobody has seen"
INFO = b"meshhw/test/1"
CURVES = (Algorithm.P256, Algorithm.P384)
READABLE = {
    Attribute.TOKEN: False,
    Attribute.PRIVATE: False,
    Attribute.SENSITIVE: False,
    Attribute.EXTRACTABLE: True,
}
KEPT = {Attribute.TOKEN: False, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
Troubled = tuple[Pkcs11Token, Trouble]


@pytest.fixture
def told_token(nss_token: Pkcs11Token) -> Pkcs11Token:
    """An NSS token that lets agreed secrets out, told to keep them."""
    return told(nss_token)


@pytest.fixture
def softhsm_apart(softhsm_token: Pkcs11Token, tmp_path: Path) -> Pkcs11Token:
    """A SoftHSM token behind a module of its own, so that what is told of that holds for nobody else."""
    path = or_skip(lambda: shim.place(softhsm_token.module_path, tmp_path, "told-shim"))
    return replace(softhsm_token, module_path=str(path))


@pytest.fixture(params=["nss_fips", "told"])
def keeping_token(request: pytest.FixtureRequest) -> Pkcs11Token:
    """Each token in turn that keeps agreed secrets."""
    token: Pkcs11Token = request.getfixturevalue(f"{request.param}_token")
    return token


def told(token: Pkcs11Token, word: str = "inside") -> Pkcs11Token:
    """The same token with a line more in a `.module` file of its own."""
    plain = Path(token.module_path)
    lines = plain.read_text() if plain.suffix == ".module" else f"module: {plain}\n"
    file = plain.with_name(f"{token.label}-told.module")
    file.write_text(f"{lines}x-meshhw-agreed-secrets: {word}\n")
    return replace(token, module_path=str(file))


def derived(key: Any, peer: bytes, template: dict[Attribute, Any]) -> Any:
    """A secret that the module derives by ECDH1, asked for by python-pkcs11 alone."""
    arguments = {"mechanism": Mechanism.ECDH1_DERIVE, "mechanism_param": (KDF.NULL, None, peer)}
    return key.derive_key(KeyType.GENERIC_SECRET, 256, capabilities=0, template=template, **arguments)


def test_an_envelope_opens_under_a_secret_that_the_token_gives_to_nobody(nss_fips_token: Pkcs11Token) -> None:
    token: Any = nss_fips_token.open()
    key = token.generate(KeySpec(Algorithm.P256, label="reader"))
    envelope = seal(TEXT, Outline(readers=[RecipientKey(key.public)]))
    peer = independent.Partner.new(Algorithm.P256).public.octets

    def ask(session: Any) -> None:
        own = session.get_key(ObjectClass.PRIVATE_KEY, KeyType.EC)
        with pytest.raises(AttributeValueInvalid):  # the module derives no secret that could be read
            derived(own, peer, READABLE)
        secret = derived(own, peer, KEPT)
        with pytest.raises(AttributeSensitive):
            secret[Attribute.VALUE]
        secret.destroy()

    token.session.run(ask)
    assert open_envelope(envelope, KeyRing([key])).payload == TEXT
    members = dict(envelope.members)
    recipient = dict(members["recipients"][0])
    recipient["wmk"] = ("B" if recipient["wmk"][0] == "A" else "A") + recipient["wmk"][1:]
    changed = type(envelope)(members | {"recipients": [recipient]}, envelope.body, None)
    with pytest.raises(DecryptionFailed):
        open_envelope(changed, KeyRing([key]))
    token.close()


@pytest.mark.parametrize("algorithm", CURVES)
def test_a_token_that_keeps_agreed_secrets_keeps_its_promises(
    keeping_token: Pkcs11Token, algorithm: Algorithm
) -> None:
    token: Any = keeping_token.open()
    subject = Subject.of(token)
    with token.hold():
        key_checks.unwraps(subject, algorithm)
        key_checks.refuses_peers(subject, algorithm)
        key_checks.signs(subject, algorithm)
        with pytest.raises(NotApplicable):
            key_checks.agrees(subject, algorithm)
    token.close()


def test_a_key_unwraps_instead_of_agreeing(keeping_token: Pkcs11Token) -> None:
    token: Any = keeping_token.open()
    both = token.generate(KeySpec(Algorithm.P256))
    reader = token.generate(KeySpec(Algorithm.P384, uses=frozenset({Operation.UNWRAP})))
    assert not any(isinstance(key, Agrees) for key in (both, reader))
    assert all(isinstance(key, UnwrapsAgreed) for key in (both, reader, token.key(both.uri)))
    assert [isinstance(key, Signs) for key in (both, reader)] == [True, False]
    for algorithm in Algorithm:
        assert not token.capabilities().can(algorithm, Operation.AGREE)
        assert token.capabilities().can(algorithm, Operation.UNWRAP) == (algorithm in CURVES)
    with pytest.raises(NotSupported, match="agreed secrets stay inside"):
        token.generate(KeySpec(Algorithm.X25519))
    token.close()


def test_a_token_that_is_not_told_agrees(nss_token: Pkcs11Token) -> None:
    token: Any = told(nss_token, "outside").open()
    key = token.generate(KeySpec(Algorithm.P256))
    assert isinstance(key, Agrees)
    assert not isinstance(key, UnwrapsAgreed)
    token.close()


def test_a_word_that_is_misspelt_lets_nothing_out(nss_token: Pkcs11Token) -> None:
    with pytest.raises(MeshError, match="'insid'"):
        told(nss_token, "insid").open()


def test_a_module_that_cannot_unwrap_within_is_of_no_use_for_agreeing(softhsm_apart: Pkcs11Token) -> None:
    token: Any = told(softhsm_apart).open()
    with pytest.raises(NotSupported, match="agreed secrets stay inside"):
        token.generate(KeySpec(Algorithm.X448))
    key = token.generate(KeySpec(Algorithm.P256))
    assert isinstance(key, Signs)
    assert not isinstance(key, Agrees | UnwrapsAgreed)
    with pytest.raises(NotSupported, match="does not agree"):
        open_envelope(seal(TEXT, Outline(readers=[RecipientKey(key.public)])), KeyRing([key]))
    token.close()


@pytest.mark.parametrize(
    ("code", "function"), [(0x13, "C_DeriveKey"), (0xD1, "C_DeriveKey"), (0x11, "C_GetAttributeValue")]
)
def test_a_token_that_keeps_them_untold_is_told_of(troubled_nss: Troubled, code: int, function: str) -> None:
    lab, trouble = troubled_nss
    token: Any = lab.open()
    key = token.generate(KeySpec(Algorithm.P256))
    key.agree(key.public)
    trouble.fail(code, function, times=100)
    with pytest.raises(NotSupported) as raised:
        key.agree(key.public)
    trouble.clear()
    assert "x-meshhw-agreed-secrets: inside" in str(raised.value.hint)
    assert secrets_of(token) == 0
    token.close()


def test_twins_are_told_apart_without_a_secret(keeping_token: Pkcs11Token) -> None:
    """Two keys of one CKA_ID and label that only unwrap: each proves by that which public half is its own."""
    token: Any = keeping_token.open()
    spec = KeySpec(Algorithm.P256, label="twin", uses=frozenset({Operation.UNWRAP}), reserved=b"one id")
    made = [token.generate(spec), token.generate(replace(spec, reserved=b"its own"))]
    same_id(token, kept=b"one id", changed=b"its own")
    token.close()
    again: Any = keeping_token.open()
    found = again.keys()
    assert {key.public for key in found} == {key.public for key in made}
    for key in found:
        partner = independent.Partner.new(Algorithm.P256)
        assert key.unwrap(partner.public, INFO, partner.wrap(key.public, INFO, TEXT[:32])) == TEXT[:32]
    again.close()


def test_nss_in_fips_mode_takes_nothing_from_outside_and_says_so(nss_fips_token: Pkcs11Token) -> None:
    token: Any = nss_fips_token.open()
    assert not isinstance(token, Imports)
    assert not token.capabilities().seals
    if isinstance(token, Seals):
        with pytest.raises(NotSupported):
            token.seal(b"secret", b"purpose")
    key = token.generate(KeySpec(Algorithm.P256, label="shown"))
    token.close()
    again: Any = nss_fips_token.open()
    assert again.shows_key(key.uri) in (True, None)  # asked without the PIN
    assert again.key(key.uri).public == key.public
    again.close()


def test_a_warm_unwrapping_takes_eight_calls_and_leaves_nothing(troubled_nss_fips: Troubled) -> None:
    lab, _ = troubled_nss_fips
    token: Any = lab.open()
    key, partner = token.generate(KeySpec(Algorithm.P256)), independent.Partner.new(Algorithm.P256)
    wrapped = partner.wrap(key.public, INFO, TEXT[:32])
    key.unwrap(partner.public, INFO, wrapped)
    with control(lab).counted() as calls:
        assert key.unwrap(partner.public, INFO, wrapped) == TEXT[:32]
    assert calls == {
        "C_OpenSession": 1,
        "C_DeriveKey": 2,
        "C_DecryptInit": 1,
        "C_Decrypt": 1,
        "C_DestroyObject": 2,
        "C_CloseSession": 1,
    }
    token.close()


@pytest.mark.parametrize("function", ["C_OpenSession", "C_DeriveKey", "C_DecryptInit", "C_Decrypt"])
def test_nothing_derived_outlives_a_fault(troubled_nss_fips: Troubled, function: str) -> None:
    lab, trouble = troubled_nss_fips
    token: Any = lab.open()
    key, partner = token.generate(KeySpec(Algorithm.P256)), independent.Partner.new(Algorithm.P256)
    wrapped = partner.wrap(key.public, INFO, TEXT[:32])
    before = secrets_of(token)
    trouble.fail(0x30, function)
    with pytest.raises(TokenFault):
        key.unwrap(partner.public, INFO, wrapped)
    with control(lab).counted() as calls, pytest.raises(DecryptionFailed):
        key.unwrap(partner.public, INFO, wrapped[:-1] + bytes([wrapped[-1] ^ 1]))
    assert calls["C_DestroyObject"] == calls["C_DeriveKey"] == 2
    assert calls["C_CloseSession"] == calls["C_OpenSession"] == 1
    assert secrets_of(token) == before == 0
    assert key.unwrap(partner.public, INFO, wrapped) == TEXT[:32]
    token.close()


def test_each_unwrapping_is_logged(nss_fips_token: Pkcs11Token) -> None:
    log = Recorder()
    token: Any = nss_fips_token.open(recorder=log)
    key, partner = token.generate(KeySpec(Algorithm.P256)), independent.Partner.new(Algorithm.P256)
    key.unwrap(partner.public, INFO, partner.wrap(key.public, INFO, TEXT[:32]))
    with pytest.raises(DecryptionFailed):
        key.unwrap(partner.public, INFO, bytes(40))
    token.close()
    assert log.told[1:] == [(Operation.UNWRAP, "ok"), (Operation.UNWRAP, "DecryptionFailed")]


def secrets_of(token: Any) -> int:
    """How many secret key objects any session of this process can see."""
    found: list[Any] = token.session.run(
        lambda session: list(session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY}))
    )
    return len(found)


def control(token: Pkcs11Token) -> Control:
    return Control(shim.control_of(Path(modules.at(token.module_path).path)))
