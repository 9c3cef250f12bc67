"""What happens when a TPM is wrong, gone, another one, full, slow or broken."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TypeVar

import pytest

from meshhw.algorithms import Algorithm, Operation
from meshhw.conformance import independent
from meshhw.errors import (
    DecryptionFailed,
    MeshError,
    OperationTimeout,
    PinFinalTry,
    PinIncorrect,
    PinLocked,
    TokenBusy,
    TokenFault,
    TokenFull,
    TokenMismatch,
    TokenNotFound,
    TokenRemoved,
)
from meshhw.keystore.api import (
    Administers,
    Agrees,
    Deletes,
    Generates,
    Key,
    KeySpec,
    OpenOptions,
    PinPolicy,
    Seals,
    Signs,
    Token,
)
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.registry import open_token
from meshhw.keystore.uri import TokenURI
from meshhw.lab.swtpm import DEFAULT_TRIES, SoftwareTpm
from meshhw.lab.tpm_proxy import Answer, Delay, Drop, Fault, Hang, Truncate
from tests.patience import until

P = TypeVar("P")
MESSAGE = b"what is signed"


def power(thing: object, protocol: type[P]) -> P:
    assert isinstance(thing, protocol)
    return thing


def make(token: Token, policy: PinPolicy = PinPolicy.DEFAULT) -> Key:
    return power(token, Generates).generate(KeySpec(Algorithm.P256, "a key", pin_policy=policy))


def sign(key: Key) -> None:
    independent.check_signature(key.public, MESSAGE, power(key, Signs).sign(MESSAGE))


def guarded(tpm: SoftwareTpm) -> Key:
    """A key with a PIN, made by a token that is closed again."""
    token = tpm.open()
    key = make(token, PinPolicy.ONCE)
    token.close()
    return key


def wrong_pin(tpm: SoftwareTpm, key: Key, *, last: bool = False) -> Scripted:
    person = Scripted({PinKind.USER: "wrong"}, allow_final_try=last)
    sign(open_token(tpm.uri, OpenOptions(interaction=person)).key(key.uri))
    return person


# Promise: a wrong PIN costs exactly one try, the rest is told, and the PIN is not kept.


def test_wrong_pin_spends_one_try_and_is_dropped(swtpm_token: SoftwareTpm) -> None:
    key = guarded(swtpm_token)
    answers = iter(["wrong", swtpm_token.pin])
    person = Scripted(lambda _: next(answers))
    token = open_token(swtpm_token.uri, OpenOptions(interaction=person))
    found = token.key(key.uri)
    with pytest.raises(PinIncorrect) as refused:
        sign(found)
    assert refused.value.retries_left == DEFAULT_TRIES - 1
    assert power(token, Administers).retries_left(PinKind.USER) == DEFAULT_TRIES - 1
    assert refused.value.exit_status == 4
    assert "wrong" not in str(refused.value)
    sign(found)
    assert len(person.asked) == 2


def test_eight_threads_with_a_wrong_pin_spend_one_try_each_that_is_asked(swtpm_token: SoftwareTpm) -> None:
    key = guarded(swtpm_token)
    answers = iter(["wrong", *[swtpm_token.pin] * 8])
    person = Scripted(lambda _: next(answers))
    found = open_token(swtpm_token.uri, OpenOptions(interaction=person)).key(key.uri)
    outcomes: list[str] = []

    def work() -> None:
        try:
            sign(found)
            outcomes.append("signed")
        except PinIncorrect:
            outcomes.append("refused")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["refused"] + ["signed"] * 7
    assert len(person.asked) == 2


def test_the_last_try_needs_consent(swtpm_token: SoftwareTpm) -> None:
    key = guarded(swtpm_token)
    for _ in range(DEFAULT_TRIES - 1):
        with pytest.raises(PinIncorrect):
            wrong_pin(swtpm_token, key)
    with pytest.raises(PinFinalTry), swtpm_token.proxy.counting() as counts:
        wrong_pin(swtpm_token, key)
    assert "Sign" not in counts
    with pytest.raises(PinIncorrect) as spent:
        wrong_pin(swtpm_token, key, last=True)
    assert spent.value.retries_left == 0
    with pytest.raises(PinLocked):
        wrong_pin(swtpm_token, key, last=True)


def test_lock_out_tells_the_waiting_time_and_unlocks(swtpm_token: SoftwareTpm) -> None:
    key = guarded(swtpm_token)
    free_token = swtpm_token.open()
    swtpm_token.lock()
    with pytest.raises(PinLocked) as locked, swtpm_token.proxy.counting() as counts:
        sign(swtpm_token.open().key(key.uri))
    assert "wait up to 17 min" in locked.value.unlock_hint
    assert "meshhw token unlock" in locked.value.unlock_hint
    assert "Sign" not in counts
    sign(make(free_token, PinPolicy.NEVER))  # keys without a PIN are not concerned
    swtpm_token.unlock()
    power(free_token, Administers).unlock()
    sign(swtpm_token.open().key(key.uri))


def test_a_lock_out_between_asking_and_using_is_told_as_well(swtpm_token: SoftwareTpm) -> None:
    token = swtpm_token.open()
    key = make(token, PinPolicy.ONCE)
    swtpm_token.lock()
    with pytest.raises(PinLocked) as locked:
        sign(key)
    assert locked.value.code is not None
    assert locked.value.code.value == 0x921
    assert "17 min" in locked.value.unlock_hint


def test_the_pin_is_changed_for_all_keys_at_once(swtpm_token: SoftwareTpm) -> None:
    answers = iter(["first", "second"])
    token = open_token(swtpm_token.uri, OpenOptions(interaction=Scripted(lambda _: next(answers))))
    keys = [make(token, PinPolicy.ONCE), make(token), make(token, PinPolicy.NEVER)]
    power(token, Administers).change_pin(PinKind.USER)
    for key in keys:
        sign(key)
    fresh = Scripted({PinKind.USER: "second"})
    reopened = open_token(swtpm_token.uri, OpenOptions(interaction=fresh))
    for key in keys:
        sign(reopened.key(key.uri))
    old = Scripted({PinKind.USER: "first"})
    with pytest.raises(PinIncorrect):
        sign(open_token(swtpm_token.uri, OpenOptions(interaction=old)).key(keys[0].uri))


@pytest.mark.parametrize("committed", [False, True], ids=["before the commit", "after it"])
def test_an_interrupted_change_of_pin_is_undone_or_finished(
    swtpm_token: SoftwareTpm, tpm_home: Path, committed: bool
) -> None:
    key = guarded(swtpm_token)
    (path,) = tpm_home.rglob("*.pem")
    waiting = path.with_name(path.name + ".next")
    waiting.write_bytes(path.read_bytes() + b"\n")
    waiting.chmod(0o600)
    if committed:
        path.with_name("change.commit").touch(0o600)
    sign(swtpm_token.open().key(key.uri))
    assert not waiting.exists()
    assert path.read_bytes().endswith(b"\n\n") is committed


# Promise: a TPM that is gone is told as removed, and works again without a restart of the program.


def test_killed_and_restarted_daemon(swtpm_token: SoftwareTpm) -> None:
    token = swtpm_token.open()
    key = make(token)
    sign(key)
    swtpm_token.kill()
    start = time.monotonic()
    with pytest.raises(TokenRemoved):
        sign(key)
    with pytest.raises(TokenNotFound):
        swtpm_token.open()
    assert time.monotonic() - start < 2
    swtpm_token.restart()
    sign(key)
    assert swtpm_token.loaded() == 1


def test_a_restart_between_two_calls_goes_unnoticed(swtpm_token: SoftwareTpm) -> None:
    token = swtpm_token.open()
    key = make(token, PinPolicy.ONCE)
    blob = power(token, Seals).seal(b"secret", b"purpose")
    swtpm_token.restart()
    sign(key)
    swtpm_token.restart()
    assert power(token, Seals).unseal(blob, b"purpose") == b"secret"


# Promise: another TPM, or a cleared one, is never taken for the one that was named, and gets no PIN.


@pytest.mark.parametrize("what", ["clear", "replace"])
def test_cleared_or_replaced_is_a_mismatch_that_says_what_is_lost(
    swtpm_token: SoftwareTpm, what: str
) -> None:
    token = swtpm_token.open()
    key = make(token, PinPolicy.ONCE)
    blob = power(token, Seals).seal(b"secret", b"purpose")
    sign(key)
    getattr(swtpm_token, what)()
    with swtpm_token.proxy.counting() as counts:
        for use in (lambda: sign(key), lambda: swtpm_token.open().key(key.uri) and sign(key)):
            with pytest.raises(TokenMismatch) as mismatch:
                use()
            assert "lost with it: a key, and all that was sealed by it" in mismatch.value.message
            assert mismatch.value.exit_status == 3
        with pytest.raises(TokenMismatch):
            open_token(key.uri.token)
        with pytest.raises(TokenMismatch):
            power(swtpm_token.open(), Deletes).delete(key.uri)
        with pytest.raises(TokenMismatch):
            power(token, Seals).unseal(blob, b"purpose")
    assert not {"Sign", "Unseal"} & set(counts)
    assert swtpm_token.open().info().uri != token.info().uri  # named by its address alone it is a fresh TPM
    with pytest.raises(DecryptionFailed):
        power(swtpm_token.open(), Seals).unseal(blob, b"purpose")


def test_the_tpm_that_comes_back_is_used_again(swtpm_token: SoftwareTpm) -> None:
    key = make(swtpm_token.open())
    swtpm_token.replace()
    with pytest.raises(TokenMismatch):
        sign(key)
    swtpm_token.put_back()
    sign(key)


# Promise: a TPM that hangs is left alone after the deadline.


def test_hung_tpm_is_left_after_the_deadline(swtpm_token: SoftwareTpm) -> None:
    token = swtpm_token.open(deadline=2.0)
    key = make(token)
    swtpm_token.hang()
    for longest in (8.0, 1.5):  # the second call does not wait: the token is left alone
        start = time.monotonic()
        with pytest.raises(OperationTimeout):
            sign(key)
        assert time.monotonic() - start < longest
    token.close()
    swtpm_token.resume()
    until(lambda: swtpm_token.loaded() == 0)  # the late answer has given the slots back
    sign(swtpm_token.open().key(key.uri))


def test_hung_in_the_middle_and_slow(swtpm_token: SoftwareTpm) -> None:
    token = swtpm_token.open(deadline=2.0)
    key = make(token)
    swtpm_token.proxy.inject(Fault(Delay(0.2), name="Sign", times=1))
    sign(key)
    swtpm_token.proxy.inject(Fault(Hang(), name="Sign"))
    with pytest.raises(OperationTimeout):
        sign(key)
    swtpm_token.proxy.clear_faults()


# Promise: nothing stays in the three slots, whatever happens.


def test_three_slots_taken_by_another_program(swtpm_token: SoftwareTpm) -> None:
    token = swtpm_token.open()
    key = make(token)
    taken = swtpm_token.fill()
    threading.Timer(0.3, swtpm_token.flush, [taken[:1]]).start()
    sign(key)  # waits for the slot
    swtpm_token.flush(taken[1:])
    assert swtpm_token.loaded() == 0
    sign(key)


def test_slots_that_stay_taken_are_a_clean_error(swtpm_token: SoftwareTpm) -> None:
    token = swtpm_token.open()
    key = make(token)
    token.close()
    taken = swtpm_token.fill()
    with pytest.raises(TokenFull) as full:
        swtpm_token.open()
    assert "tpmrm0" in full.value.hint
    swtpm_token.flush(taken)
    assert swtpm_token.loaded() == 0
    sign(swtpm_token.open().key(key.uri))


@pytest.mark.parametrize("command", ["Load", "Sign", "FlushContext"])
@pytest.mark.parametrize("action", [Drop(), Truncate(0), Truncate(7), Truncate(12)], ids=repr)
def test_lost_and_truncated_answers_leak_nothing(
    swtpm_token: SoftwareTpm, command: str, action: Drop | Truncate
) -> None:
    token = swtpm_token.open()
    key = make(token)
    for _ in range(4):  # more often than there are slots
        swtpm_token.proxy.inject(Fault(action, name=command, times=1))
        try:
            sign(key)
        except (TokenRemoved, TokenFault):
            assert command != "FlushContext"  # the signature was there already
        sign(key)
        assert swtpm_token.loaded() <= 1
    token.close()
    assert swtpm_token.loaded() == 0


@pytest.mark.parametrize("command", ["CreatePrimary", "StartAuthSession", "ECDH_ZGen", "Create"])
def test_a_lost_answer_while_opening_or_agreeing(swtpm_token: SoftwareTpm, command: str) -> None:
    token = swtpm_token.open()
    key = make(token)
    partner = independent.Partner.new(Algorithm.P256)
    token.close()
    swtpm_token.proxy.inject(Fault(Truncate(0), name=command, times=1))
    token = open_token(key.uri.token) if command != "CreatePrimary" else token
    agreeing = key if command == "CreatePrimary" else token.key(key.uri)
    with pytest.raises(TokenRemoved):
        make(token) if command == "Create" else power(agreeing, Agrees).agree(partner.public)
    assert power(agreeing, Agrees).agree(partner.public) == partner.agree(key.public)
    token.close()
    assert swtpm_token.loaded() == 0


def test_sessions_of_broken_connections_are_flushed_too(swtpm_token: SoftwareTpm) -> None:
    key = make(swtpm_token.open(), PinPolicy.ONCE)
    for _ in range(5):
        sign(key)
        swtpm_token.proxy.inject(Fault(Truncate(0), name="Sign", times=1))
        with pytest.raises(TokenRemoved):
            sign(key)
    sign(key)
    assert swtpm_token.loaded() == 1


def test_lost_sessions_are_flushed_too(swtpm_token: SoftwareTpm) -> None:
    key = make(swtpm_token.open())
    partner = independent.Partner.new(Algorithm.P256)
    for _ in range(5):  # a TPM has slots for three sessions
        swtpm_token.proxy.inject(Fault(Truncate(0), name="StartAuthSession", times=1))
        with pytest.raises(TokenRemoved):
            power(key, Agrees).agree(partner.public)
    assert power(key, Agrees).agree(partner.public) == partner.agree(key.public)


# Promise: every code of the TPM becomes a sensible error, unknown ones too, and the code is kept.


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (0x101, TokenFault),
        (0x100, TokenFault),
        (0x14B, TokenFull),
        (0x920, TokenBusy),
        (0x923, TokenBusy),
        (0x9A2, PinIncorrect),
        (0x921, PinLocked),
        (0x1DF, MeshError),
        (0x7F, TokenFault),
        (0x8FF, TokenFault),
    ],
    ids=lambda value: hex(value) if isinstance(value, int) else value.__name__,
)
def test_codes_are_folded_and_kept(swtpm_token: SoftwareTpm, code: int, kind: type[MeshError]) -> None:
    key = make(swtpm_token.open())
    swtpm_token.proxy.inject(Fault(Answer(code), name="Sign", times=1))
    with pytest.raises(kind) as error:
        sign(key)
    assert error.value.code is not None
    assert error.value.code.value == code
    assert error.value.hint
    sign(key)
    assert swtpm_token.loaded() == 1


# Promise: many threads and programs at once get equal results.


def test_eight_threads_share_one_token(swtpm_token: SoftwareTpm) -> None:
    token = swtpm_token.open(deadline=20.0)
    key = make(token)
    partner = independent.Partner.new(Algorithm.P256)
    expected = partner.agree(key.public)
    results: list[bytes] = []

    def work() -> None:
        for _ in range(5):
            results.append(power(key, Agrees).agree(partner.public))
            sign(key)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [expected] * 40
    assert swtpm_token.loaded() == 1


def test_four_programs_share_a_tpm_without_a_resource_manager(swtpm_token: SoftwareTpm) -> None:
    token = swtpm_token.open()
    key = make(token)
    token.close()
    program = (
        "import sys\n"
        "from meshhw.keystore.registry import open_token\n"
        "from meshhw.keystore.uri import KeyURI\n"
        "uri = KeyURI.parse(sys.argv[1])\n"
        "token = open_token(uri.token)\n"
        "key = token.key(uri)\n"
        "print(len([key.sign(b'message') for _ in range(10)]))\n"
        "token.close()\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(key.uri)], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert [process.communicate(timeout=60)[0] for process in running] == ["10\n"] * 4
    assert swtpm_token.loaded() == 0


@pytest.mark.parametrize("deadline", [None, 20.0])
def test_a_forked_child_and_its_parent_do_not_disturb_each_other(
    swtpm_token: SoftwareTpm, deadline: float | None
) -> None:
    key = make(swtpm_token.open(deadline=deadline), PinPolicy.ONCE)
    partner = independent.Partner.new(Algorithm.P256)
    expected = partner.agree(key.public)
    assert power(key, Agrees).agree(partner.public) == expected  # the session is open now
    child = os.fork()
    if child == 0:
        results = [power(key, Agrees).agree(partner.public) for _ in range(3)]
        os._exit(0 if results == [expected] * 3 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert power(key, Agrees).agree(partner.public) == expected
    sign(key)


def test_addresses_that_lead_nowhere(tpm_home: Path) -> None:
    for tcti in ("swtpm:host=127.0.0.1,port=1", "device:/dev/null-tpm", "nonsense"):
        with pytest.raises(MeshError) as error:
            open_token(TokenURI.make("tpm2", tcti=tcti))
        assert error.value.exit_status == 3
        assert error.value.hint
    assert not tpm_home.exists()


def test_what_a_key_may_not_do_is_refused(swtpm_token: SoftwareTpm) -> None:
    spec = KeySpec(Algorithm.P256, uses=frozenset({Operation.DECRYPT, Operation.AGREE}))
    key = power(swtpm_token.open(), Generates).generate(spec)
    assert not isinstance(key, Signs)
