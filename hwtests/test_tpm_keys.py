"""Keys in a TPM: made, imported, kept, found, used and removed."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from meshhw.algorithms import Algorithm, Operation, PrivateKey, SecretForm
from meshhw.conformance import independent
from meshhw.conformance.model import SEALED
from meshhw.conformance.run import check_token
from meshhw.errors import KeyNotFound, NotSupported, PinRequired, TokenFull, UsageError
from meshhw.keystore import registry
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
    PinPolicy,
    Seals,
    Signs,
    SignsDigest,
    Token,
    TouchPolicy,
)
from meshhw.keystore.interaction import PinKind
from meshhw.keystore.uri import KeyURI, TokenURI
from meshhw.lab.swtpm import SoftwareTpm

P = TypeVar("P")
MESSAGE = b"what is signed"


def power(thing: object, protocol: type[P]) -> P:
    assert isinstance(thing, protocol)
    return thing


def make(token: Token, algorithm: Algorithm = Algorithm.P256, **spec: object) -> Key:
    return power(token, Generates).generate(KeySpec(algorithm, **spec))  # type: ignore[arg-type]  # passed through


@dataclass
class Remembering:
    """A use log in memory."""

    lines: list[tuple[str, Operation, str]] = field(default_factory=list)

    def record(self, key: KeyURI, operation: Operation, result: str) -> None:
        self.lines.append((str(key), operation, result))


def test_every_promise_of_the_conformance_suite_is_kept(swtpm_token: SoftwareTpm) -> None:
    report = check_token(swtpm_token.open())
    assert not report.broken
    assert {row.calls for row in report.measurements if row.algorithm != SEALED} == {3}


def test_the_pin_promise_is_kept_when_there_is_a_pin(swtpm_token: SoftwareTpm) -> None:
    token = swtpm_token.open()
    make(token, pin_policy=PinPolicy.ONCE)
    report = check_token(token, wipe=True)
    assert not report.broken
    assert ("PIN", "kept") in {(verdict.promise.name, verdict.outcome.value) for verdict in report.verdicts}


def test_the_tpm_is_found_by_the_environment_and_by_its_name(
    swtpm_token: SoftwareTpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESHHW_TPM_TCTI", swtpm_token.tcti)
    (info,) = registry.driver("tpm2").tokens()
    assert (info.kind, info.vendor, info.reader) == ("tpm", "IBM", swtpm_token.tcti)
    name = info.uri.get("name")
    by_name = registry.open_token(TokenURI.make("tpm2", name=name))
    assert by_name.info().uri == TokenURI.make("tpm2", name=name)
    assert registry.open_token(TokenURI.make("tpm2")).info().uri.get("name") == name


def test_keys_survive_restart_and_reopening(swtpm_token: SoftwareTpm) -> None:
    token = swtpm_token.open()
    key = make(token, label="mine")
    token.close()
    swtpm_token.restart()
    again = swtpm_token.open().key(key.uri)
    assert again.public == key.public
    independent.check_signature(key.public, MESSAGE, power(again, Signs).sign(MESSAGE))


def test_key_files_are_private_and_named_in_the_uri(swtpm_token: SoftwareTpm, tpm_home: Path) -> None:
    key = make(swtpm_token.open(), label="mine")
    (path,) = tpm_home.rglob("*.pem")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert all(stat.S_IMODE(above.stat().st_mode) == 0o700 for above in (path.parent, path.parent.parent))
    assert path.read_text().startswith("Label: mine\n-----BEGIN TSS2 PRIVATE KEY-----\n")
    assert key.uri.attributes == {"file": path.stem.encode()}


@pytest.mark.parametrize("algorithm", [Algorithm.P256, Algorithm.P384, Algorithm.RSA2048], ids=str)
def test_persistent_keys_work_without_being_loaded(swtpm_token: SoftwareTpm, algorithm: Algorithm) -> None:
    token = swtpm_token.open()
    key = make(token, algorithm, label="stays", place="persistent")
    assert key.uri.attributes == {"handle": b"0x81000100"}
    power(key, Signs).sign(MESSAGE)
    with swtpm_token.proxy.counting() as counts:
        signature = power(key, Signs).sign(MESSAGE)
    assert counts == {"Sign": 1}
    independent.check_signature(key.public, MESSAGE, signature)
    swtpm_token.restart()
    held = swtpm_token.open().keys()
    assert [found.uri for found in held] == [key.uri]
    with pytest.raises(TokenFull):
        make(token, place="0x81000100")
    power(token, Deletes).delete(key.uri)
    assert not token.keys()
    with pytest.raises(KeyNotFound):
        token.key(key.uri)


def test_uses_decide_the_class_of_a_key(swtpm_token: SoftwareTpm) -> None:
    token = swtpm_token.open()
    signer = make(token, uses=frozenset({Operation.SIGN}))
    agreer = make(token, uses=frozenset({Operation.AGREE}))
    assert isinstance(signer, Signs)
    assert isinstance(signer, SignsDigest)
    assert not isinstance(signer, Agrees)
    assert isinstance(agreer, AgreesFully)
    assert not isinstance(agreer, Signs)
    with pytest.raises(UsageError):
        signer.sign_digest(b"short")


def test_rsa_decrypts_and_tells_a_wrong_ciphertext(swtpm_token: SoftwareTpm) -> None:
    from meshhw.errors import DecryptionFailed

    key = make(swtpm_token.open(), Algorithm.RSA2048, uses=frozenset({Operation.DECRYPT}))
    holder = power(key, Decrypts)
    for padding in ("oaep-sha1", "oaep-sha256"):
        ciphertext = independent.encrypt(key.public, MESSAGE, padding)
        assert holder.decrypt(ciphertext, padding) == MESSAGE
        with pytest.raises(DecryptionFailed):
            holder.decrypt(ciphertext[:-1] + bytes([ciphertext[-1] ^ 1]), padding)
    with pytest.raises(DecryptionFailed):
        holder.decrypt(b"short", "oaep-sha1")
    with pytest.raises(NotSupported):
        holder.decrypt(bytes(256), "pkcs1")


@pytest.mark.parametrize("form", list(SecretForm))
def test_imported_scalars_of_both_forms(swtpm_token: SoftwareTpm, form: SecretForm) -> None:
    private, public = independent.fresh_private(Algorithm.P256)
    octets = private.octets if form is SecretForm.SEED else private.octets[::-1]
    token = power(swtpm_token.open(), Imports)
    key = token.import_key(PrivateKey(Algorithm.P256, octets, form), KeySpec(Algorithm.P256))
    assert key.public == public


@pytest.mark.parametrize("octets", [bytes(32), b"\xff" * 32, b"\1" * 31], ids=["zero", "large", "short"])
def test_scalars_out_of_range_are_refused(swtpm_token: SoftwareTpm, octets: bytes) -> None:
    token = power(swtpm_token.open(), Imports)
    with pytest.raises(UsageError):
        token.import_key(PrivateKey(Algorithm.P256, octets), KeySpec(Algorithm.P256))


def test_policies_that_a_tpm_cannot_keep_are_refused(swtpm_token: SoftwareTpm) -> None:
    token = swtpm_token.open()
    for refused in ({"touch_policy": TouchPolicy.ALWAYS}, {"pin_policy": PinPolicy.ALWAYS}):
        with pytest.raises(NotSupported):
            make(token, **refused)
    with pytest.raises(UsageError):
        make(token, place="anywhere")
    with pytest.raises(NotSupported):
        make(token, Algorithm.X25519)
    assert not token.keys()


def test_a_pin_is_asked_once_and_kept_until_close(swtpm_token: SoftwareTpm) -> None:
    options = swtpm_token.options()
    token = registry.open_token(swtpm_token.uri, options)
    key = make(token, label="guarded", pin_policy=PinPolicy.ONCE)
    second = make(token)
    assert [request.new for request in options.interaction.asked] == [True]  # type: ignore[attr-defined]  # Scripted
    assert not key.needs().pin
    token.close()
    opened = registry.open_token(swtpm_token.uri, options)
    found = opened.key(second.uri)
    assert found.needs().pin
    power(found, Signs).sign(MESSAGE)
    power(opened.key(key.uri), Signs).sign(MESSAGE)
    assert len(options.interaction.asked) == 2  # type: ignore[attr-defined]  # Scripted
    with pytest.raises(PinRequired):
        power(registry.open_token(swtpm_token.uri).key(key.uri), Signs).sign(MESSAGE)


def test_keys_without_a_pin_stay_usable_beside_those_with_one(swtpm_token: SoftwareTpm) -> None:
    token = swtpm_token.open()
    make(token, pin_policy=PinPolicy.ONCE)
    free = make(token, pin_policy=PinPolicy.NEVER)
    assert not free.needs().pin
    power(registry.open_token(swtpm_token.uri).key(free.uri), Signs).sign(MESSAGE)


def test_secrets_are_sealed_to_the_tpm(swtpm_token: SoftwareTpm) -> None:
    from meshhw.errors import DecryptionFailed

    sealer = power(swtpm_token.open(), Seals)
    for size in (1, 128, 129, 4096):
        blob = sealer.seal(bytes(size), b"purpose")
        assert sealer.unseal(blob, b"purpose") == bytes(size)
        for broken in (b"", blob[:1], blob[:-1], blob + b"\0", b"\3" + blob[1:]):
            with pytest.raises(DecryptionFailed):
                sealer.unseal(broken, b"purpose")
    for size in (0, 4097):
        with pytest.raises(UsageError):
            sealer.seal(bytes(size), b"purpose")


def test_the_use_log_hears_of_every_operation(swtpm_token: SoftwareTpm) -> None:
    log = Remembering()
    token = registry.open_token(swtpm_token.uri, OpenOptions(recorder=log))
    key = make(token, place=None)
    power(key, Signs).sign(MESSAGE)
    power(key, Agrees).agree(independent.Partner.new(Algorithm.P256).public)
    power(token, Deletes).delete(key.uri)
    with pytest.raises(KeyNotFound):
        power(key, Signs).sign(MESSAGE)
    assert log.lines == [
        (str(key.uri), Operation.GENERATE, "ok"),
        (str(key.uri), Operation.SIGN, "ok"),
        (str(key.uri), Operation.AGREE, "ok"),
        (str(key.uri), Operation.DELETE, "ok"),
        (str(key.uri), Operation.SIGN, "KeyNotFound"),
    ]


def test_a_persistent_key_with_a_pin_forbids_a_change_of_pin(swtpm_token: SoftwareTpm) -> None:
    token = swtpm_token.open()
    free = make(token, place="persistent")
    guarded = make(token, place="persistent", pin_policy=PinPolicy.ONCE)
    independent.check_signature(guarded.public, MESSAGE, power(guarded, Signs).sign(MESSAGE))
    with pytest.raises(NotSupported) as refused:
        power(token, Administers).change_pin(PinKind.USER)
    assert "0x81000101" in refused.value.message
    power(token, Deletes).delete(guarded.uri)
    power(token, Administers).change_pin(PinKind.USER)
    held = token.keys()
    assert [key.uri for key in held] == [free.uri]


def test_reset_leaves_what_others_put_in_the_place_of_our_key(
    swtpm_token: SoftwareTpm, tpm_home: Path
) -> None:
    token = swtpm_token.open()
    theirs = make(token, place="0x81000200")
    (note,) = tpm_home.rglob("81000200.handle")
    note.write_text("000b" + 32 * "00" + "\na key that is there no more\n")
    power(token, Administers).reset()
    held = token.keys()
    assert [key.public for key in held] == [theirs.public]
    assert not note.exists()


def test_reset_destroys_this_homes_keys_alone(swtpm_token: SoftwareTpm, tpm_home: Path) -> None:
    token = swtpm_token.open()
    make(token, pin_policy=PinPolicy.ONCE)
    make(token, place="persistent")
    power(token, Administers).reset()
    assert not token.keys()
    assert not [path for path in tpm_home.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert swtpm_token.open().info().uri == token.info().uri
