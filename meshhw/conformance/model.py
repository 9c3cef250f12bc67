"""Promises, verdicts and the report of one conformance run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from meshhw.algorithms import Operation, Tier
from meshhw.keystore.api import TokenInfo

SEALED = "sealed secret"


class Outcome(StrEnum):
    """How a promise came out on this token."""

    KEPT = "kept"
    BROKEN = "broken"
    NOT_APPLICABLE = "does not apply"


class Promise(StrEnum):
    """What a token is held to. The value is the sentence that the report prints."""

    CONFINED = "a key made inside cannot be read, and the token says so"
    SIGNS = "signatures verify with an independent library"
    PURE = "EdDSA is pure: a context or a prehash cannot be asked for, and none is used"
    SIGNS_DIGEST = "signatures over a digest verify, and s is low"
    AGREES = "agreements equal those of an independent library"
    UNWRAPS = "what is wrapped under an agreement is unwrapped within, by no other key, info or octets"
    POINT = "a full point has the coordinate that plain agreement returns"
    DECRYPTS = "what an independent library encrypted is decrypted"
    REFUSES_PEERS = "peers of small order, off the curve, on the twist or not canonical are refused"
    IMPORTS = "an imported key is the key, and cannot be read again"
    CLAMPS = "imported 25519 and 448 scalars act as RFC 7748 clamps them"
    DUPLICATES = "two keys of one label keep names of their own"
    DELETES = "a deleted key is gone, for handles that were held too"
    SEALS = "a sealed secret opens for its purpose only, and only unchanged"
    STORES = "stored octets come back, are replaced and are removed"
    ATTESTS = "an attestation verifies and is of this key"
    HONEST = "what the matrix leaves out is refused, not attempted"
    PIN = "a wrong PIN costs one try, says how many are left, and is not kept"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one promise came out for one algorithm (or for the token as a whole)."""

    promise: Promise
    subject: str
    outcome: Outcome
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Measurement:
    """Median seconds of one warm operation, and the calls it took where the token counts them."""

    algorithm: str
    """Of the key; SEALED where the token opens what it sealed."""
    operation: Operation
    tier: Tier
    seconds: float
    calls: int | None = None


@dataclass(slots=True)
class Report:
    """All that one run found."""

    info: TokenInfo
    verdicts: list[Verdict] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)

    @property
    def broken(self) -> list[Verdict]:
        """The promises that do not hold; an empty list is what one hopes for."""
        return [verdict for verdict in self.verdicts if verdict.outcome is Outcome.BROKEN]

    def keeps(self, promise: Promise) -> bool:
        """Whether a promise about the token as a whole was kept."""
        return any(one.promise is promise and one.outcome is Outcome.KEPT for one in self.verdicts)

    def json(self) -> Mapping[str, object]:
        """The report as plain values."""
        return {
            "uri": str(self.info.uri),
            "driver": self.info.driver,
            "model": self.info.model,
            "firmware": self.info.firmware,
            "verdicts": [
                {
                    "promise": verdict.promise.name.lower().replace("_", "-"),
                    "subject": verdict.subject,
                    "outcome": verdict.outcome.value,
                    "detail": verdict.detail,
                }
                for verdict in self.verdicts
            ],
            "measurements": [
                {
                    "algorithm": measured.algorithm,
                    "operation": measured.operation.value,
                    "tier": measured.tier.value,
                    "seconds": measured.seconds,
                    "calls": measured.calls,
                }
                for measured in self.measurements
            ],
        }


class Broken(Exception):
    """Raised inside a check: the promise does not hold, for this reason."""


class NotApplicable(Exception):
    """Raised inside a check: the token does not have what the promise is about."""
