"""Attestations of PIV keys: a real YubiKey's, up to the root that its maker publishes, and broken ones."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshhw.errors import NotSupported, SignatureInvalid
from meshhw.keystore.attestation import Attestation, verify
from meshhw.keystore.attestation_piv import policies

VECTOR = json.loads((Path(__file__).parents[1] / "vectors" / "piv_attestation.json").read_text())
ROOT = base64.b64decode(VECTOR["root"])
REAL = Attestation(
    "yubikey-piv",
    base64.b64decode(VECTOR["statement"]),
    tuple(base64.b64decode(certificate) for certificate in VECTOR["chain"]),
)


def test_a_real_yubikey_is_believed() -> None:
    facts = verify(REAL, [ROOT])
    expect = VECTOR["expect"]
    assert hashlib.sha256(ROOT).hexdigest() == VECTOR["root_sha256"]
    assert (facts.serial, facts.firmware, facts.issuer) == (
        expect["serial"],
        expect["firmware"],
        expect["issuer"],
    )
    assert (facts.pin_policy, facts.touch_policy) == ("always", "always")
    assert facts.public.octets.hex() == expect["public"]
    assert facts.generated_inside is True


def test_an_intermediate_may_be_the_anchor() -> None:
    assert verify(REAL, [REAL.chain[0]]).issuer == "Yubico PIV Attestation"


@pytest.mark.parametrize(
    "changed",
    [
        replace(REAL, chain=()),
        replace(REAL, chain=(ROOT, REAL.chain[0])),
        replace(REAL, chain=(REAL.statement,)),
        replace(REAL, statement=REAL.chain[0]),
        replace(REAL, statement=b""),
        replace(REAL, chain=(b"\x30\x00",)),
    ],
)
def test_a_broken_chain_is_not_believed(changed: Attestation) -> None:
    with pytest.raises(SignatureInvalid):
        verify(changed, [ROOT])


def test_without_roots_nothing_is_believed() -> None:
    with pytest.raises(SignatureInvalid, match="trusted root"):
        verify(REAL, [])


def test_an_unknown_format_is_not_supported() -> None:
    with pytest.raises(NotSupported):
        verify(replace(REAL, format="other"), [ROOT])


@given(st.integers(0, len(REAL.statement) - 1), st.integers(1, 255))
@settings(max_examples=100, deadline=None)
def test_no_changed_octet_is_believed(position: int, difference: int) -> None:
    octets = bytearray(REAL.statement)
    octets[position] ^= difference
    with pytest.raises(SignatureInvalid):
        verify(replace(REAL, statement=bytes(octets)), [ROOT])


def test_policies_are_read_without_a_chain() -> None:
    assert policies(REAL.statement) == ("always", "always")
    assert policies(ROOT) is None
