"""Secrets as arguments: `-` reads stdin, `@FILE` a file; typed ones work, with a warning."""

from __future__ import annotations

import sys
from pathlib import Path

from meshhw.cli.output import say
from meshhw.errors import UsageError

MAX_LENGTH = 1 << 20
_GROUP = 4


def read_secret(argument: str, what: str = "secret") -> str:
    """The secret that an argument stands for, without the line's end. Raises UsageError when it is empty."""
    if argument == "-":
        text = _decoded(sys.stdin.buffer.read(MAX_LENGTH), "stdin", what)
    elif argument.startswith("@"):
        with Path(argument[1:]).open("rb") as file:
            text = _decoded(file.read(MAX_LENGTH), argument[1:], what)
    else:
        text = argument
        say(f"a {what} on the command line can be seen by others and stays in the shell's history")
    text = text.strip()
    if not text:
        raise UsageError(f"the {what} is empty", hint=f"give the {what} as -, @FILE, or text")
    return text


def _decoded(octets: bytes, name: str, what: str) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        hint = f"name the file that has the {what} as text"
        told = UsageError(f"{name} is not the text of a {what}", hint=hint)
        raise told from None  # the cause would hold its octets, which may be secret


def read_secrets(arguments: list[str], what: str = "secret") -> list[str]:
    """Several UDFs that are secret; each `-` or `@FILE` may hold some, one a line, as paper has them: in
    groups of four with dashes or blanks between.
    """
    lines = [line for argument in arguments for line in read_secret(argument, what).splitlines()]
    return [secret for line in lines for secret in _in_line(line)]


def _in_line(line: str) -> list[str]:
    words = line.split()
    grouped = all(len(word) <= _GROUP for word in words)
    return ["-".join(words)] if words and grouped else words
