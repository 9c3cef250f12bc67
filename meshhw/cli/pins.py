"""Where PINs come from: `prompt`, `env:NAME`, `file:PATH`, `fd:N`, `keyring`; for all tokens or `URI=SRC`.

The first line of a source is the PIN (or the vault's passphrase). Further lines may name the other secrets of
a token: `new=…`, `puk=…`, `so=…`, `management=…`. A PUK or a new PIN is never guessed from the PIN's line;
a token that has no PIN yet gets that line as its first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from meshhw.errors import PinRequired, UsageError
from meshhw.keystore.interaction import PinKind, PinRequest
from meshhw.keystore.uri import TokenURI

VARIABLE = "MESHHW_PIN_SOURCE"
_SOURCE = re.compile(r"(?:prompt|keyring|env:.+|file:.+|fd:[0-9]+)\Z", re.DOTALL)
_PLAIN = frozenset({PinKind.USER, PinKind.CONTEXT, PinKind.VAULT})
_MAX_LENGTH = 1 << 16


@dataclass(frozen=True, slots=True)
class Rule:
    """One PIN source and the tokens that it is for; `token` None means all."""

    source: str
    token: TokenURI | None = None

    def fits(self, token: TokenURI) -> bool:
        """Whether it may answer for this token."""
        return self.token is None or token.fits(self.token)

    @property
    def narrowness(self) -> int:
        """How much of a token's name the rule demands."""
        return 0 if self.token is None else 1 + len(self.token.path)


def parse_rule(text: str) -> Rule:
    """`SRC` or `URI=SRC`, split at the last `=` that stands before a source word. Raises UsageError."""
    if _SOURCE.match(text):
        return Rule(text)
    for position in reversed([found.start() for found in re.finditer("=", text)]):
        source = text[position + 1 :]
        if _SOURCE.match(source):
            return Rule(source, TokenURI.parse(text[:position]))
    raise UsageError(
        "a PIN source is not prompt, env:NAME, file:PATH, fd:N, keyring or URI=SRC",
        hint="the PIN itself is never given here",
    )


def rules(options: Iterable[str], environment: str) -> list[list[Rule]]:
    """The rules in the order of their authority: options, then the environment's lines."""
    lines = (line.strip() for line in environment.splitlines())
    return [[parse_rule(text) for text in options], [parse_rule(line) for line in lines if line]]


def choose(ranks: Iterable[Iterable[Rule]], token: TokenURI) -> str | None:
    """The source for a token: the first rank that has one, in it the narrowest, then the last given."""
    for rank in ranks:
        fitting = [rule for rule in rank if rule.fits(token)]
        if fitting:
            return sorted(fitting, key=lambda rule: rule.narrowness)[-1].source
    return of_uri(token)


def of_uri(token: TokenURI) -> str | None:
    """A URI's own pin-source (RFC 7512 section 2.4), a path or one of our source words."""
    text = token.get("pin-source")
    if text is None:
        return None
    if text.startswith("/"):
        return f"file:{text}"
    if text.startswith("file://"):
        return "file:" + text.removeprefix("file://")
    if not _SOURCE.match(text):
        raise UsageError("the URI's pin-source is not file:PATH, env:NAME, fd:N, keyring or prompt")
    return text


def read(source: str) -> str:
    """The text of an `env:`, `file:` or `fd:` source. Raises PinRequired."""
    word, _, rest = source.partition(":")
    if word == "env":
        if rest not in os.environ:
            raise PinRequired(f"the PIN source env:{rest} is not set")
        if not is_text(os.environ[rest]):
            raise PinRequired(f"the PIN source env:{rest} is not UTF-8")
        return os.environ[rest]
    try:
        with os.fdopen(int(rest), encoding="utf-8") if word == "fd" else _open(rest) as file:
            return file.read(_MAX_LENGTH)
    except (OSError, UnicodeDecodeError) as error:
        raise PinRequired(f"the PIN source {source} cannot be read") from error


def is_text(given: str) -> bool:
    """Whether what the system handed over was UTF-8: Python keeps other octets as surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in given)


def _open(path: str) -> TextIO:
    return Path(path).expanduser().open(encoding="utf-8")


def pick(text: str, request: PinRequest, source: str) -> str:
    """The line of a source's text that answers a request. Raises PinRequired when it holds none."""
    first, *others = text.splitlines() or [""]
    named = dict(line.partition("=")[::2] for line in others)
    if request.new and not request.first:
        secret = named.get("new", "")
    elif request.kind in _PLAIN:
        secret = first
    else:
        secret = named.get(str(request.kind), "")
    if not secret:
        name = "new" if request.new else str(request.kind)
        raise PinRequired(
            f"the PIN source {source} holds no {name} PIN for {request.label}",
            hint=f"add a line {name}=… to it" if request.new or request.kind not in _PLAIN else None,
        )
    return secret
