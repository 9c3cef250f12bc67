"""The short-lived process in which shares appear: it runs one task, talks to its manager, and ends.

Its standard input and output are the channel; what a library prints goes to standard error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from meshhw.algorithms import Operation
from meshhw.errors import MeshError
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, PinRequest
from meshhw.keystore.uri import KeyURI, TokenURI
from meshhw.managers.threshold.channel import Channel, error_members
from meshhw.managers.threshold.hardening import harden
from meshhw.managers.threshold.tokens import OpenTokens

Tell = Callable[[Any], Any]
"""Say something to the manager, and wait for its answer."""
Task = Callable[[dict[str, Any], OpenTokens, Tell], Any]

_TASKS = {
    "deal": "meshhw.managers.threshold.deal",
    "generate": "meshhw.managers.threshold.deal",
    "destroy": "meshhw.managers.threshold.deal",
    "sign": "meshhw.managers.threshold.cosigning",
    "renew": "meshhw.managers.threshold.renewing",
}


class _Person:
    """The manager's interaction and recorder, asked through the channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def pin(self, request: PinRequest) -> str:
        return str(self._channel.ask("pin", _request(request)))

    def final_try(self, request: PinRequest) -> bool:
        return bool(self._channel.ask("final_try", _request(request)))

    def touch(self, label: str) -> None:
        self._channel.ask("touch", label)

    def insert(self, token: TokenURI, label: str) -> bool:
        return bool(self._channel.ask("insert", [str(token), label]))

    def confirm(self, question: str) -> bool:
        return bool(self._channel.ask("confirm", question))

    def progress(self, what: str, done: int, total: int | None) -> None:
        self._channel.ask("progress", [what, done, total])

    def cancelled(self) -> bool:
        return bool(self._channel.ask("cancelled"))

    def record(self, key: KeyURI, operation: Operation, result: str) -> None:
        self._channel.ask("record", [str(key), operation.value, result])


def _request(request: PinRequest) -> dict[str, Any]:
    return {
        "kind": request.kind.value,
        "token": str(request.token),
        "label": request.label,
        "retries_left": request.retries_left,
        "new": request.new,
        "first": request.first,
    }


def request_from(members: dict[str, Any]) -> PinRequest:
    """The question that the process asked."""
    token, kind = TokenURI.parse(members["token"]), PinKind(members["kind"])
    return PinRequest(
        kind, token, members["label"], members["retries_left"], members["new"], members["first"]
    )


def main() -> None:
    """Run the task that the manager names."""
    harden()
    channel = Channel(sys.stdin.buffer, os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
    order = channel.receive().value
    person = _Person(channel)
    options = OpenOptions(interaction=person, recorder=person, deadline=order["deadline"])
    try:
        task: Task = getattr(import_module(_TASKS[order["task"]]), order["task"])
        with OpenTokens(options) as tokens:
            result = task(order["arguments"], tokens, lambda value: channel.ask("told", value))
    except MeshError as error:
        channel.send("failed", error_members(error))
    except (EOFError, BrokenPipeError):
        sys.exit(1)  # the manager is gone, and what was begun has been undone on the way here
    else:
        channel.send("done", result)


if __name__ == "__main__":
    main()
