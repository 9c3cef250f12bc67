"""The weakest suite that an account takes (rule R1): keys of a weaker one are refused, whatever they prove.

What a role grants is encrypted to the device's key, so the weakest device says how well the account is kept.
"""

from __future__ import annotations

from collections.abc import Mapping

from meshhw.algorithms import Algorithm, PublicKey, Suite
from meshhw.errors import SuiteRefused, UsageError
from meshhw.schema.profile import ConnectionPolicy

_ORDER = list(Suite)
"""From the strongest to the weakest."""


def floor_of(policy: ConnectionPolicy | None) -> Suite:
    """The weakest suite that is taken: without a policy the weakest of all.

    Raises UsageError for what is no suite.
    """
    if policy is None or policy.suite is None:
        return _ORDER[-1]
    try:
        return Suite(policy.suite)
    except ValueError as error:
        raise UsageError(f"{policy.suite[:16]!r} is no suite", hint="one of " + ", ".join(_ORDER)) from error


def is_weaker(algorithm: Algorithm, floor: Suite) -> bool:
    """Whether no suite from the strongest down to `floor` has that algorithm."""
    taken = _ORDER[: _ORDER.index(floor) + 1]
    return all(algorithm not in (suite.signature, suite.agreement) for suite in taken)


def require_floor(policy: ConnectionPolicy | None, keys: Mapping[str, PublicKey]) -> None:
    """Raise SuiteRefused, with the name of each key that is weaker than the account takes."""
    floor = floor_of(policy)
    weak = [f"{name} ({key.algorithm})" for name, key in keys.items() if is_weaker(key.algorithm, floor)]
    if weak:
        raise SuiteRefused(f"the account takes no key below suite {floor.value}: {', '.join(weak)}")


def require_own(suite: Suite, floor: Suite) -> None:
    """Raise UsageError when an account of this suite would not take its own keys."""
    if _ORDER.index(suite) > _ORDER.index(floor):
        raise UsageError(
            f"the account itself is of suite {suite.value}, which is below {floor.value}",
            hint="a stronger suite is another account's: its root key is of it",
        )
