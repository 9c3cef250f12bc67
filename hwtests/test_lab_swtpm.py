"""The lab's software TPM does to its clients what it says."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from meshhw.errors import TokenFault, TokenRemoved
from meshhw.lab import tpm_wire
from meshhw.lab.swtpm import TRANSIENT_SLOTS, SoftwareTpm
from meshhw.lab.tpm_proxy import Answer, Delay, Drop, Fault, Hang, Truncate

GET_RANDOM = tpm_wire.HEADER.pack(tpm_wire.NO_SESSIONS, 12, 0x17B) + b"\0\x08"
STORAGE_KEY = bytes.fromhex(  # TPM2_CreatePrimary by the owner: a restricted P-256 decryption key
    "8002000000430000013140000001"
    "0000000940000009000000" + "0000"
    "000400000000"
    "001a0023000b00030472000000060080004300100003001000000000"
    "000000000000"
)


def ask(tpm: SoftwareTpm, command: bytes = GET_RANDOM) -> bytes:
    return tpm_wire.transact(("127.0.0.1", tpm.proxy.port), command)


def storage_name(tpm: SoftwareTpm) -> bytes:
    """The point of the storage primary, which the owner's seed determines."""
    answer = ask(tpm, STORAGE_KEY)
    ask(tpm, tpm_wire.flush_context(int.from_bytes(answer[:4], "big")))
    return answer.split(b"\x00\x20", 1)[1][:32]


def test_commands_are_counted_by_name(swtpm_token: SoftwareTpm) -> None:
    ask(swtpm_token)
    with swtpm_token.proxy.counting() as counts:
        ask(swtpm_token)
        ask(swtpm_token)
        assert not counts
    assert counts == {"GetRandom": 2}
    assert swtpm_token.proxy.counts["GetRandom"] == 3


def test_restart_keeps_the_seed_and_the_address(swtpm_token: SoftwareTpm) -> None:
    before, address = storage_name(swtpm_token), swtpm_token.tcti
    swtpm_token.restart()
    assert storage_name(swtpm_token) == before
    assert swtpm_token.tcti == address


def test_clear_replaces_the_owner_seed(swtpm_token: SoftwareTpm) -> None:
    before = storage_name(swtpm_token)
    swtpm_token.clear()
    assert storage_name(swtpm_token) != before


def test_another_tpm_sits_at_the_same_address_until_the_first_is_put_back(swtpm_token: SoftwareTpm) -> None:
    first = storage_name(swtpm_token)
    swtpm_token.replace()
    assert storage_name(swtpm_token) != first
    swtpm_token.put_back()
    assert storage_name(swtpm_token) == first
    with pytest.raises(TokenFault):
        swtpm_token.put_back()


def test_killed_daemon_closes_connections_and_comes_back(swtpm_token: SoftwareTpm) -> None:
    swtpm_token.kill()
    with pytest.raises(TokenRemoved):
        ask(swtpm_token)
    swtpm_token.restart()
    assert len(ask(swtpm_token)) == 10


def test_stopped_daemon_answers_after_it_is_resumed(swtpm_token: SoftwareTpm) -> None:
    swtpm_token.hang()
    answers: list[bytes] = []
    asking = threading.Thread(target=lambda: answers.append(ask(swtpm_token)))
    asking.start()
    asking.join(0.3)
    assert not answers
    swtpm_token.resume()
    asking.join(30)
    assert len(answers) == 1


def test_full_tpm_says_so_until_it_is_flushed(swtpm_token: SoftwareTpm) -> None:
    taken = swtpm_token.fill()
    assert len(taken) == TRANSIENT_SLOTS
    with pytest.raises(TokenFault) as full:
        ask(swtpm_token, STORAGE_KEY)
    assert full.value.code is not None
    assert full.value.code.value == 0x902
    swtpm_token.flush(taken)
    storage_name(swtpm_token)


def test_faults_hit_the_named_command_as_often_as_said(swtpm_token: SoftwareTpm) -> None:
    swtpm_token.proxy.inject(Fault(Answer(0x922), name="GetRandom", skip=1, times=1))
    ask(swtpm_token)
    storage_name(swtpm_token)
    with pytest.raises(TokenFault) as retry:
        ask(swtpm_token)
    assert retry.value.code is not None
    assert retry.value.code.value == 0x922
    ask(swtpm_token)


@pytest.mark.parametrize("action", [Drop(), Truncate(0), Truncate(9), Truncate(15)], ids=repr)
def test_lost_and_truncated_responses(swtpm_token: SoftwareTpm, action: Drop | Truncate) -> None:
    swtpm_token.proxy.inject(Fault(action, times=1))
    with pytest.raises(TokenRemoved):
        ask(swtpm_token)
    ask(swtpm_token)


def test_delayed_and_hung_commands(swtpm_token: SoftwareTpm) -> None:
    swtpm_token.proxy.inject(Fault(Delay(0.2), times=1))
    start = time.monotonic()
    ask(swtpm_token)
    assert time.monotonic() - start >= 0.2
    swtpm_token.proxy.inject(Fault(Hang()))
    with socket.create_connection(("127.0.0.1", swtpm_token.proxy.port), timeout=0.3) as stream:
        stream.sendall(GET_RANDOM)
        with pytest.raises(TimeoutError):
            stream.recv(1)
        swtpm_token.proxy.clear_faults()
        stream.settimeout(30)
        assert tpm_wire.read_message(stream) is not None


def test_several_tpms_run_side_by_side(swtpm_token: SoftwareTpm) -> None:
    with SoftwareTpm() as other:
        assert other.tcti != swtpm_token.tcti
        assert storage_name(other) != storage_name(swtpm_token)


def test_the_daemon_ends_with_a_crashed_owner(tmp_path: Path, swtpm_token: SoftwareTpm) -> None:
    owner = (
        "import os, sys; from pathlib import Path; from meshhw.lab.swtpm import SoftwareTpm\n"
        "tpm = SoftwareTpm(Path(sys.argv[1])); print(tpm.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    run = subprocess.run(
        [sys.executable, "-c", owner, str(tmp_path / "tpm")], capture_output=True, text=True, check=False
    )
    status = Path(f"/proc/{int(run.stdout)}/stat")
    limit = time.monotonic() + 30
    while status.exists() and status.read_text().rsplit(") ", 1)[1][0] != "Z":  # a zombie has ended too
        assert time.monotonic() < limit
        time.sleep(0.01)
    ask(swtpm_token)
