"""Every CKR_* code folds into the public tree, and unknown ones keep their value."""

from __future__ import annotations

import pkcs11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meshhw_pkcs11.cryptoki import CryptokiError
from meshhw_pkcs11.errors import code_of, fold

from meshhw import errors


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (0x31, errors.TokenFull),
        (0x32, errors.TokenRemoved),
        (0x70, errors.NotSupported),
        (0x82, errors.KeyNotFound),
        (0xA0, errors.PinIncorrect),
        (0xA4, errors.PinLocked),
        (0xB1, errors.TokenBusy),
        (0xE0, errors.TokenRemoved),
        (0xE2, errors.TokenReadOnly),
    ],
)
def test_known_codes(code: int, kind: type[errors.MeshError]) -> None:
    folded = fold(CryptokiError("C_Sign", code), "card")
    assert type(folded) is kind
    assert folded.code is not None
    assert folded.code.value == code
    assert str(folded).startswith("card: ")


@given(st.integers(min_value=0, max_value=2**32 - 1))
def test_any_code_is_kept_in_one_line(code: int) -> None:
    folded = fold(CryptokiError("C_Sign", code), "card")
    assert folded.code is not None
    assert folded.code.value == code
    assert "\n" not in folded.message


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (pkcs11.PinIncorrect(), 0xA0),
        (pkcs11.TokenNotRecognised(), 0xE1),
        (pkcs11.FunctionCancelled(), 0x50),
        (pkcs11.PKCS11Error("Unmapped error code 0x80000abc"), 0x80000ABC),
        (pkcs11.PKCS11Error("Buffer was too small. Should never see this."), 0x150),
        (pkcs11.NoSuchKey("no"), None),
    ],
)
def test_the_wrappers_exceptions_have_the_standards_codes(error: Exception, code: int | None) -> None:
    assert code_of(error) == code
