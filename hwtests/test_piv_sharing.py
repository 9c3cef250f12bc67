"""A PIV card among other programs, threads and processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from meshhw_piv.driver import PivDriver
from meshhw_piv.pcsc import Context

from hwtests.piv_cards import (
    another_program,
    make_key,
    opened,
    start_another,
    within,
)
from meshhw.errors import (
    KeyNotFound,
    MeshError,
    TokenBusy,
)
from meshhw.keystore.interaction import Scripted
from meshhw.keystore.registry import driver
from meshhw.lab.fixtures_piv import InsertCard
from meshhw.lab.piv.keys import GENERATED, PIN_ONCE, TOUCH_NEVER, SlotKey, generate
from meshhw.lab.piv.personality import P256
from meshhw.lab.piv.token import FACTORY, VirtualPivToken
from tests.patience import until


@pytest.fixture
def holding() -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("what", ["exclusive", "transaction"])
def test_a_held_card_is_busy_and_its_holder_named(
    piv_card: VirtualPivToken, what: str, holding: list[subprocess.Popen[str]]
) -> None:
    holding.append(start_another(piv_card, what))
    with within(10), pytest.raises(TokenBusy) as busy:
        opened(piv_card)
    assert f"(pid {holding[0].pid})" in str(busy.value.holder)
    assert holding[0].poll() is None
    holding[0].kill()
    holding[0].wait()
    opened(piv_card).close()


def test_a_card_that_is_taken_between_operations_is_waited_for(
    piv_card: VirtualPivToken, holding: list[subprocess.Popen[str]]
) -> None:
    token = opened(piv_card)
    key = make_key(token)
    key.sign(b"before")
    holding.append(start_another(piv_card, "transaction"))
    with within(10), pytest.raises(TokenBusy):
        key.sign(b"held")
    threading.Timer(0.5, holding[0].kill).start()
    assert key.sign(b"as soon as it is free")
    token.close()


def test_a_token_is_closed_while_another_program_has_the_card(
    piv_card: VirtualPivToken, holding: list[subprocess.Popen[str]]
) -> None:
    token = opened(piv_card)
    make_key(token).sign(b"so that there is a PIN to be forgotten")
    holding.append(start_another(piv_card, "transaction"))
    with within(20):
        token.close()
        assert piv_card.reader.name in Context().readers()  # PC/SC answers this process still
    holding[0].kill()
    holding[0].wait()
    opened(piv_card).close()


@pytest.mark.parametrize("what", ["reset", "select", "reselect"])
def test_what_others_do_to_the_card_is_made_good(piv_card: VirtualPivToken, what: str) -> None:
    script = Scripted(FACTORY)
    token = opened(piv_card, script)
    key = make_key(token)
    key.sign(b"before")
    another_program(piv_card, what)
    assert key.sign(b"after")
    assert len(script.asked) == 1
    token.close()


def test_a_key_deleted_by_someone_else(piv_card: VirtualPivToken) -> None:
    token = opened(piv_card)
    key = make_key(token)
    piv_card.lose_key(0x82)
    for work in (lambda: key.sign(b"x"), lambda: key.agree(key.public)):
        with pytest.raises(KeyNotFound):
            work()
    token.close()


def test_a_key_replaced_by_someone_else(piv_card: VirtualPivToken) -> None:
    token = opened(piv_card)
    key = make_key(token)
    piv_card.card.lasting.keys[0x82] = SlotKey(P256, generate(P256), GENERATED, PIN_ONCE, TOUCH_NEVER)
    with pytest.raises(KeyNotFound):
        key.sign(b"signed by another key, and not passed on")
    token.close()


def test_eight_threads_get_equal_results(piv_card: VirtualPivToken) -> None:
    token = opened(piv_card)
    key = make_key(token)
    expected = key.agree(key.public)
    with within(30), ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: key.agree(key.public), range(200)))
    assert set(results) == {expected}
    token.close()


WORKER = """
import sys
from meshhw.algorithms import Algorithm, PublicKey
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.registry import open_token
from meshhw.keystore.uri import KeyURI
uri = KeyURI.parse(sys.argv[1])
token = open_token(uri.token, OpenOptions(Scripted({PinKind.USER: "123456"})))
key = token.key(uri)
print({key.agree(key.public).hex() for _ in range(50)}.pop())
token.close()
"""


def test_four_processes_get_equal_results(piv_card: VirtualPivToken) -> None:
    token = opened(piv_card)
    key = make_key(token)
    expected = key.agree(key.public).hex()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(key.uri)],
            env=os.environ | piv_card.env,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    results = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert results == {expected}
    assert key.agree(key.public).hex() == expected
    token.close()


def test_a_forked_child_finds_the_card_by_itself(piv_card: VirtualPivToken) -> None:
    token = opened(piv_card)
    key = make_key(token)
    key.sign(b"before")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, b"ok" if key.sign(b"in the child") else b"no")
        except MeshError as error:
            os.write(write, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.close(write)
    assert os.read(read, 100) == b"ok"
    os.waitpid(child, 0)
    assert key.sign(b"in the parent")
    token.close()


def test_comings_and_goings_are_told(pcsc_lab: object, insert_card: InsertCard) -> None:
    watcher = driver("yubikey")
    assert isinstance(watcher, PivDriver)
    there, coming = insert_card("5.7"), []
    there.card.log.clear()

    def plug() -> None:
        until(lambda: there.card.log)  # the watch has begun with a look at what is there
        coming.append(insert_card("5.7"))

    thread = threading.Thread(target=plug)
    thread.start()
    events = watcher.events(60)
    plugged = next(events)
    thread.join()
    assert (plugged.uri, plugged.present) == (coming[0].uri, True)
    coming[0].pull()
    pulled = next(events)
    assert (pulled.uri, pulled.present) == (coming[0].uri, False)
