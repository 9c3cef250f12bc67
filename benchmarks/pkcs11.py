"""Signing through `Key.sign` and through the command line, on SoftHSM, against the module's own calls."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from benchmarks.cryptoki import CKM_ECDSA, CKM_EDDSA, RawToken
from benchmarks.harness import Figure
from meshhw.algorithms import Algorithm
from meshhw.keystore.api import Generates, KeySpec, Signs, Token
from meshhw.lab.pkcs11_token import Pkcs11Token
from meshhw.lab.softhsm import SoftHSM
from meshhw.managers.uselog import UseLog

MESSAGE = b"0123456789abcdef" * 2
DIGEST = hashlib.sha256(MESSAGE).digest()


def figures() -> Iterator[Figure]:
    """Warm, cold, and a whole process."""
    with tempfile.TemporaryDirectory() as directory, SoftHSM() as lab:
        emulated = lab.add("bench")
        path = emulated.uri.get("module-path") or ""
        raw = RawToken(path, _slot(path, "bench"), emulated.pin)
        recorder = UseLog(Path(directory) / "log.jsonl", "bench")
        yield from _warm(emulated, recorder, raw, (Algorithm.P256, CKM_ECDSA, DIGEST))
        yield from _warm(emulated, recorder, raw, (Algorithm.ED25519, CKM_EDDSA, MESSAGE))
        yield _cold(emulated, raw)
        yield _process(emulated, Path(directory), path)


def _warm(
    emulated: Pkcs11Token, recorder: UseLog, raw: RawToken, what: tuple[Algorithm, int, bytes]
) -> Iterator[Figure]:
    algorithm, mechanism, data = what
    with closing(emulated.open()) as token, closing(emulated.open(recorder=recorder)) as logged:
        key = _generate(token, algorithm)
        again = logged.key(key.uri)
        assert isinstance(again, Signs)
        session = raw.open()
        handle = raw.find(session, key.uri.attributes["id"])

        def theirs() -> object:
            return raw.sign(session, handle, mechanism, data)

        name, yardstick = f"warm {algorithm} sign, `Key.sign`", "C_SignInit + C_Sign by ctypes"
        yield Figure(name, lambda: key.sign(MESSAGE), theirs, yardstick, 1.35, rounds=41, batch=50)
        logs = f"{name}, with use log"
        yield Figure(logs, lambda: again.sign(MESSAGE), theirs, yardstick, rounds=41, batch=50)
        raw.close(session)


def _cold(emulated: Pkcs11Token, raw: RawToken) -> Figure:
    """Open, log in, find and sign, with no other session open: a login is the whole application's."""
    with closing(emulated.open()) as token:
        uri = _generate(token, Algorithm.P256).uri
    identifier = uri.attributes["id"]

    def ours() -> None:
        with closing(emulated.open()) as fresh:
            key = fresh.key(uri)
            assert isinstance(key, Signs)
            key.sign(MESSAGE)

    def theirs() -> None:
        session = raw.open()
        raw.login(session)
        raw.sign(session, raw.find(session, identifier), CKM_ECDSA, DIGEST)
        raw.close(session)

    return Figure("cold open, login, find, sign", ours, theirs, "the same C calls", 2.0, rounds=25)


def _process(emulated: Pkcs11Token, directory: Path, module: str) -> Figure:
    with closing(emulated.open()) as token:
        key = _generate(token, Algorithm.P256)
    message = directory / "message"
    message.write_bytes(DIGEST)
    environment = os.environ | emulated.env | {"PIN": emulated.pin, "MESHHW_HOME": str(directory / "home")}
    ours = [
        sys.executable,
        "-m",
        "meshhw",
        "key",
        "sign",
        str(key.uri),
        str(message),
        "--pin-source",
        "env:PIN",
    ]
    theirs = ["pkcs11-tool", "--module", module, "--token-label", "bench", "--login", "--pin", "env:PIN"]
    theirs += ["--sign", "-m", "ECDSA", "--id", key.uri.attributes["id"].hex(), "-i", str(message)]

    def run(command: list[str]) -> None:
        subprocess.run(command, env=environment, check=True, capture_output=True)

    return Figure(
        "`meshhw key sign`, a process",
        lambda: run([*ours, "--out", str(directory / "a")]),
        lambda: run([*theirs, "-o", str(directory / "b")]),
        "`pkcs11-tool --sign`",
        20.0,
    )


def _generate(token: Token, algorithm: Algorithm) -> Signs:
    assert isinstance(token, Generates)
    key = token.generate(KeySpec(algorithm, label=f"bench {algorithm}"))
    assert isinstance(key, Signs)
    return key


def _slot(module: str, label: str) -> int:
    from meshhw_pkcs11 import cryptoki

    loaded = cryptoki.load(module)
    return next(s for s in loaded.slots() if loaded.token_info(s).label.rstrip() == label.encode())
