"""TPM 2.0 key files and public areas: what is read, what is written, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from meshhw_tpm.errors import TABLE, fold, tpm_code
from meshhw_tpm.keyfile import SEALED, KeyFile, PolicyStep, from_der, from_pem, to_der, to_pem
from meshhw_tpm.policy import CC_POLICY_AUTH_VALUE, CC_POLICY_PCR, Pcrs, policy_digest

from meshhw.algorithms import Algorithm
from meshhw.errors import FormatError, MeshError, NotSupported, TokenFault, TokenRemoved
from meshhw.keystore.attestation_tpm import parse_certified, split_statement
from meshhw.keystore.tpm_public import Attributes, parse_public, parse_sized_public

FILES = json.loads((Path(__file__).parent / "vectors/tpm_key_files.json").read_text())["files"]
FIRST = from_pem(FILES[0]["pem"].encode())
TRUTH = to_der(FIRST).index(b"\1\1\xff") + 2  # any octet but zero is true: tpm2-tools write 1
WRONG_KIND = bytes.fromhex("6781050a0104")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file["program"])
def test_files_of_other_programs(file: dict[str, object]) -> None:
    found = from_pem(str(file["pem"]).encode())
    assert (found.empty_auth, found.parent, found.label) == (file["empty_auth"], file["parent"], "")
    assert found.area.attributes == file["attributes"]
    assert found.area.public is not None
    assert found.area.public.algorithm is Algorithm.P256
    assert found.area.has(Attributes.SIGN | Attributes.DECRYPT)
    assert from_pem(to_pem(found)) == found


@pytest.mark.parametrize(
    "key",
    [
        FIRST,
        replace(FIRST, empty_auth=False, label="Alice's"),
        replace(FIRST, parent=0x81000001, kind=SEALED),
        replace(FIRST, policy=(PolicyStep(CC_POLICY_PCR, b"\0" * 40), PolicyStep(CC_POLICY_AUTH_VALUE))),
    ],
    ids=["plain", "with a PIN", "sealed", "with a policy"],
)
def test_what_is_written_is_read_back(key: KeyFile) -> None:
    assert from_pem(to_pem(key)) == key


def test_a_label_cannot_forge_the_file() -> None:
    forged = replace(FIRST, label="x\n-----BEGIN TSS2 PRIVATE KEY-----\nAAAA")
    assert from_pem(to_pem(replace(forged, label="a\nb"))).label == "a?b"
    with pytest.raises(FormatError):
        from_pem(to_pem(forged))


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300))
def test_no_octets_crash_the_readers(octets: bytes) -> None:
    for read in (from_der, from_pem, parse_public, parse_sized_public, split_statement, parse_certified):
        with pytest.raises(MeshError):
            read(octets)


@settings(deadline=None, max_examples=200)
@given(st.integers(0, len(to_der(FIRST)) - 1), st.integers(1, 255))
def test_a_changed_octet_is_read_or_refused(position: int, change: int) -> None:
    octets = bytearray(to_der(FIRST))
    octets[position] ^= change
    for candidate in (bytes(octets), bytes(octets[:position])):
        try:
            found = from_der(candidate)
        except (FormatError, NotSupported):
            continue
        assert found != FIRST or position == TRUTH


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", WRONG_KIND),
        ("kind", b"\x2a"),
        ("public", b"\0\0"),
        ("public", b"\xff" * 20),
    ],
)
def test_what_is_not_known_is_refused(field: str, value: bytes) -> None:
    with pytest.raises((NotSupported, FormatError)):
        from_der(to_der(replace(FIRST, **{field: value})))


def test_sizes_are_bounded() -> None:
    with pytest.raises(FormatError):
        from_der(bytes(20000))
    with pytest.raises(FormatError):
        from_pem(b"-" * 40000)
    with pytest.raises(FormatError):
        parse_public(bytes(3000))
    with pytest.raises(FormatError):
        from_der(to_der(replace(FIRST, policy=(PolicyStep(1),) * 9)))


def test_policy_digests() -> None:
    """Part 3's formulas; the values are those that a TPM computed for the same commands."""
    assert policy_digest(()) == b""
    auth_value = policy_digest((PolicyStep(CC_POLICY_AUTH_VALUE),))
    assert auth_value.hex() == "8fcd2169ab92694e0c633f1ab772842b8241bbc20288981fc7ac1eddc1fddb0e"
    assert Pcrs.parse("sha256:7,0").marshalled().hex() == "00000001000b03810000"


@pytest.mark.parametrize("rc", sorted({0x8E, 0x98E, 0x38E, 0x5CE, 0xB098E}))
def test_what_a_code_is_about_does_not_change_its_meaning(rc: int) -> None:
    code = tpm_code(rc)
    assert code == 0x8E
    assert type(fold(rc)) is TABLE[0x8E].kind
    assert fold(rc).code is not None


def test_codes_of_other_layers() -> None:
    assert isinstance(fold(0xA000A), TokenRemoved)
    assert isinstance(fold(0x70007), TokenFault)
    assert tpm_code(0x70007) is None


@given(st.integers(1, 2**32 - 1))
def test_every_code_folds_and_is_kept(rc: int) -> None:
    error = fold(rc)
    assert error.code is not None
    assert error.code.value == rc
    assert error.hint
