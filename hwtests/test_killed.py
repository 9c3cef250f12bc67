"""kill -9 while keys are made on a token: what has no record is found and destroyed, and nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from hwtests import piv_cards
from meshhw.algorithms import Algorithm
from meshhw.errors import MeshError
from meshhw.keystore.api import Generates, KeySpec
from meshhw.lab import shim
from meshhw.lab.fixtures_pkcs11 import NewToken
from meshhw.lab.piv.token import VirtualPivToken
from meshhw.lab.pkcs11_token import Pkcs11Token
from meshhw.lab.shim import Control, Trouble
from meshhw.managers import keymaking
from meshhw.managers.host import Host
from meshhw.managers.intentions import Intentions
from meshhw.managers.keys import KnownKeys
from meshhw.managers.ssh.keys import SshKeys

Killed = tuple[Pkcs11Token, Trouble]
LABEL = "mesh device encryption"


def meshhw(token: Pkcs11Token, home: Path, *arguments: str) -> subprocess.Popen[bytes]:
    environment = os.environ | token.env | {"TOKEN_PIN": token.pin, "MESHHW_HOME": str(home)}
    command = [sys.executable, "-m", "meshhw", *arguments, "--pin-source", "env:TOKEN_PIN"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, start_new_session=True)


def kill_when(process: subprocess.Popen[bytes], reached: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while process.poll() is None and not reached():
        assert time.monotonic() < end
        time.sleep(0.001)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def held(token: Pkcs11Token) -> set[str]:
    with closing(token.open()) as opened:
        return {str(key.uri) for key in opened.keys()}  # noqa: SIM118 (a token, not a dictionary)


def objects(token: Pkcs11Token) -> int:
    """Every object on the token, halves of keys too."""
    tool = ["pkcs11-tool", "--module", token.module_path, "--token-label", token.label, "--login"]
    listed = subprocess.run([*tool, "--pin", token.pin, "-O"], check=True, capture_output=True, text=True)
    return listed.stdout.count("Key Object")


def somebody_elses_key(token: Pkcs11Token) -> None:
    """One that looks as ours do."""
    with closing(token.open()) as opened:
        assert isinstance(opened, Generates)
        opened.generate(KeySpec(Algorithm.X448, label=LABEL))


HUNG = ["C_GenerateKeyPair", "C_GetAttributeValue", "C_SignInit"]
"""Where the process hangs when it is killed: before the first key, after it, after all four."""
COUNTED = [2, 3, 4]
"""After how many begun keys it is killed, wherever it is by then."""


@pytest.mark.parametrize("point", [*HUNG, *COUNTED])
def test_a_killed_device_create_leaves_no_key_without_a_record(
    troubled_softhsm: Killed, tmp_path: Path, point: str | int
) -> None:
    token, trouble = troubled_softhsm
    somebody_elses_key(token)
    before, everything = held(token), objects(token)
    control = Control(shim.control_of(Path(token.module_path)))
    control.reset()
    if isinstance(point, str):
        trouble.hang(point)
    process = meshhw(token, tmp_path, "device", "create", "--on", str(token.uri))
    if isinstance(point, str):
        kill_when(process, lambda: control.calls().get(point, 0) > 0)
    else:
        kill_when(process, lambda: control.calls().get("C_GenerateKeyPair", 0) >= point)
    trouble.clear()

    recorded = Host(tmp_path).profiles()
    told, _ = meshhw(token, tmp_path, "doctor").communicate()
    assert (b"mend: meshhw key tidy 'pkcs11:" in told) is not bool(recorded)
    with closing(token.open()) as opened:
        Intentions(tmp_path).settle(opened)
    left = held(token) - before
    assert left == {handle.uri for record in recorded for handle in record.keys}
    assert before <= held(token)
    assert objects(token) == everything + 2 * len(left)
    assert not list((tmp_path / "making").glob("*.jsonl"))


@pytest.mark.parametrize("command", [("key", "generate"), ("ssh", "add")], ids=" ".join)
def test_the_next_command_destroys_what_was_left_and_says_so(
    troubled_softhsm: Killed, tmp_path: Path, command: tuple[str, str]
) -> None:
    token, trouble = troubled_softhsm
    control = Control(shim.control_of(Path(token.module_path)))
    control.reset()
    trouble.hang("C_GetAttributeValue")
    arguments = (*command, "--on", str(token.uri), "--algorithm", "P-256")
    kill_when(meshhw(token, tmp_path, *arguments), lambda: "C_GetAttributeValue" in control.calls())
    trouble.clear()
    assert len(held(token)) == 1
    assert recorded(tmp_path) == set()

    process = meshhw(token, tmp_path, *arguments)
    _, error = process.communicate()
    assert process.returncode == 0, error
    assert b"a key that an interrupted command left on" in error
    assert held(token) == recorded(tmp_path)
    assert len(held(token)) == 1
    assert not list((tmp_path / "making").glob("*.jsonl"))


def recorded(home: Path) -> set[str]:
    """The keys of which the home knows, apart from profiles'."""
    return {known.uri for known in (*KnownKeys(home).all(), *SshKeys(home).all())}


def test_tidy_destroys_what_was_left(troubled_softhsm: Killed, tmp_path: Path) -> None:
    token, trouble = troubled_softhsm
    control = Control(shim.control_of(Path(token.module_path)))
    control.reset()
    trouble.hang("C_SignInit")
    create = meshhw(token, tmp_path, "device", "create", "--on", str(token.uri))
    kill_when(create, lambda: "C_SignInit" in control.calls())
    trouble.clear()
    assert len(held(token)) == 4

    process = meshhw(token, tmp_path, "key", "tidy", str(token.uri))
    said, error = process.communicate()
    assert process.returncode == 0, error
    assert said == b"4 destroyed, 0 kept\n"
    assert held(token) == set()


def test_a_living_making_is_left_alone(new_softhsm: NewToken, tmp_path: Path) -> None:
    token = new_softhsm()
    spec = KeySpec(Algorithm.P256, "alive")
    with closing(token.open()) as opened:
        assert isinstance(opened, Generates)
        with Intentions(tmp_path).making() as making:
            made = opened.generate(making.intend(opened, spec))
            assert list(Intentions(tmp_path).interrupted()) == []
            assert Intentions(tmp_path).settle(opened).destroyed == 0
            assert held(token) == {str(made.uri)}


def test_a_making_that_fails_is_over(troubled_softhsm: Killed, tmp_path: Path) -> None:
    token, trouble = troubled_softhsm
    trouble.be(shim.State.FULL)
    with closing(token.open()) as opened, pytest.raises(MeshError):
        keymaking.make_key(tmp_path, opened, KeySpec(Algorithm.P256, "too many"))
    trouble.clear()
    assert list(Intentions(tmp_path).interrupted()) == []
    assert held(token) == set()


def interrupted(card: VirtualPivToken, home: Path) -> str:
    """A key that was made on a card in a making that did not end well."""
    token = piv_cards.opened(card)
    made: list[str] = []
    with suppress(KeyboardInterrupt), Intentions(home).making() as making, closing(token):
        made.append(str(token.generate(making.intend(token, KeySpec(Algorithm.P256))).uri))
        raise KeyboardInterrupt
    return made[0]


@pytest.mark.parametrize("ours", [True, False])
def test_on_a_card_whose_places_have_no_names_a_person_is_asked(
    piv_card: VirtualPivToken, tmp_path: Path, *, ours: bool
) -> None:
    with closing(piv_cards.opened(piv_card)) as token:
        earlier = str(piv_cards.make_key(token).uri)
    left = interrupted(piv_card, tmp_path)
    asked: list[str] = []

    def confirm(uri: str) -> bool:
        asked.append(uri)
        return ours

    with closing(piv_cards.opened(piv_card)) as token:
        for _ in range(2):
            settled = Intentions(tmp_path).settle(token)
            assert (settled.destroyed, settled.suspects) == (0, (left,))
        assert Intentions(tmp_path).tidy(token, confirm).destroyed == int(ours)
        assert asked == [left]
        assert {str(key.uri) for key in token.keys()} == ({earlier} if ours else {earlier, left})  # noqa: SIM118
        assert list(Intentions(tmp_path).interrupted()) == []
