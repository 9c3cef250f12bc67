"""What goes over the wire to a TPM: as few commands as promised, and no secret in the clear."""

from __future__ import annotations

from typing import TypeVar

import pytest

from meshhw.algorithms import Algorithm
from meshhw.conformance import independent
from meshhw.errors import DecryptionFailed, InvalidURI, PinIncorrect, PinRequired, TokenFault, TokenFull
from meshhw.keystore.api import (
    Administers,
    Agrees,
    Attests,
    Decrypts,
    Generates,
    Imports,
    Key,
    KeySpec,
    OpenOptions,
    PinPolicy,
    Seals,
    Signs,
    Token,
)
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.registry import open_token
from meshhw.keystore.uri import TokenURI
from meshhw.lab.swtpm import SoftwareTpm

P = TypeVar("P")
MESSAGE = b"what is signed"
SECRET = b"a secret that nobody on the bus may read"


def power(thing: object, protocol: type[P]) -> P:
    assert isinstance(thing, protocol)
    return thing


def make(token: Token, algorithm: Algorithm = Algorithm.P256, **spec: object) -> Key:
    return power(token, Generates).generate(KeySpec(algorithm, **spec))  # type: ignore[arg-type]  # passed through


def opened(tpm: SoftwareTpm, **query: str) -> Token:
    return open_token(TokenURI.make("tpm2", query, tcti=tpm.tcti), tpm.options())


# Promise: Load, Sign and Flush at most; with a persistent key Sign alone.


@pytest.mark.parametrize("pin", [PinPolicy.NEVER, PinPolicy.ONCE])
@pytest.mark.parametrize("algorithm", [Algorithm.P256, Algorithm.P384, Algorithm.RSA2048], ids=str)
def test_warm_signature_and_agreement(swtpm_token: SoftwareTpm, algorithm: Algorithm, pin: PinPolicy) -> None:
    key = make(swtpm_token.open(), algorithm, pin_policy=pin)
    power(key, Signs).sign(MESSAGE)
    with swtpm_token.proxy.counting() as counts:
        power(key, Signs).sign(MESSAGE)
    assert counts == {"Load": 1, "Sign": 1, "FlushContext": 1}
    if not isinstance(key, Agrees):
        return
    peer = independent.Partner.new(algorithm).public
    key.agree(peer)
    with swtpm_token.proxy.counting() as counts:
        key.agree(peer)
    assert counts == {"Load": 1, "ECDH_ZGen": 1, "FlushContext": 1}


def test_cold_signature_and_what_a_persistent_primary_saves(swtpm_token: SoftwareTpm) -> None:
    key = make(swtpm_token.open())
    with swtpm_token.proxy.counting() as counts:
        token = open_token(key.uri.token)
        power(token.key(key.uri), Signs).sign(MESSAGE)
        token.close()
    assert counts["CreatePrimary"] == 1
    assert sum(counts.values()) <= 8
    kept = make(swtpm_token.open(), place="persistent")
    with swtpm_token.proxy.counting() as counts:
        power(kept, Signs).sign(MESSAGE)
    assert counts == {"Sign": 1}


def test_the_storage_primary_becomes_persistent_on_request(swtpm_token: SoftwareTpm) -> None:
    plain = swtpm_token.open()
    key = make(plain)
    plain.close()
    opened(swtpm_token, primary="persistent").close()
    opened(swtpm_token, primary="persistent").close()
    assert swtpm_token.loaded() == 0
    swtpm_token.restart()
    with swtpm_token.proxy.counting() as counts:
        power(open_token(key.uri.token).key(key.uri), Signs).sign(MESSAGE)
    assert "CreatePrimary" not in counts
    assert swtpm_token.loaded() == 0  # no slot is spent on it
    swtpm_token.own("owner's word")  # and the owner's password is not needed for it any more
    independent.check_signature(
        key.public, MESSAGE, power(open_token(swtpm_token.uri).key(key.uri), Signs).sign(MESSAGE)
    )


def test_a_taken_handle_is_not_overwritten(swtpm_token: SoftwareTpm) -> None:
    taken = make(swtpm_token.open(), place="0x81000001")
    with pytest.raises(TokenFull):
        opened(swtpm_token, primary="persistent")
    assert swtpm_token.open().key(taken.uri).public == taken.public


# Promise: secrets travel encrypted, unless the token's URI says otherwise.


@pytest.mark.parametrize("sessions", ["on", "off"])
def test_an_eavesdropper_learns_nothing(swtpm_token: SoftwareTpm, sessions: str) -> None:
    partner = independent.Partner.new(Algorithm.P256)
    private, _ = independent.fresh_private(Algorithm.P256)
    with swtpm_token.proxy.listening() as heard:
        token = opened(swtpm_token, sessions=sessions)
        key = make(token, pin_policy=PinPolicy.ONCE)
        power(key, Signs).sign(MESSAGE)
        shared = power(key, Agrees).agree(partner.public)
        sealer = power(token, Seals)
        sealer.unseal(sealer.seal(SECRET, b"purpose"), b"purpose")
        rsa = make(token, Algorithm.RSA2048, pin_policy=PinPolicy.ONCE)
        ciphertext = independent.encrypt(rsa.public, MESSAGE, "oaep-sha256")
        assert power(rsa, Decrypts).decrypt(ciphertext, "oaep-sha256") == MESSAGE
        power(token, Imports).import_key(private, KeySpec(Algorithm.P256))
        power(token, Attests).attest(key.uri)
    everything = b"\n".join(heard)
    secrets = (swtpm_token.pin.encode(), shared, SECRET, MESSAGE)
    assert [secret in everything for secret in secrets] == [sessions == "off"] * len(secrets)
    assert private.octets not in everything


@pytest.mark.parametrize("switch", ["sessions", "primary"])
def test_the_switches_are_strict(switch: str) -> None:
    with pytest.raises(InvalidURI):
        open_token(TokenURI.make("tpm2", {switch: "maybe"}, tcti="none"))


# Promise: what is bound to the machine's measurements opens under these alone.


def extend(tpm: SoftwareTpm, pcr: int) -> None:
    """Change a PCR, as another boot would."""
    from tpm2_pytss import ESAPI, ESYS_TR, TPM2_ALG, TPML_DIGEST_VALUES, TPMT_HA, TPMU_HA

    with ESAPI(tpm.direct) as esapi:
        value = TPMT_HA(hashAlg=TPM2_ALG.SHA256, digest=TPMU_HA(sha256=b"\1" * 32))
        esapi.pcr_extend(ESYS_TR(pcr), TPML_DIGEST_VALUES([value]))


@pytest.mark.parametrize("size", [32, 1000])
def test_sealed_to_pcrs(swtpm_token: SoftwareTpm, size: int) -> None:
    sealer = power(opened(swtpm_token, pcrs="sha256:0,16"), Seals)
    blob = sealer.seal(bytes(size), b"purpose")
    assert sealer.unseal(blob, b"purpose") == bytes(size)
    assert power(swtpm_token.open(), Seals).unseal(blob, b"purpose") == bytes(size)
    with pytest.raises(DecryptionFailed):
        sealer.unseal(blob, b"another")
    extend(swtpm_token, 16)
    with pytest.raises(DecryptionFailed) as refused:
        sealer.unseal(blob, b"purpose")
    assert "PCR" in refused.value.message
    swtpm_token.restart()
    assert sealer.unseal(blob, b"purpose") == bytes(size)
    assert swtpm_token.loaded() == 1


@pytest.mark.parametrize("pin", [PinPolicy.NEVER, PinPolicy.ONCE])
def test_keys_bound_to_pcrs(swtpm_token: SoftwareTpm, pin: PinPolicy) -> None:
    key = make(opened(swtpm_token, pcrs="sha256:16"), pin_policy=pin)
    token = swtpm_token.open()
    found = token.key(key.uri)
    independent.check_signature(key.public, MESSAGE, power(found, Signs).sign(MESSAGE))
    if pin is PinPolicy.ONCE:
        wrong = open_token(swtpm_token.uri, OpenOptions(interaction=Scripted({PinKind.USER: "wrong"})))
        with pytest.raises(PinIncorrect):
            power(wrong.key(key.uri), Signs).sign(MESSAGE)
    extend(swtpm_token, 16)
    with pytest.raises(TokenFault) as refused:
        power(found, Signs).sign(MESSAGE)
    assert refused.value.hint
    assert swtpm_token.loaded() <= 2


@pytest.mark.parametrize("text", ["sha256", "sha256:", "sha256:24", "sha256:x", "md5:1", "sha256:1,", ":1"])
def test_selections_of_pcrs_are_parsed_strictly(text: str) -> None:
    with pytest.raises(InvalidURI):
        open_token(TokenURI.make("tpm2", {"pcrs": text}, tcti="none"))


# Promise: an owner's password is asked for where the TPM has one, and never travels.


def test_a_tpm_whose_owner_has_a_password(swtpm_token: SoftwareTpm) -> None:
    key = make(swtpm_token.open())
    swtpm_token.own("owner's word")
    swtpm_token.restart()
    with pytest.raises(PinRequired):
        open_token(swtpm_token.uri)
    for wrong, error in (("nonsense", PinIncorrect), ("owner's word", None)):
        person = Scripted({PinKind.MANAGEMENT: wrong})
        with swtpm_token.proxy.listening() as heard:
            if error is not None:
                with pytest.raises(error):
                    open_token(swtpm_token.uri, OpenOptions(interaction=person))
                continue
            token = open_token(swtpm_token.uri, OpenOptions(interaction=person))
            independent.check_signature(key.public, MESSAGE, power(token.key(key.uri), Signs).sign(MESSAGE))
        assert b"owner's word" not in b"".join(heard)


def test_the_lock_out_password_is_asked_for_once_it_is_set(swtpm_token: SoftwareTpm) -> None:
    token = swtpm_token.open()
    power(token, Administers).change_pin(PinKind.SO)
    swtpm_token.pin = "x"
    with pytest.raises(PinIncorrect):
        power(swtpm_token.open(), Administers).unlock()
    with pytest.raises(PinRequired):
        power(open_token(swtpm_token.uri), Administers).unlock()
