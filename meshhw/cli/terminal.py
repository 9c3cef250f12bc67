"""The Interaction of the command line: PIN sources first, then the person at the terminal."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from meshhw.cli import pins
from meshhw.cli.output import say
from meshhw.errors import Cancelled, PinRequired
from meshhw.keystore.interaction import PinRequest
from meshhw.keystore.uri import TokenURI

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


_TTY = "/dev/tty"


@dataclass(slots=True)
class Terminal:
    """Asks the sources of --pin-source and MESHHW_PIN_SOURCE, else the person, if one is there."""

    ranks: list[list[pins.Rule]] = field(default_factory=list)
    assume_yes: bool = False
    allow_final_try: bool = False
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    _read_once: dict[str, str] = field(default_factory=dict, repr=False)
    _stop: threading.Event = field(default_factory=threading.Event, repr=False)
    _bar: Progress | None = field(default=None, repr=False)
    _tasks: dict[str, TaskID] = field(default_factory=dict, repr=False)

    @classmethod
    def from_options(
        cls, sources: Iterable[str], *, assume_yes: bool = False, allow_final_try: bool = False
    ) -> Terminal:
        """The terminal of one command. Raises UsageError for what is not a PIN source."""
        ranks = pins.rules(sources, os.environ.get(pins.VARIABLE, ""))
        return cls(ranks, assume_yes=assume_yes, allow_final_try=allow_final_try)

    def pin(self, request: PinRequest) -> str:
        """The secret from its source. Raises PinRequired, Cancelled."""
        source = pins.choose(self.ranks, request.token) or "prompt"
        with self._lock:
            if source == "prompt":
                return _prompt(request)
            text = _from_keyring(request) if source == "keyring" else self._read(source)
        return pins.pick(text, request, source)

    def final_try(self, request: PinRequest) -> bool:
        """Only as --allow-final-try said."""
        return self.allow_final_try

    def touch(self, label: str) -> None:
        """Tell the person to touch the token."""
        say(f"touch {label} now")

    def insert(self, token: TokenURI, label: str) -> bool:
        """Ask for a token that is absent."""
        return has_terminal() and self._ask(f"insert {label}, then press Enter (or answer no)", default=True)

    def confirm(self, question: str) -> bool:
        """--yes, or the person's yes; without a terminal, no, and what would have been asked is shown."""
        if self.assume_yes:
            return True
        if not has_terminal():
            say(f"{question} There is no terminal to answer at")
            return False
        return self._ask(f"{question} [y/N]", default=False)

    def progress(self, what: str, done: int, total: int | None) -> None:
        """A bar on stderr, when that is a terminal."""
        if not sys.stderr.isatty():
            return
        with self._lock:
            self._draw(what, done, total)

    def tell(self, line: str) -> None:
        """One line on stderr."""
        say(line)

    def cancelled(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._stop.is_set()

    def cancel(self) -> None:
        """Let calls that wait for a person come to an end."""
        self._stop.set()

    def close(self) -> None:
        """Take the progress bar away."""
        with self._lock:
            if self._bar is not None:
                self._bar.stop()
            self._bar = None
            self._tasks.clear()

    def _read(self, source: str) -> str:
        if source.startswith("fd:"):  # a pipe gives its text once
            if source not in self._read_once:
                self._read_once[source] = pins.read(source)
            return self._read_once[source]
        return pins.read(source)

    def _ask(self, question: str, *, default: bool) -> bool:
        with self._lock:
            sys.stderr.write(f"meshhw: {question} ")
            sys.stderr.flush()
            with Path(_TTY).open(encoding="utf-8") as tty:  # stdin may be the data
                answer = tty.readline(64).strip().lower()
        return default if not answer else answer in ("y", "yes")

    def _draw(self, what: str, done: int, total: int | None) -> None:
        if self._bar is None:
            self._bar = _start_bar()
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=total)
        self._bar.update(self._tasks[what], completed=done, total=total)
        if all(task.finished for task in self._bar.tasks):
            self.close()


def has_terminal() -> bool:
    """Whether a person can be asked: stderr shows it and the controlling terminal can be read."""
    if not sys.stderr.isatty():
        return False
    try:
        os.close(os.open(_TTY, os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _prompt(request: PinRequest) -> str:
    if not has_terminal():
        raise PinRequired(f"{request.label} needs its {request.kind} PIN and there is no terminal to ask at")
    from getpass import getpass

    left = "" if request.retries_left is None else f", {request.retries_left} tries left"
    secret = getpass(f"{'New ' if request.new else ''}{request.kind} PIN of {request.label}{left}: ")
    if request.new and getpass("Once more: ") != secret:
        raise Cancelled("the two entries differ, nothing was changed")
    if not secret:
        raise Cancelled(f"no PIN was given for {request.label}")
    return secret


def _from_keyring(request: PinRequest) -> str:
    try:
        import keyring
    except ImportError as error:
        raise PinRequired(
            "the PIN source keyring needs the package keyring", hint="pip install keyring"
        ) from error
    account = str(TokenURI(request.token.scheme, request.token.path))
    text = keyring.get_password("meshhw", account)
    if text is None:
        raise PinRequired(
            f"the keyring holds no PIN for {request.label}", hint=f"keyring set meshhw '{account}'"
        )
    return text


def _start_bar() -> Progress:
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True)
    bar.start()
    return bar
