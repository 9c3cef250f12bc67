"""Modules of several makers in one process: none of them answers for another one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
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

LOG_IN = """
import select, sys
import pkcs11
(token,) = [one for one in pkcs11.lib(sys.argv[1]).get_tokens() if one.label == sys.argv[2]]
pin = sys.stdin.readline().strip()
token.open(user_pin=pin).close()
print("logged in", flush=True)
while not select.select([sys.stdin], [], [], 0.005)[0]:  # as fast as programs do, and no faster
    token.open(user_pin=pin).close()
"""
FIND = """
import os, sys
import pkcs11
from meshhw.keystore.uri import TokenURI
from meshhw_pkcs11 import discovery
missed = 0
for _ in range(int(sys.argv[2])):  # a process for each start, without Python's own
    child = os.fork()
    if not child:
        try:
            discovery.find(TokenURI.parse(sys.argv[1]))
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    missed += os.waitpid(child, 0)[1] != 0
sys.exit(missed != 0)
"""
STARTS = 400
"""Without a second look one in seventy or so is in vain."""


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


@pytest.mark.parametrize("kind", ["softhsm", "opencryptoki"])
def test_a_module_that_starts_while_others_log_in_finds_its_token(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """The module reads its tokens once, and leaves out one whose file is just being written."""
    token: Pkcs11Token = request.getfixturevalue(f"{kind}_token")
    environment = os.environ | dict(token.env)
    with _logging_in(token, environment):
        name = f"pkcs11:token={token.label}?module-path={token.module_path}"
        done = subprocess.run(
            [sys.executable, "-c", FIND, name, str(STARTS)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr


@contextmanager
def _logging_in(token: Pkcs11Token, environment: dict[str, str]) -> Iterator[None]:
    """Another process, which logs in again and again."""
    with subprocess.Popen(
        [sys.executable, "-c", LOG_IN, token.module_path, token.label],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{token.pin}\n")
            process.stdin.flush()
            # opencryptoki says much else there
            assert "logged in\n" in iter(process.stdout.readline, "")
            yield
        finally:  # killed while it writes the token's file, it would leave half of that to all later tests
            process.communicate(timeout=60)
