"""What the authenticator remembers: for good, and until it loses power."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass, field

from meshhw.lab.ctap.credential import Credential, Wrapper
from meshhw.lab.ctap.pin_protocol import PinProtocol, PinProtocol2

PIN_RETRIES = 8
PIN_RETRIES_A_SESSION = 3
CAPACITY = 25
TOKEN_SECONDS = 600.0
_PROTOCOLS = {2: PinProtocol2, 1: PinProtocol}
PROTOCOLS = tuple(_PROTOCOLS)
"""PIN/UV auth protocols, the preferred one first."""


@dataclass(slots=True)
class Lasting:
    """Survives power loss; `reset` of the authenticator makes a new one."""

    capacity: int = CAPACITY
    pin_hash: bytes | None = field(default=None, repr=False)
    pin_retries: int = PIN_RETRIES
    pin_must_change: bool = False
    pins_tried: int = 0
    """How many PINs came, right or wrong."""
    counter: int = 0
    credentials: list[Credential] = field(default_factory=list)
    wrapper: Wrapper = field(default_factory=Wrapper)

    def set_pin(self, pin: str) -> None:
        """Keep the PIN's digest, with all its tries."""
        self.pin_hash = hashlib.sha256(pin.encode()).digest()[:16]
        self.pin_retries = PIN_RETRIES

    def count(self) -> int:
        """The signature counter, one higher each time."""
        self.counter += 1
        return self.counter


@dataclass(slots=True)
class PinToken:
    """A pinUvAuthToken and what it may be used for (CTAP 2.1 section 6.5.2.1)."""

    value: bytes = field(repr=False)
    permissions: int
    rp_id: str | None
    since: float = field(default_factory=time.monotonic)

    def allows(self, permission: int, rp_id: str | None) -> bool:
        """Whether it is young enough, and good for that."""
        young = time.monotonic() - self.since < TOKEN_SECONDS
        fits = self.rp_id is None or rp_id is None or self.rp_id == rp_id
        return young and fits and bool(self.permissions & permission)


class Session:
    """Lost with the power."""

    def __init__(self, versions: tuple[int, ...] = PROTOCOLS) -> None:
        self.since = time.monotonic()
        self.protocols = {version: _PROTOCOLS[version]() for version in versions}
        self.wrong_pins = 0
        self.token: PinToken | None = None
        self.waiting_answers: list[bytes] = []
        """What getNextAssertion, or the next step of an enumeration, will answer."""

    def new_token(self, permissions: int, rp_id: str | None) -> PinToken:
        """Replace the token."""
        self.token = PinToken(secrets.token_bytes(32), permissions, rp_id)
        return self.token


class Finger:
    """The person at the card. `waits` counts how often the card asked for a touch."""

    def __init__(self, patience: float = 30.0) -> None:
        self.willing = True
        self.delay = 0.0
        self.patience = patience
        self.waits = 0

    def touched(self, waited: float) -> bool:
        """Whether the touch has come after so many seconds."""
        return self.willing and waited >= self.delay


class TouchNeeded(Exception):
    """A command cannot go on before the card is touched. Until here it has changed nothing."""
