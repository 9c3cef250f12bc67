"""The public tree of errors: what went wrong, what to do next, and the exit status that says so.

Every foreseeable fault leaves a public function as one of these. The message is one line and never
holds a secret; `hint` says what to do next; `code` keeps what the token answered on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class WireCode:
    """What a token answered, as its own standard names it (CKR_*, SW1SW2, TPM RC, CTAP status)."""

    layer: str
    value: int
    name: str = ""

    def __str__(self) -> str:
        return f"{self.name or self.layer} (0x{self.value:x})"


class MeshError(Exception):
    """A fault that the caller can be told about in one line."""

    exit_status: ClassVar[int] = 1
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str | None = None, code: WireCode | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = self.default_hint if hint is None else hint
        self.code = code


class UsageError(MeshError):
    """The call itself is wrong: a malformed URI or name, options that exclude each other."""

    exit_status = 2


class InvalidURI(UsageError):
    """A token or key URI that does not follow its grammar (RFC 7512 and its siblings)."""


class InvalidName(UsageError):
    """A UDF, address or label that cannot be parsed."""


class Ambiguous(UsageError):
    """A name fits more than one token or key. `candidates` lists them."""

    default_hint = "give more of the name, or the whole URI"

    def __init__(self, message: str, *, candidates: tuple[str, ...] = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.candidates = candidates


class Cancelled(MeshError):
    """The person said no, or interrupted."""


class StateError(MeshError):
    """What is on disk cannot be used: open permissions, a newer version, a lock that is held."""


class InsecurePermissions(StateError):
    """A private file or directory can be read or written by others."""


class NewerVersion(StateError):
    """A file was written by a later version of this program."""

    default_hint = "upgrade meshhw; the file was left as it is"


class DiskFull(StateError):
    """There is no room on the disk; what was there is untouched."""

    default_hint = "make room on the disk and repeat"


class TokenError(MeshError):
    """Any fault of a token."""


class TokenNotFound(TokenError):
    """No token answers to this name."""

    exit_status = 3
    default_hint = "`meshhw token list` shows what is connected"


class DriverUnavailable(TokenNotFound):
    """The driver or the library beneath it is missing on this machine."""

    default_hint = "`meshhw doctor` names what is missing and the command that brings it"


class TokenRemoved(TokenError):
    """The token was there and is gone."""

    exit_status = 3
    default_hint = "insert the token again and repeat the command"


class TokenMismatch(TokenError):
    """Another token sits where the named one was, or the named one was erased."""

    exit_status = 3
    default_hint = "insert the token that holds the key"


class KeyNotFound(TokenError):
    """The token does not hold this key (any longer)."""

    exit_status = 3
    default_hint = "`meshhw token keys TOKEN` lists the keys"


class PinRequired(TokenError):
    """A PIN is needed and nobody can be asked."""

    exit_status = 4
    default_hint = "use a terminal, or --pin-source env:NAME, file:PATH or fd:N"


class PinIncorrect(TokenError):
    """The PIN was wrong. `retries_left` is None where the token does not tell."""

    exit_status = 4
    default_hint = "repeat with the right one; most tokens lock after a few wrong ones"

    def __init__(
        self,
        message: str,
        *,
        retries_left: int | None = None,
        hint: str | None = None,
        code: WireCode | None = None,
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.retries_left = retries_left


class PinFinalTry(PinIncorrect):
    """One try is left and it was not spent, since nobody allowed it."""

    default_hint = "be sure of the PIN, then repeat with --allow-final-try"


class PinLocked(TokenError):
    """The PIN is locked. `unlock_hint` is the exact command that unlocks it, where there is one."""

    exit_status = 4

    def __init__(self, message: str, *, unlock_hint: str = "", code: WireCode | None = None) -> None:
        super().__init__(message, hint=unlock_hint, code=code)
        self.unlock_hint = unlock_hint


class NotSupported(TokenError):
    """The token cannot do that."""

    exit_status = 5
    default_hint = "`meshhw token show TOKEN` lists what it can do"


class TokenReadOnly(NotSupported):
    """The token or the session does not allow writing."""


class TokenFull(TokenError):
    """No room is left on the token."""

    default_hint = "delete a key that is no longer needed (`meshhw token keys TOKEN`)"


class TokenBusy(TokenError):
    """Another program holds the token. `holder` names it where that can be known."""

    exit_status = 7
    default_hint = "end the other program's use of the token and repeat"

    def __init__(
        self,
        message: str,
        *,
        holder: str | None = None,
        hint: str | None = None,
        code: WireCode | None = None,
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.holder = holder


class TouchTimeout(TokenError):
    """The token waited for a touch that did not come."""

    exit_status = 7
    default_hint = "repeat, and touch the token when it blinks"


class OperationTimeout(TokenError):
    """The token did not answer before the deadline; it is left alone from now on."""

    exit_status = 7
    default_hint = "unplug the token and insert it again, or raise --deadline"


class TokenFault(TokenError):
    """The token answered with a code that means nothing else here; `code` keeps it."""


class IntegrityError(MeshError):
    """Data, a signature or a public value is not what it must be."""

    exit_status = 6


class FormatError(IntegrityError):
    """Bytes that do not follow their format. `position` is the octet where reading stopped."""

    default_hint = "it is damaged or of another kind: get it again from where it came"

    def __init__(self, message: str, *, position: int | None = None, hint: str | None = None) -> None:
        super().__init__(message if position is None else f"{message} (at octet {position})", hint=hint)
        self.position = position


class SignatureInvalid(IntegrityError):
    """A signature is wrong, missing, or by another key than it must be."""

    default_hint = "do not rely on it: it was changed, or is not of whom it says"


class DecryptionFailed(IntegrityError):
    """The ciphertext, its key or its header does not fit. One error for every cause."""

    default_hint = "it was changed or cut short, or is for another key: get it again from its sender"


class InvalidPublicKey(IntegrityError):
    """A public key that is off its curve, of small order, or not in its canonical form."""

    default_hint = "do not use this key: get it again from its owner"


class ShareError(IntegrityError):
    """A share is wrong, of another set, or lies. `holder` names it where that is known."""

    def __init__(self, message: str, *, holder: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.holder = holder


class Expired(IntegrityError):
    """A request, a PIN or an answer whose time is over."""


class Replayed(IntegrityError):
    """Something that counts once was offered a second time."""


class WitnessMismatch(IntegrityError):
    """A witness is not the one of what it came with: that is another one's, or the PIN is wrong."""


class AttestationRefused(IntegrityError):
    """A key's attestation is missing, does not verify, or says less than the account demands."""


class SuiteRefused(IntegrityError):
    """A key is of a weaker suite than the account takes."""

    default_hint = "make the device's keys in a stronger suite, or lower the floor with `account policy`"


class Rejected(MeshError):
    """The other side's person said no."""
