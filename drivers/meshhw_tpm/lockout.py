"""Tries and waiting times: the TPM's dictionary-attack protection (TPM 2.0 Library part 1, section 19.8)."""

from __future__ import annotations

from dataclasses import dataclass

from meshhw.errors import MeshError, PinFinalTry, PinIncorrect, PinLocked
from meshhw.keystore.uri import TokenURI
from meshhw_tpm.context import Context

_PERMANENT, _COUNTER, _COUNT = 0x200, 0x20E, 4
_OWNER_AUTH_SET, _LOCKOUT_AUTH_SET, _IN_LOCKOUT = 1 << 0, 1 << 2, 1 << 9


@dataclass(frozen=True, slots=True)
class Lockout:
    """The state of the one counter that all protected objects of a TPM share."""

    tries_left: int
    locked: bool
    interval: int
    """Seconds after which one try comes back; 0 where none does."""
    owner_auth_set: bool
    lockout_auth_set: bool

    def waiting(self, uri: TokenURI) -> str:
        """When it is worth trying again, and the command that ends the wait, as a sentence."""
        unlock = f"`meshhw token unlock '{uri}'`"
        if not self.interval:
            return f"only {unlock} ends it"
        return f"wait up to {_duration(self.interval)} for one more try, or {unlock}"


def read(context: Context) -> Lockout:
    """Ask the TPM; needs no authorisation."""
    permanent = context.properties(_PERMANENT, 1).get(_PERMANENT, 0)
    counter, limit, interval, _ = (
        context.properties(_COUNTER, _COUNT).get(_COUNTER + index, 0) for index in range(_COUNT)
    )
    return Lockout(
        tries_left=max(0, limit - counter),
        locked=bool(permanent & _IN_LOCKOUT) or counter >= limit,
        interval=interval,
        owner_auth_set=bool(permanent & _OWNER_AUTH_SET),
        lockout_auth_set=bool(permanent & _LOCKOUT_AUTH_SET),
    )


def locked(state: Lockout, uri: TokenURI) -> PinLocked:
    """The error that says so, with the waiting time."""
    return PinLocked("the TPM takes no PIN now, after too many wrong ones", unlock_hint=state.waiting(uri))


def final_try() -> PinFinalTry:
    """The error for a last try that nobody allowed."""
    return PinFinalTry("one try of the TPM's PIN is left", retries_left=1)


def explained(error: MeshError, state: Lockout, uri: TokenURI) -> MeshError:
    """A PIN error of the fold table with what the TPM says of tries and waiting."""
    if isinstance(error, PinLocked):
        return PinLocked(error.message, unlock_hint=state.waiting(uri), code=error.code)
    hint = state.waiting(uri) if state.locked else f"{state.tries_left} tries are left"
    return PinIncorrect(error.message, retries_left=state.tries_left, hint=hint, code=error.code)


def _duration(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7200:
        return f"{round(seconds / 60)} min"
    return f"{round(seconds / 3600)} h"
