"""`meshhw ssh agent --json`: one JSON value that says where it listens, and then it serves."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Meshhw

SECONDS = 60
REQUEST_IDENTITIES, IDENTITIES_ANSWER = 11, 12


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """An agent of an empty home, in a process of its own."""
    command = [sys.executable, "-m", "meshhw", "--home", str(tmp_path / "home"), "ssh", "agent", "--json"]
    env = os.environ | {"MESHHW_PKCS11_MODULES": ""}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        yield process
        process.kill()


def test_the_value_says_where_an_agent_answers(serving: subprocess.Popen[str]) -> None:
    assert serving.stdout is not None
    lines = [serving.stdout.readline()]
    while lines[-1] not in ("}\n", ""):
        lines.append(serving.stdout.readline())
    value = json.loads("".join(lines))
    assert list(value) == ["SSH_AUTH_SOCK"]
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(SECONDS)
        client.connect(value["SSH_AUTH_SOCK"])
        client.sendall(b"\0\0\0\1" + bytes([REQUEST_IDENTITIES]))
        answer = client.makefile("rb").read(9)
    assert answer == b"\0\0\0\5" + bytes([IDENTITIES_ANSWER]) + bytes(4)  # no key yet
    serving.send_signal(signal.SIGTERM)
    assert serving.stdout.read() == ""  # nothing beside the one value
    assert serving.wait(SECONDS) == 0
    assert not Path(value["SSH_AUTH_SOCK"]).exists()


def test_a_command_has_the_output_and_the_socket(meshhw: Meshhw) -> None:
    script = "import os, stat; print(stat.S_ISSOCK(os.stat(os.environ['SSH_AUTH_SOCK']).st_mode))"
    done = meshhw("ssh", "agent", "--json", "--", sys.executable, "-c", script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
    assert meshhw("ssh", "agent", "--json", "--", sys.executable, "-c", "raise SystemExit(9)").returncode == 9


def test_where_it_cannot_listen_is_one_value_too(meshhw: Meshhw, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("somebody's")
    done = meshhw("ssh", "agent", "--json", "--socket", str(tmp_path / "file" / "agent"))
    told = json.loads(done.stdout)["error"]
    assert told["exit_status"] == done.returncode != 0
    assert str(tmp_path / "file") in told["message"]
    assert (tmp_path / "file").read_text() == "somebody's"


def test_a_command_that_is_not_there_is_one_value_too(meshhw: Meshhw) -> None:
    done = meshhw("ssh", "agent", "--json", "--", "no-such-command-anywhere")
    told = json.loads(done.stdout)["error"]
    assert (told["exit_status"], done.returncode) == (1, 1)
    assert "no-such-command-anywhere" in told["message"]
