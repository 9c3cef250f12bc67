"""One table folds the codes of TPM 2.0 (part 2, TPM_RC) and of the TSS layers into the public errors."""

from __future__ import annotations

from dataclasses import dataclass

from meshhw.errors import (
    IntegrityError,
    InvalidPublicKey,
    KeyNotFound,
    MeshError,
    NotSupported,
    PinIncorrect,
    PinLocked,
    TokenBusy,
    TokenFault,
    TokenFull,
    TokenRemoved,
    WireCode,
)

LAYER_TCTI, LAYER_RESOURCE_MANAGER = 0x0A, 0x0B
_FORMAT_ONE = 0x080
_FORMAT_ONE_MASK = 0x0BF  # the error without the number of the handle, session or parameter it is about

AUTH_FAIL, BAD_AUTH, INTEGRITY, HANDLE = 0x08E, 0x0A2, 0x09F, 0x08B
POLICY_FAIL, PCR_CHANGED, LOCKOUT, VALUE, FAILURE = 0x09D, 0x128, 0x921, 0x084, 0x101
MEMORY = frozenset({0x902, 0x903, 0x904, 0x905, 0x906})
STALE = frozenset(range(0x910, 0x91F))  # a handle of before a restart


@dataclass(frozen=True, slots=True)
class Fold:
    """What a code means to a person."""

    kind: type[MeshError]
    name: str
    message: str
    hint: str | None = None


_SLOTS = "use the resource manager (/dev/tpmrm0 or tpm2-abrmd), or end the program that holds the TPM's slots"
_BUSY = "repeat in a moment"
_MEASURED = "the machine's measurements (PCRs) must be those of when the key was made: boot as it was then"
_WAIT = "wait, or end the lock-out with `meshhw token unlock TOKEN`"
_BACKUP = "use the TPM that made it, or a back-up of the file"
_CAREFUL = "each wrong one brings the TPM's lock-out nearer"
_UNKNOWN_TO_IT = "the TPM does not know this algorithm or these parameters"

TABLE: dict[int, Fold] = {
    AUTH_FAIL: Fold(PinIncorrect, "TPM_RC_AUTH_FAIL", "the TPM refused the PIN", _CAREFUL),
    BAD_AUTH: Fold(PinIncorrect, "TPM_RC_BAD_AUTH", "the TPM refused the authorisation value", _CAREFUL),
    LOCKOUT: Fold(PinLocked, "TPM_RC_LOCKOUT", "the TPM is locked after too many wrong PINs", _WAIT),
    HANDLE: Fold(KeyNotFound, "TPM_RC_HANDLE", "the TPM holds nothing at this handle"),
    INTEGRITY: Fold(
        IntegrityError, "TPM_RC_INTEGRITY", "the TPM did not make this, or it was changed", _BACKUP
    ),
    POLICY_FAIL: Fold(TokenFault, "TPM_RC_POLICY_FAIL", "the key's policy is not met", _MEASURED),
    PCR_CHANGED: Fold(TokenFault, "TPM_RC_PCR_CHANGED", "the PCRs changed meanwhile", _BUSY),
    VALUE: Fold(NotSupported, "TPM_RC_VALUE", _UNKNOWN_TO_IT),
    0x081: Fold(NotSupported, "TPM_RC_ASYMMETRIC", _UNKNOWN_TO_IT),
    0x082: Fold(NotSupported, "TPM_RC_ATTRIBUTES", "the key may not be used this way"),
    0x083: Fold(NotSupported, "TPM_RC_HASH", _UNKNOWN_TO_IT),
    0x085: Fold(
        NotSupported,
        "TPM_RC_HIERARCHY",
        "the owner's hierarchy is disabled",
        "enable the TPM in the firmware",
    ),
    0x087: Fold(NotSupported, "TPM_RC_KEY_SIZE", _UNKNOWN_TO_IT),
    0x08A: Fold(NotSupported, "TPM_RC_TYPE", _UNKNOWN_TO_IT),
    0x092: Fold(NotSupported, "TPM_RC_SCHEME", _UNKNOWN_TO_IT),
    0x095: Fold(TokenFault, "TPM_RC_SIZE", "the TPM found a structure of the wrong size"),
    0x0A6: Fold(NotSupported, "TPM_RC_CURVE", _UNKNOWN_TO_IT),
    0x0A7: Fold(InvalidPublicKey, "TPM_RC_ECC_POINT", "the other side's point is not on the curve"),
    0x100: Fold(TokenFault, "TPM_RC_INITIALIZE", "the TPM was not started", "run tpm2_startup -c"),
    FAILURE: Fold(TokenFault, "TPM_RC_FAILURE", "the TPM is in failure mode", "restart the machine"),
    0x120: Fold(NotSupported, "TPM_RC_DISABLED", "the TPM has this command disabled"),
    0x124: Fold(TokenFault, "TPM_RC_AUTH_TYPE", "the key cannot be authorised this way"),
    0x12D: Fold(NotSupported, "TPM_RC_UPGRADE", "the TPM waits for a firmware upgrade"),
    0x12F: Fold(TokenFault, "TPM_RC_AUTH_UNAVAILABLE", "the key's authorisation is not available"),
    0x130: Fold(TokenFault, "TPM_RC_REBOOT", "the TPM asks for a restart of the machine"),
    0x143: Fold(NotSupported, "TPM_RC_COMMAND_CODE", "the TPM does not have this command"),
    0x14B: Fold(TokenFull, "TPM_RC_NV_SPACE", "the TPM has no room for another persistent object"),
    0x14C: Fold(TokenFull, "TPM_RC_NV_DEFINED", "this handle of the TPM is in use"),
    0x902: Fold(TokenFull, "TPM_RC_OBJECT_MEMORY", "the TPM's object slots are taken", _SLOTS),
    0x903: Fold(TokenFull, "TPM_RC_SESSION_MEMORY", "the TPM's session slots are taken", _SLOTS),
    0x904: Fold(TokenFull, "TPM_RC_MEMORY", "the TPM is out of memory", _SLOTS),
    0x905: Fold(TokenFull, "TPM_RC_SESSION_HANDLES", "the TPM's session slots are taken", _SLOTS),
    0x906: Fold(TokenFull, "TPM_RC_OBJECT_HANDLES", "the TPM's object slots are taken", _SLOTS),
    0x908: Fold(TokenBusy, "TPM_RC_YIELDED", "the TPM is busy", _BUSY),
    0x909: Fold(TokenBusy, "TPM_RC_CANCELED", "the TPM was told to stop", _BUSY),
    0x90A: Fold(TokenBusy, "TPM_RC_TESTING", "the TPM is testing itself", _BUSY),
    0x920: Fold(TokenBusy, "TPM_RC_NV_RATE", "the TPM protects its memory from wear", _BUSY),
    0x922: Fold(TokenBusy, "TPM_RC_RETRY", "the TPM is busy", _BUSY),
    0x923: Fold(TokenBusy, "TPM_RC_NV_UNAVAILABLE", "the TPM's memory is not available", _BUSY),
} | {code: Fold(TokenRemoved, f"TPM_RC_REFERENCE_{code:X}", "the TPM was restarted") for code in STALE}


def tpm_code(rc: int) -> int | None:
    """The TPM's own code without what it is about; None when another layer speaks."""
    if rc >> 16 not in (0, LAYER_RESOURCE_MANAGER):
        return None
    code = rc & 0xFFFF
    return code & _FORMAT_ONE_MASK if code & _FORMAT_ONE else code & 0xFFF


def fold(rc: int) -> MeshError:
    """The public error of a TSS2_RC; a code that is not in the table is kept on a TokenFault."""
    code = tpm_code(rc)
    if code is None:
        return _transport(rc)
    meaning = TABLE.get(code)
    if meaning is None:
        return TokenFault(
            "the TPM answered with an error that is not known here",
            hint=_look_up(rc),
            code=WireCode("TPM", rc),
        )
    return made(meaning, rc)


def made(meaning: Fold, rc: int) -> MeshError:
    """The exception of a table's row."""
    wire = WireCode("TPM", rc, meaning.name)
    if meaning.kind is PinLocked:
        return PinLocked(meaning.message, unlock_hint=meaning.hint or "", code=wire)
    hint = meaning.hint if meaning.hint or meaning.kind.default_hint else _look_up(rc)
    return meaning.kind(meaning.message, hint=hint, code=wire)


def _look_up(rc: int) -> str:
    return f"`tpm2_rc_decode 0x{rc:x}` (of tpm2-tools) explains the code"


def _transport(rc: int) -> MeshError:
    if rc >> 16 == LAYER_TCTI:
        return TokenRemoved(
            "the TPM is gone or closed the connection",
            hint="see that its resource manager runs, and repeat",
            code=WireCode("TCTI", rc),
        )
    return TokenFault("the TPM's answer cannot be understood", hint=_BUSY, code=WireCode("TSS", rc))
