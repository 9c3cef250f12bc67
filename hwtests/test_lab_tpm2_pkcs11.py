"""The lab's TPM behind tpm2-pkcs11, as other programs see it."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from meshhw.errors import StateError
from meshhw.lab.pkcs11_token import Pkcs11Token
from meshhw.lab.tpm2_pkcs11 import Tpm2Pkcs11


def test_another_program_sees_the_token_by_its_environment(tpm2_pkcs11_token: Pkcs11Token) -> None:
    if shutil.which("pkcs11-tool") is None:
        pytest.skip("pkcs11-tool is not installed (apt-get install opensc)")
    command = ["pkcs11-tool", "--module", tpm2_pkcs11_token.module_path, "--list-token-slots"]
    environment = os.environ | dict(tpm2_pkcs11_token.env)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=30)
    assert f"token label        : {tpm2_pkcs11_token.label}" in done.stdout


def test_a_process_has_one_such_lab(tpm2_pkcs11_token: Pkcs11Token) -> None:
    with pytest.raises(StateError):
        Tpm2Pkcs11("second")
    tpm2_pkcs11_token.open().close()
