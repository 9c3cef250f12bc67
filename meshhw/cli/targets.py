"""TOKEN and KEY arguments: opened for a verb, closed after it, with what they need said beforehand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from meshhw.cli.common import context

if TYPE_CHECKING:
    from meshhw.keystore.api import Key, Token
    from meshhw.managers.keys import OpenKey

TokenArgument = Annotated[
    str, typer.Argument(metavar="TOKEN", help="A token URI, or part of a label, serial number or reader.")
]
OnToken = Annotated[str, typer.Option("--on", metavar="TOKEN", help="The token that shall hold the key.")]
KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="A key URI, a UDF, or a label.")]

Power = TypeVar("Power")


@contextmanager
def opened_token(name: str) -> Iterator[Token]:
    """The token that a person means, open until the end."""
    from meshhw.keystore import registry

    token = registry.open_token(registry.find_token(name), context().open_options)
    try:
        yield token
    finally:
        token.close()


@contextmanager
def opened_key(name: str) -> Iterator[OpenKey]:
    """The key that a person means, its token open until the end."""
    from meshhw.managers.keys import opened

    cli = context()
    with opened(name, cli.home, cli.open_options) as found:
        yield found


def announce(*keys: Key) -> None:
    """Say what the next operation of these keys will ask of the person, before the first PIN or touch."""
    needs = [key.needs() for key in keys]
    pins, touches = sum(n.pin for n in needs), sum(n.touch for n in needs)
    parts = [_count(pins, "PIN", "PINs"), _count(touches, "touch", "touches")]
    names = ", ".join(dict.fromkeys(str(key.uri.token) for key in keys))
    if pins or touches:
        context().output.note(f"{', '.join(part for part in parts if part)}: {names}")


def having(thing: object, power: type[Power], cannot: str) -> Power:
    """`thing`, if it has that optional protocol. Raises NotSupported: "the token cannot …"."""
    from meshhw.errors import NotSupported

    if not isinstance(thing, power):
        raise NotSupported(f"the token cannot {cannot}")
    return thing


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}" if number else ""
