"""A Python of its own that does what a test tells it: for tokens that only a program started anew can see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Self

LOOP = """
import json, sys
names = {}
for line in sys.stdin:
    source = json.loads(line)
    try:
        if source["exec"]:
            value = exec(source["text"], names)
        else:
            value = eval(source["text"], names)
        answer = ["ok", value]
    except BaseException as error:
        answer = [type(error).__name__, str(error)]
    print(json.dumps(answer, default=repr), flush=True)
"""


class RemoteError(Exception):
    """What was raised there: the class's name and the message."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name


class Remote:
    """One process. Use it as a context manager."""

    def __init__(self, env: Mapping[str, str], setup: str = "") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", LOOP],
            env=os.environ | env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.run(setup)

    def start(self, text: str) -> None:
        """Let it begin an expression, whose value `wait` gets."""
        self._send(text, statements=False)

    def wait(self) -> Any:
        """The value, as JSON has it. Raises RemoteError."""
        assert self._process.stdout is not None
        kind, value = json.loads(self._process.stdout.readline())
        if kind != "ok":
            raise RemoteError(kind, value)
        return value

    def ask(self, text: str) -> Any:
        """The value of an expression. Raises RemoteError."""
        self.start(text)
        return self.wait()

    def run(self, text: str) -> None:
        """Carry out statements. Raises RemoteError."""
        self._send(text, statements=True)
        self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.communicate()

    def _send(self, text: str, *, statements: bool) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"text": text, "exec": statements}) + "\n")
        self._process.stdin.flush()
