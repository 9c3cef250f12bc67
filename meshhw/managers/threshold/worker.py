"""Starting the short-lived process of a task, answering what it asks, and taking its result."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from typing import Any, Self

from meshhw.algorithms import Operation
from meshhw.errors import MeshError
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.uri import KeyURI, TokenURI
from meshhw.managers.threshold.channel import Channel, error_from, error_members
from meshhw.managers.threshold.process import request_from


class Worker:
    """One task in one process. Use it as a context manager: leaving ends the process, whatever it does."""

    def __init__(self, task: str, arguments: dict[str, Any], options: OpenOptions) -> None:
        self._options = options
        self.died = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "meshhw.managers.threshold.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._channel = Channel(self._process.stdout, self._process.stdin)
        order = {"task": task, "arguments": arguments, "deadline": options.deadline}
        self._channel.send("order", order)

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def told(self) -> Any:
        """What the task says next. Raises the task's error; MeshError when the process died."""
        kind, value = self._next()
        if kind != "told":
            raise MeshError("the process that handles the shares ended too early")
        return value

    def answer(self, value: Any = None) -> None:
        """Answer what it said. Raises MeshError when the process died."""
        try:
            self._channel.send("answer", value)
        except BrokenPipeError as error:
            raise self._dead() from error

    def result(self) -> Any:
        """The task's result. Raises as `told`."""
        kind, value = self._next()
        if kind != "done":
            raise MeshError("the process that handles the shares waits for an answer")
        return value

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _next(self) -> tuple[str, Any]:
        """The next message that is not a question to the person."""
        try:
            while True:
                message = self._channel.receive()
                if message.kind in {"told", "done"}:
                    return message.kind, message.value
                if message.kind == "failed":
                    raise error_from(message.value)
                self._serve(message.kind, message.value)
        except (EOFError, BrokenPipeError) as error:
            raise self._dead() from error

    def _dead(self) -> MeshError:
        self.died = True
        return MeshError(
            "the process that handles the shares died",
            hint="repeat the command; it rolls back or resumes what was begun",
        )

    def _serve(self, kind: str, value: Any) -> None:
        try:
            self._channel.send("answer", self._ask(kind, value))
        except MeshError as error:
            self._channel.send("failed", error_members(error))

    def _ask(self, kind: str, value: Any) -> Any:
        person = self._options.interaction
        match kind:
            case "pin":
                return person.pin(request_from(value))
            case "final_try":
                return person.final_try(request_from(value))
            case "touch":
                return person.touch(value)
            case "insert":
                return person.insert(TokenURI.parse(value[0]), value[1])
            case "confirm":
                return person.confirm(value)
            case "progress":
                return person.progress(*value)
            case "cancelled":
                return person.cancelled()
            case "record":
                key, operation, result = value
                return self._options.recorder.record(KeyURI.parse(key), Operation(operation), result)
            case _:
                raise MeshError(f"the process asked {kind[:20]!r}, which is no question")


def run(task: str, arguments: dict[str, Any], options: OpenOptions) -> Any:
    """Run a task that says nothing until its end."""
    with Worker(task, arguments, options) as worker:
        return worker.result()
