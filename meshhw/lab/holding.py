"""Another program that keeps a card to itself: a process of its own, with an exclusive connection."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Self

from meshhw.errors import TokenBusy

PATIENCE = 25.0
_HOLD = """
import sys, time
from smartcard.scard import *
_, context = SCardEstablishContext(SCARD_SCOPE_SYSTEM)
end = time.monotonic() + 20
while True:
    code, card, _ = SCardConnect(context, sys.argv[1], SCARD_SHARE_EXCLUSIVE, SCARD_PROTOCOL_ANY)
    if code == 0 or time.monotonic() > end:
        break
    time.sleep(0.05)
print(code, flush=True)
sys.stdin.read()
"""


class CardHolder:
    """It holds the card in a reader until `release`."""

    def __init__(self, reader: str, env: Mapping[str, str]) -> None:
        """Raises TokenBusy when it does not get the card within twenty seconds or so."""
        arguments = [sys.executable, "-c", _HOLD, reader]
        self._process = subprocess.Popen(
            arguments, env=os.environ | env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        # The call waits while others are in a transaction.
        patience = threading.Timer(PATIENCE, self._process.kill)
        patience.start()
        answer = self._process.stdout.readline()
        patience.cancel()
        if answer != "0\n":
            self.release()
            raise TokenBusy(
                f"a program has the card in {reader} open (PC/SC says {answer.strip() or 'nothing'})",
                hint="end it, or close the card there, first",
            )

    @property
    def holds(self) -> bool:
        """Whether it still has the card: nobody has killed it."""
        return self._process.poll() is None

    def release(self) -> None:
        """Let the card go. Twice is fine."""
        if self._process.poll() is None:
            self._process.communicate("")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()
