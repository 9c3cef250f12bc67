"""A token with a PIN that keeps the promise about it, except in the way that it is told to."""

from __future__ import annotations

from dataclasses import dataclass

from meshhw.conformance.model import Promise
from meshhw.errors import NotSupported, PinIncorrect
from meshhw.keystore.api import Key, KeySpec, OpenOptions
from meshhw.keystore.interaction import PinKind, PinRequest
from tests.conformance.lying_token import INFO, LyingToken

PIN = "123456"


@dataclass(slots=True)
class Counter:
    """The tries that are left, however often the token is opened."""

    left: int = 5


class PinToken(LyingToken):
    """Wants its PIN before it makes a key."""

    def __init__(self, how: str, options: OpenOptions, counter: Counter) -> None:
        super().__init__(Promise.PIN, how)
        self._options, self._counter = options, counter
        self._logged_in = False

    def again(self, options: OpenOptions) -> PinToken:
        """The same token, opened by somebody else."""
        return PinToken(self._how, options, self._counter)

    def generate(self, spec: KeySpec) -> Key:
        if not self._logged_in:
            self._log_in()
        return super().generate(spec)

    def change_pin(self, kind: PinKind) -> None:
        raise NotSupported("the PIN stays")

    def unlock(self) -> None:
        raise NotSupported("nothing unlocks it")

    def reset(self) -> None:
        raise NotSupported("nothing erases it")

    def retries_left(self, kind: PinKind) -> int | None:
        return self._counter.left

    def _log_in(self) -> None:
        for _ in range(2 if self.lies(Promise.PIN, "asks twice") else 1):
            request = PinRequest(PinKind.USER, INFO.uri, INFO.label, self._counter.left)
            self._logged_in = self._options.interaction.pin(request) == PIN
        if self._logged_in or self.lies(Promise.PIN, "accepts it"):
            return
        self._counter.left -= 2 if self.lies(Promise.PIN, "spends two") else 1
        told = self._counter.left + (1 if self.lies(Promise.PIN, "tells another number") else 0)
        raise PinIncorrect("the PIN is wrong", retries_left=told)
