"""Modules of several makers in one process: none of them answers for another one."""

from __future__ import annotations

import os
import subprocess
import sys

from meshhw_pkcs11.modules import VARIABLE

from meshhw.lab.pkcs11_token import Pkcs11Token

SEAL = """
import sys
from contextlib import closing
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.registry import open_token
from meshhw.keystore.uri import TokenURI

for line in sys.stdin.read().splitlines():
    uri, pin = line.split()
    with closing(open_token(TokenURI.parse(uri), OpenOptions(Scripted({PinKind.USER: pin})))) as token:
        assert token.unseal(token.seal(b"secret", b"purpose"), b"purpose") == b"secret"
"""


def test_opencryptoki_loaded_before_does_not_answer_for_another(
    opencryptoki_token: Pkcs11Token, tpm2_pkcs11_token: Pkcs11Token
) -> None:
    """opencryptoki shows all its symbols to the whole process, and tpm2-pkcs11 has one of the same name."""
    tokens = (opencryptoki_token, tpm2_pkcs11_token)
    environment = os.environ | dict(tpm2_pkcs11_token.env)
    environment[VARIABLE] = ":".join(token.module_path for token in tokens)
    done = subprocess.run(
        [sys.executable, "-c", SEAL],
        input="\n".join(f"{token.uri} {token.pin}" for token in tokens),
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
