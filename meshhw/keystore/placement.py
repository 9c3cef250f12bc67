"""Placement: which token gets which role of a new profile, in which suite, and how well it will be kept.

A suite is chosen by what the tokens do natively: the strongest one that every role can have inside its
token. What no token can hold goes to the software vault, sealed by the token where that can seal, and every
such step is told. With `require_hardware` it is refused instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from meshhw.algorithms import Algorithm, Operation, Suite, Tier
from meshhw.errors import NotSupported, UsageError
from meshhw.keystore.api import Capabilities, TokenInfo
from meshhw.keystore.uri import TokenURI


@dataclass(frozen=True, slots=True)
class Role:
    """One key of a profile: its name, and whether it signs or agrees."""

    name: str
    operation: Operation

    def algorithm(self, suite: Suite) -> Algorithm:
        """Its algorithm in a suite."""
        return suite.signature if self.operation is Operation.SIGN else suite.agreement


@dataclass(frozen=True, slots=True)
class Offer:
    """A token that keys may go to."""

    info: TokenInfo
    capabilities: Capabilities

    @property
    def is_vault(self) -> bool:
        """Whether it is a software vault rather than a token of its own."""
        return self.info.driver == "software"

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self.info.label or self.info.serial or str(self.info.uri)


@dataclass(frozen=True, slots=True)
class Place:
    """Where one role's key goes. A sealed key lies in the vault; `sealed_by` is the token that opens it."""

    role: Role
    algorithm: Algorithm
    token: TokenInfo
    tier: Tier
    sealed_by: TokenURI | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A placement of all roles. `told` has one line for every reason to step down from the wished token."""

    suite: Suite
    places: tuple[Place, ...]
    told: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of a placement."""

    roles: Sequence[Role]
    offers: Sequence[Offer]
    """The tokens in order of preference; none means the vault."""
    vault: Offer
    assigned: Mapping[str, Offer] = field(default_factory=dict)
    """Roles whose token the person named."""
    suite: Suite | None = None
    imported: bool = False
    """Whether the keys come from a seed rather than being generated inside."""
    require_hardware: bool = False


def require_role(name: str, roles: Sequence[Role]) -> None:
    """Raise UsageError for a role that is none of these."""
    names = {role.name for role in roles}
    if name not in names:
        raise UsageError(f"there is no role {name!r}", hint="one of " + ", ".join(sorted(names)))


def place(wish: Wish) -> Plan:
    """The best placement.

    The suite of a seed's keys is the one that the tokens would generate, so that a seed keeps its published
    profile, unless hardware is required. Raises NotSupported where hardware is required and cannot hold a
    key, UsageError for a role that the profile does not have.
    """
    for name in wish.assigned:
        require_role(name, wish.roles)
    suites = (wish.suite,) if wish.suite else tuple(Suite)
    choosing = wish if wish.require_hardware else replace(wish, imported=False)
    plans = [_plan(choosing, suite) for suite in suites]
    chosen = max(plans, key=_native_count)  # max keeps the first, and suites come strongest first
    best = _plan(wish, chosen.suite)
    if wish.require_hardware and _native_count(best) < len(wish.roles):
        raise NotSupported("; ".join(best.told) or "the software vault is not hardware", hint=_hint(wish))
    return best


def _native_count(plan: Plan) -> int:
    return sum(item.tier is Tier.NATIVE for item in plan.places)


def _plan(wish: Wish, suite: Suite) -> Plan:
    places: list[Place] = []
    reasons: dict[str, list[str]] = {}
    for role in wish.roles:
        found, why = _place(wish, role, role.algorithm(suite))
        places.append(found)
        if why:
            reasons.setdefault(why, []).append(role.name)
    told = tuple(f"{', '.join(roles)}: {why}" for why, roles in reasons.items())
    return Plan(suite, tuple(places), told)


def _place(wish: Wish, role: Role, algorithm: Algorithm) -> tuple[Place, str]:
    """The place of one role, and what to tell of it: nothing when it is as wished."""
    assigned = wish.assigned.get(role.name)
    candidates = [assigned] if assigned else list(wish.offers)
    for offer in candidates:
        if offer.is_vault or _takes(offer, role, algorithm, wish.imported):
            return Place(role, algorithm, offer.info, _tier(offer, role, algorithm)), ""
    for offer in candidates:
        if offer.capabilities.seals:
            sealed = Place(role, algorithm, wish.vault.info, Tier.SEALED, offer.info.uri)
            return sealed, f"{_why(offer, role, algorithm, wish.imported)}; the key is kept sealed by it"
    fallen = Place(role, algorithm, wish.vault.info, _tier(wish.vault, role, algorithm))
    why = _why(candidates[0], role, algorithm, wish.imported) if candidates else _no_token()
    return fallen, f"{why}; the key goes to the software vault"


def _takes(offer: Offer, role: Role, algorithm: Algorithm, imported: bool) -> bool:
    if imported and algorithm is Algorithm.ED448:
        return False  # a derived seed has 56 octets, tokens import the 57 of RFC 8032
    first = Operation.IMPORT if imported else Operation.GENERATE
    able = offer.capabilities.can(algorithm, first, role.operation)
    return able and _tier(offer, role, algorithm) is Tier.NATIVE


def _tier(offer: Offer, role: Role, algorithm: Algorithm) -> Tier:
    return offer.capabilities.tier(algorithm, role.operation) or Tier.SOFTWARE


def _why(offer: Offer, role: Role, algorithm: Algorithm, imported: bool) -> str:
    if role.operation is Operation.AGREE and offer.capabilities.can(algorithm, Operation.UNWRAP):
        return f"{offer.name} lets no agreed secret out, and a profile's {algorithm} key needs it"
    if imported and algorithm is Algorithm.ED448:
        return f"a seed's Ed448 key cannot enter {offer.name}: tokens take 57 octets and it has 56"
    verb = "import" if imported else "make"
    return f"{offer.name} cannot {verb} and use a key of {algorithm}"


def _no_token() -> str:
    return "no token is there"


def _hint(wish: Wish) -> str:
    if wish.imported and wish.suite is Suite.S448:
        return "leave --from-seed, --suite 448 or --require-hardware away"
    return "name another token with --on or another suite with --suite, or leave --require-hardware away"
