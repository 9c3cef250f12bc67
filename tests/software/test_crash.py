"""kill -9 before every step of every write, and writers that meet."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from meshhw_software.driver import SoftwareDriver
from meshhw_software.token import VaultToken

from meshhw import files
from meshhw.algorithms import Algorithm
from meshhw.errors import PinIncorrect, StateError
from meshhw.keystore.api import KeySpec, OpenOptions, Signs
from meshhw.keystore.interaction import PinKind, PinRequest, Scripted
from meshhw.keystore.uri import TokenURI

OpenVault = Callable[..., VaultToken]
STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "fcntl.flock", "os.listdir", "os.scandir"}
MOST_STEPS = 200


def answer(request: PinRequest) -> str:
    """ "first" opens, and is set on a vault that is being made; a later new passphrase is "second"."""
    made = Path(os.environ["MESHHW_HOME"], "vault/vault.box").exists()
    return "second" if request.new and made else "first"


def vault(passphrase: str = "first") -> VaultToken:
    from meshhw_software.kdf import ITERATIONS, MEMORY_KIB, Cost

    driver = SoftwareDriver(Cost(MEMORY_KIB[0], ITERATIONS[0]))
    scripted = Scripted(answer if passphrase == "first" else {PinKind.VAULT: passphrase})
    token = driver.open(TokenURI.parse("software:"), OpenOptions(scripted))
    assert isinstance(token, VaultToken)
    return token


def killed_at(step: int, action: Callable[[], object]) -> bool:
    """Run `action` in a child that is killed before its step-th call to the file system; False once the
    action needs fewer steps than that.
    """
    child = os.fork()
    if child == 0:
        taken = 0

        def count(event: str, _: object) -> None:
            nonlocal taken
            if event in STEPS:
                if taken == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                taken += 1

        status = 1
        try:
            sys.addaudithook(count)
            action()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0, "the action failed in the child"
        return False
    assert os.WTERMSIG(status) == signal.SIGKILL
    return True


def each_step(action: Callable[[], object], check: Callable[[], object], every: int = 1) -> int:
    for step in range(0, MOST_STEPS, every):
        more = killed_at(step, action)
        check()
        if not more:
            return step
    raise AssertionError("the action never ended")


@pytest.fixture(autouse=True)
def _in_home(home: Path) -> None:
    """Every test has a state directory of its own."""


def test_making_a_vault_survives_a_kill_at_every_step(home: Path) -> None:
    def check() -> None:
        token = vault()
        token.unseal(token.seal(b"works", b""), b"")
        token.reset()

    assert each_step(lambda: vault().store_data("a", b"1"), check) > 3


def test_adding_and_deleting_keys_survives_a_kill_at_every_step(home: Path) -> None:
    first = vault().generate(KeySpec(Algorithm.ED25519))

    def add_and_delete() -> None:
        token = vault()
        token.delete(token.generate(KeySpec(Algorithm.ED25519)).uri)

    def check() -> None:
        token = vault()
        keys = token.keys()
        assert first.uri in [key.uri for key in keys]
        for key in keys:
            assert isinstance(key, Signs)
            assert len(key.sign(b"m")) == 64
            if key.uri != first.uri:
                token.delete(key.uri)
        assert list((home / "vault" / "keys").glob(".*.new")) == [] or len(keys) == 1

    assert each_step(add_and_delete, check) > 5
    vault().store_data("a", b"1")
    assert list((home / "vault").rglob(".*.new")) == []  # what the kills left is cleared away


def test_a_change_of_passphrase_survives_a_kill_at_every_step(home: Path) -> None:
    key = vault().generate(KeySpec(Algorithm.ED25519))
    original = (home / "vault" / "vault.box").read_bytes()

    def check() -> None:
        opened = []
        for passphrase in ("first", "second"):
            handle = vault(passphrase).key(key.uri)
            assert isinstance(handle, Signs)
            try:
                handle.sign(b"m")
            except PinIncorrect:
                continue
            opened.append(passphrase)
        assert len(opened) == 1
        files.replace(home / "vault" / "vault.box", original)

    assert each_step(lambda: vault().change_pin(PinKind.VAULT), check) > 3


WRITER = """
import sys
from meshhw_software.driver import SoftwareDriver
from meshhw_software.kdf import Cost
from meshhw.algorithms import Algorithm
from meshhw.keystore.api import KeySpec, OpenOptions
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.uri import TokenURI
driver = SoftwareDriver(Cost(19456, 2))
print("ready", flush=True)
sys.stdin.readline()
token = driver.open(TokenURI.parse("software:"), OpenOptions(Scripted({PinKind.VAULT: "first"})))
for _ in range(5):
    token.generate(KeySpec(Algorithm.ED25519))
"""


def test_two_processes_make_one_vault(home: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    keys = vault().keys()
    assert len(keys) == 10
    for key in keys:
        assert isinstance(key, Signs)
        key.sign(b"m")


def test_a_lock_that_is_held_is_told(home: Path) -> None:
    token = vault()
    token.store_data("a", b"1")
    driver = SoftwareDriver()
    hasty = driver.open(
        TokenURI.parse("software:"), OpenOptions(Scripted({PinKind.VAULT: "first"}), deadline=0.2)
    )
    assert isinstance(hasty, VaultToken)
    hasty.seal(b"", b"")
    start = time.monotonic()
    with files.locked(home / "vault" / "vault.box"), pytest.raises(StateError, match="in use"):
        hasty.store_data("b", b"2")
    assert time.monotonic() - start < 20
    assert hasty.load_data("b") is None
