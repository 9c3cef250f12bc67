"""Saying which tokens a command will ask, for what and how often, before it does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from meshhw.cli.common import context
from meshhw.cli.output import brief_uri

if TYPE_CHECKING:
    from meshhw.keystore.uri import TokenURI

TOUCHING = ("always", "cached")
"""Touch policies of a key that may want to be touched."""


def tell(tokens: Iterable[TokenURI], touches: int, what: Iterable[str]) -> None:
    """One line: how many PINs and touches, what is done with the keys, and on which tokens."""
    names = [name_of(token) for token in dict.fromkeys(tokens)]
    count = f"{counted(len(names), 'PIN')}, {counted(touches, 'touch', 'touches')}"
    where = f"; on {', '.join(names)}" if names else ""
    context().output.note(f"{count}: {', '.join(what)}{where}")


def counted(number: int, one: str, several: str = "") -> str:
    """`1 PIN`, `2 PINs`."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def name_of(token: TokenURI) -> str:
    """What a person calls the token: the name that the environment gives it, else its URI in brief."""
    from meshhw.errors import InvalidURI
    from meshhw.keystore.registry import named
    from meshhw.keystore.uri import TokenURI

    for name, text in named().items():
        try:
            if token.fits(TokenURI.parse(text)):
                return name
        except InvalidURI:
            continue
    return brief_uri(str(token))
