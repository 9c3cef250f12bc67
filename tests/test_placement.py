"""Placement: suites by what tokens do natively, and no step down without a word."""

from __future__ import annotations

import pytest

from meshhw.algorithms import Algorithm, Operation, Suite, Tier
from meshhw.errors import NotSupported, UsageError
from meshhw.keystore.api import Capabilities, TokenInfo
from meshhw.keystore.placement import Offer, Role, Wish, place
from meshhw.keystore.uri import TokenURI

SIGN, AGREE = Operation.SIGN, Operation.AGREE
ROLES = (Role("profile-signature", SIGN), Role("encryption", AGREE))


def offer(name: str, *algorithms: Algorithm, seals: bool = False, imports: bool = True) -> Offer:
    operations = {Operation.GENERATE, SIGN, AGREE} | ({Operation.IMPORT} if imports else set())
    matrix = {
        (algorithm, operation): Tier.NATIVE
        for algorithm in algorithms
        for operation in operations
        if not ((operation is SIGN and not algorithm.signs) or (operation is AGREE and not algorithm.agrees))
    }
    uri = TokenURI.make("pkcs11", token=name)
    return Offer(TokenInfo(uri, "pkcs11", "hsm", label=name), Capabilities(matrix, seals=seals))


def vault() -> Offer:
    matrix = {(a, o): Tier.SOFTWARE for a in Algorithm for o in Operation}
    return Offer(
        TokenInfo(TokenURI.make("software"), "software", "vault", label="vault"), Capabilities(matrix)
    )


EVERYTHING = offer("hsm", *Algorithm)
YUBIKEY = offer("yubikey", Algorithm.ED25519, Algorithm.X25519, Algorithm.P256)
TPM = offer("tpm", Algorithm.P256, seals=True)
RSA_ONLY = offer("rsa", Algorithm.RSA2048)
KEYLESS = offer("fido", seals=True)


@pytest.mark.parametrize(
    ("token", "suite"), [(EVERYTHING, Suite.S448), (YUBIKEY, Suite.S25519), (TPM, Suite.P256)]
)
def test_the_strongest_native_suite_is_chosen(token: Offer, suite: Suite) -> None:
    plan = place(Wish(ROLES, [token], vault(), require_hardware=True))
    assert plan.suite is suite
    assert plan.told == ()
    assert {item.tier for item in plan.places} == {Tier.NATIVE}
    assert [item.algorithm for item in plan.places] == [suite.signature, suite.agreement]


def test_roles_go_to_the_first_token_that_can() -> None:
    plan = place(Wish(ROLES, [offer("signer", Algorithm.ED448), EVERYTHING], vault()))
    assert [item.token.label for item in plan.places] == ["signer", "hsm"]


def test_a_named_token_is_taken_for_its_role() -> None:
    plan = place(Wish(ROLES, [EVERYTHING], vault(), assigned={"encryption": YUBIKEY}))
    assert plan.suite is Suite.S25519
    assert [item.token.label for item in plan.places] == ["hsm", "yubikey"]
    with pytest.raises(UsageError, match="no role 'encrypt'"):
        place(Wish(ROLES, [EVERYTHING], vault(), assigned={"encrypt": YUBIKEY}))


def test_a_suite_that_the_token_lacks_is_sealed_or_software_and_told() -> None:
    sealed = place(Wish(ROLES, [TPM], vault(), suite=Suite.S448))
    assert [(item.tier, item.sealed_by) for item in sealed.places] == [(Tier.SEALED, TPM.info.uri)] * 2
    assert "tpm cannot make and use a key of Ed448; the key is kept sealed by it" in sealed.told[0]
    software = place(Wish(ROLES, [YUBIKEY], vault(), suite=Suite.S448))
    assert [item.tier for item in software.places] == [Tier.SOFTWARE] * 2
    assert all(line.endswith("the key goes to the software vault") for line in software.told)


@pytest.mark.parametrize("token", [RSA_ONLY, KEYLESS])
def test_required_hardware_refuses_what_no_token_holds(token: Offer) -> None:
    with pytest.raises(NotSupported, match=f"{token.name} cannot make"):
        place(Wish(ROLES, [token], vault(), require_hardware=True))


def test_required_hardware_refuses_to_work_without_a_token() -> None:
    with pytest.raises(NotSupported, match="no token is there"):
        place(Wish(ROLES, [], vault(), require_hardware=True))
    with pytest.raises(NotSupported):
        place(Wish(ROLES, [vault()], vault(), require_hardware=True))


def test_without_a_token_the_vault_is_told_and_when_named_it_is_not() -> None:
    assert place(Wish(ROLES, [], vault())).told == (
        "profile-signature, encryption: no token is there; the key goes to the software vault",
    )
    named = place(Wish(ROLES, [vault()], vault()))
    assert named.told == ()
    assert named.suite is Suite.S448


def test_a_seed_derived_ed448_key_stays_outside_and_the_reason_is_given() -> None:
    sealing = offer("hsm", *Algorithm, seals=True)
    plan = place(Wish(ROLES, [sealing], vault(), suite=Suite.S448, imported=True))
    assert [item.tier for item in plan.places] == [Tier.SEALED, Tier.NATIVE]
    with pytest.raises(NotSupported, match="56") as caught:
        place(Wish(ROLES, [sealing], vault(), suite=Suite.S448, imported=True, require_hardware=True))
    assert "--from-seed" in caught.value.hint
    assert place(Wish(ROLES, [sealing], vault(), imported=True)).suite is Suite.S448
    assert place(Wish(ROLES, [sealing], vault(), imported=True, require_hardware=True)).suite is Suite.S25519


def test_a_token_that_cannot_import_takes_no_seed() -> None:
    with pytest.raises(NotSupported, match="cannot import and use a key of"):
        place(
            Wish(
                ROLES, [offer("n", *Algorithm, imports=False)], vault(), imported=True, require_hardware=True
            )
        )


def test_a_token_that_lets_no_agreed_secret_out_is_told_of() -> None:
    signer = offer("fips", Algorithm.P256, imports=False)
    matrix = {
        (algorithm, Operation.UNWRAP if operation is AGREE else operation): tier
        for (algorithm, operation), tier in signer.capabilities.matrix.items()
    }
    keeps = Offer(signer.info, Capabilities(matrix))
    plan = place(Wish(ROLES, [keeps], vault(), suite=Suite.P256))
    assert [item.token.label for item in plan.places] == ["fips", "vault"]
    assert plan.told == (
        "encryption: fips lets no agreed secret out, and a profile's P-256 key needs it; "
        "the key goes to the software vault",
    )
