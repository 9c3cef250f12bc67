"""What a device's attestations prove, and whether that is enough for the account (rule R6).

Each of the four keys of a device profile may carry its token's statement. It counts when it leads to a root
that the account trusts, is of this very key, and says that the key was made inside; the PIN policy is asked
of every key, the touch policy of the key that signs in the person's name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from meshhw.errors import AttestationRefused, IntegrityError, NotSupported
from meshhw.keystore.attestation import Facts, verify
from meshhw.managers.account.floor import require_floor
from meshhw.schema.attested import attestation_of
from meshhw.schema.key import KeyData
from meshhw.schema.keydata import keys_of, public_key
from meshhw.schema.profile import ConnectionPolicy, ProfileDevice

TOUCH = ("never", "cached", "always")
PIN = ("never", "once", "always")
"""From the weakest to the strictest."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was found of one key: proved facts, or why nothing is proved; and what the policy misses."""

    key: str
    facts: Facts | None
    why: str = ""
    missing: str = ""

    @property
    def says(self) -> str:
        """What is to be told of the key."""
        return self.missing or self.why or _told(self.facts)

    def __str__(self) -> str:
        """One line for a person."""
        return f"{self.key}: {self.says}"


def judge(device: ProfileDevice, policy: ConnectionPolicy) -> list[Judgement]:
    """Each key of the device, by what its attestation proves. Raises FormatError, IntegrityError for a
    profile without a key."""
    return [
        _judged("ProfileSignature", device.profile_signature, policy),
        _judged("Encryption", device.encryption, policy),
        _judged("Signature", device.signature, policy),
        _judged("Authentication", device.authentication, policy),
    ]


def require(device: ProfileDevice, policy: ConnectionPolicy | None, roles: Iterable[str]) -> None:
    """Raise AttestationRefused, with every reason, unless the device may have these roles, and SuiteRefused
    for keys that the account takes for none."""
    require_floor(policy, keys_of(device))
    if policy is None or (policy.roles and set(policy.roles).isdisjoint(roles)):
        return
    refused = [str(found) for found in judge(device, policy) if found.missing]
    if refused:
        raise AttestationRefused(
            "the account's policy refuses the device: " + "; ".join(refused),
            hint="make the device's keys in a token that attests them, or change it with `account policy`",
        )


def _judged(name: str, data: KeyData | None, policy: ConnectionPolicy) -> Judgement:
    public = public_key(data, name)
    try:
        statement = attestation_of(data) if data else None
        if statement is None:
            return _unproved(name, "unattested: nothing says that a token holds it", policy)
        facts = verify(statement, policy.roots)
    except (IntegrityError, NotSupported) as error:
        return _unproved(name, error.message, policy)
    if facts.public != public:
        return _unproved(name, "the attestation is of another key", policy)
    return Judgement(name, facts, missing=_missing(name, facts, policy))


def _unproved(name: str, why: str, policy: ConnectionPolicy) -> Judgement:
    demanded = policy.attested or policy.touch or policy.pin
    return Judgement(name, None, why, missing=why if demanded else "")


def _missing(name: str, facts: Facts, policy: ConnectionPolicy) -> str:
    """What the policy demands beyond these facts; empty when it is satisfied."""
    if policy.attested and facts.generated_inside is not True:
        return "it was imported, not made inside the token"
    if policy.pin and not _enough(facts.pin_policy, policy.pin, PIN):
        return f"its PIN policy is {facts.pin_policy or 'not attested'}, {policy.pin} is demanded"
    if policy.touch and name == "Signature" and not _enough(facts.touch_policy, policy.touch, TOUCH):
        return f"its touch policy is {facts.touch_policy or 'not attested'}, {policy.touch} is demanded"
    return ""


def _enough(found: str | None, demanded: str, scale: tuple[str, ...]) -> bool:
    return found in scale and demanded in scale and scale.index(found) >= scale.index(demanded)


def _told(facts: Facts | None) -> str:
    if facts is None:
        return "unattested"
    made = {True: "made inside", False: "imported", None: "attested"}[facts.generated_inside]
    more = [f"PIN {facts.pin_policy}" if facts.pin_policy else ""]
    more += [f"touch {facts.touch_policy}" if facts.touch_policy else ""]
    more += [f"serial {facts.serial}" if facts.serial else ""]
    return ", ".join([f"{made}, vouched for by {facts.issuer}", *filter(None, more)])
