"""A token that answers nothing at all: whatever is asked of it ends at the deadline."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any

import pytest

from meshhw.algorithms import Algorithm
from meshhw.conformance.independent import Partner, fresh_private
from meshhw.keystore.api import KeySpec
from meshhw.keystore.interaction import PinKind
from meshhw.keystore.uri import KeyURI
from meshhw.lab.pkcs11_token import Pkcs11Token
from meshhw.lab.shim import Trouble

PATIENCE = 30.0
SPEC = KeySpec(Algorithm.P256)
CALLS: dict[str, Callable[[Any, KeyURI, bytes], object]] = {
    "keys": lambda token, _uri, _blob: token.keys(),
    "key": lambda token, uri, _blob: token.key(uri),
    "capabilities": lambda token, _uri, _blob: token.capabilities(),
    "protection": lambda token, uri, _blob: token.protection(uri),
    "generate": lambda token, _uri, _blob: token.generate(SPEC),
    "import": lambda token, _uri, _blob: token.import_key(fresh_private(Algorithm.P256)[0], SPEC),
    "delete": lambda token, uri, _blob: token.delete(uri),
    "discard": lambda token, _uri, _blob: token.discard(b"name"),
    "seal": lambda token, _uri, _blob: token.seal(b"secret", b"purpose"),
    "unseal": lambda token, _uri, blob: token.unseal(blob, b"purpose"),
    "store data": lambda token, _uri, _blob: token.store_data("name", b"data"),
    "load data": lambda token, _uri, _blob: token.load_data("name"),
    "delete data": lambda token, _uri, _blob: token.delete_data("name"),
    "data names": lambda token, _uri, _blob: token.data_names(),
    "tries left": lambda token, _uri, _blob: token.retries_left(PinKind.USER),
}
USES: dict[str, Callable[[Any], object]] = {
    "sign": lambda key: key.sign(b"message"),
    "sign digest": lambda key: key.sign_digest(bytes(32)),
    "agree": lambda key: key.agree(Partner.new(Algorithm.P256).public),
}


def _end(asked: Future[object]) -> str:
    return type(asked.exception()).__name__ if asked.done() else "still waits"


def test_whatever_is_asked_of_a_hung_module_ends_at_the_deadline(
    troubled_softhsm: tuple[Pkcs11Token, Trouble],
) -> None:
    lab, trouble = troubled_softhsm
    first: Any = lab.open()
    uri, blob = first.generate(SPEC).uri, first.seal(b"secret", b"purpose")
    doomed = first.generate(SPEC).uri  # what hangs is done after all once the module answers
    tokens: dict[str, Any] = {name: lab.open(deadline=3.0) for name in (*CALLS, *USES)}
    keys = {name: token.key(uri) for name, token in tokens.items()}  # all are logged in
    with ThreadPoolExecutor(len(tokens)) as pool:
        trouble.hang()
        try:
            asked = {
                name: pool.submit(call, tokens[name], doomed if name == "delete" else uri, blob)
                for name, call in CALLS.items()
            }
            asked |= {name: pool.submit(use, keys[name]) for name, use in USES.items()}
            wait(asked.values(), PATIENCE)
            ended = {name: _end(one) for name, one in asked.items()}
        finally:
            trouble.clear()
    assert ended == dict.fromkeys(ended, "OperationTimeout")
    for token in (*tokens.values(), first):
        token.close()
    again: Any = lab.open()
    assert again.key(uri).sign(b"it answers")
    again.close()


@pytest.mark.parametrize("verb", ["change_pin", "unlock"])
def test_whoever_administers_a_hung_module_is_told_at_the_deadline(
    troubled_softhsm: tuple[Pkcs11Token, Trouble], verb: str
) -> None:
    """By themselves: once the module answers they log everybody out."""
    lab, trouble = troubled_softhsm
    token: Any = lab.open(deadline=2.0)
    administer = partial(token.change_pin, PinKind.USER) if verb == "change_pin" else token.unlock
    trouble.hang()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(administer)
        try:
            wait([asked], PATIENCE)
            assert _end(asked) == "OperationTimeout"
        finally:
            trouble.clear()
    token.close()
