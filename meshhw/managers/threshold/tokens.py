"""The tokens that a command opened, each once; and what it asks of them that every token can be asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self, TypeVar

from meshhw.errors import NotSupported, OperationTimeout, ShareError, TokenError
from meshhw.keystore import registry
from meshhw.keystore.api import Deletes, Imports, Key, OpenOptions, Seals, Token
from meshhw.keystore.deadline import bounded
from meshhw.keystore.uri import KeyURI, TokenURI
from meshhw.threshold.challenge import answers_challenge
from meshhw.threshold.holders import KeyHolder

P = TypeVar("P")
_A_MOMENT = 0.5
"""Seconds in which a token that is busy may close; it does so on a thread that nobody waits for."""


class OpenTokens:
    """Tokens that stay open, with their PINs, until `close`."""

    def __init__(self, options: OpenOptions) -> None:
        self._options = options
        self._open: dict[TokenURI, Token] = {}
        self._silent: set[TokenURI] = set()
        self._asked: Counter[TokenURI] = Counter()

    def token(self, uri: TokenURI | str) -> Token:
        """That token. Raises TokenNotFound, Ambiguous, DriverUnavailable."""
        name = TokenURI.parse(uri) if isinstance(uri, str) else uri
        if name not in self._open:
            self._open[name] = registry.open_token(name, self._options)
        return self._open[name]

    def present(self, uri: TokenURI | str) -> bool:
        """Whether that token is here; asks for nothing. A vault that was removed counts as absent, and so
        does a token that does not answer.
        """
        name = TokenURI.parse(uri) if isinstance(uri, str) else uri
        try:
            here = not self._is_silent(name) and self.token(name).info().initialised
            return here and not self._is_silent(name)  # by the name that it gives itself, too
        except OperationTimeout:
            self.gave_up(name)
            return False
        except TokenError:
            return False

    def gave_up(self, uri: TokenURI) -> None:
        """That token did not answer in time: it is not waited for again."""
        self._silent |= self._names(uri)

    def why_absent(self, uri: TokenURI | str) -> str:
        """What is wrong with a token that is not `present`; empty when it is simply not here."""
        name = TokenURI.parse(uri) if isinstance(uri, str) else uri
        return "which does not answer" if self._is_silent(name) else ""

    def _is_silent(self, name: TokenURI) -> bool:
        return not self._silent.isdisjoint(self._names(name))

    def _names(self, name: TokenURI) -> set[TokenURI]:
        """A token may be written in several ways; once it is open, it says its own."""
        return {name, self._open[name].info().uri} if name in self._open else {name}

    def key(self, uri: str) -> Key:
        """That key. Raises KeyNotFound and as `token`."""
        name = KeyURI.parse(uri)
        return self.token(name.token).key(name)

    def destroy(self, uri: str) -> None:
        """Destroy that key. Raises KeyNotFound, NotSupported."""
        name = KeyURI.parse(uri)
        having(self.token(name.token), Deletes, "delete keys").delete(name)

    def sealer(self, uri: str) -> Seals:
        """That token, if it seals. Raises NotSupported."""
        return having(self.token(uri), Seals, "seal a share")

    def importer(self, uri: str) -> Imports:
        """That token, if it takes keys. Raises NotSupported."""
        return having(self.token(uri), Imports, "import a share")

    @contextmanager
    def asked(self, uri: TokenURI) -> Iterator[None]:
        """Somebody waits for that token's answer; perhaps no longer, when the tokens are closed."""
        self._asked[uri] += 1
        try:
            yield
        finally:
            self._asked[uri] -= 1

    def owes(self, uri: TokenURI) -> bool:
        """Whether an answer of that token is still to come."""
        return self._asked[uri] > 0

    def close(self) -> None:
        """Close all of them; one that still owes an answer, which came too late, when it has given it."""
        while self._open:
            name, token = self._open.popitem()
            if self.owes(name):
                with suppress(OperationTimeout):
                    bounded(token.close, _A_MOMENT, str(name))  # it could not be asked for its label
            else:
                token.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def having(token: Token, power: type[P], what: str) -> P:
    """The token, if it has that power. Raises NotSupported."""
    if not isinstance(token, power):
        raise NotSupported(f"{name_of(token)} cannot {what}", hint="choose another token with --on")
    return token


def absentee(index: int, token: str, why: str) -> str:
    """How a person is told of a holder that cannot be asked: "2 (software:vault=/b, which ...)"."""
    return f"{index} ({token}, {why})" if why else f"{index} ({token})"


def name_of(token: Token) -> str:
    """What a person calls the token."""
    info = token.info()
    return info.label or info.serial or str(info.uri)


def require_share(holder: KeyHolder) -> None:
    """Ask the token to agree with a fresh challenge. Raises ShareError unless it holds the share."""
    if not answers_challenge(holder):
        raise ShareError(
            f"the token of holder {holder.index} does not hold its share",
            holder=str(holder.index),
            hint="its key was changed or exchanged; replace this holder",
        )
