"""What making any profile has in common: where its keys would go, and what a person wants of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from meshhw.algorithms import Algorithm, PrivateKey, Suite
from meshhw.dare.signing import Signer
from meshhw.errors import Ambiguous, NotSupported
from meshhw.keystore import registry
from meshhw.keystore.api import Signs, TokenInfo, TouchPolicy
from meshhw.keystore.placement import Offer, Plan, Role, Wish, place
from meshhw.keystore.uri import TokenURI
from meshhw.managers.keymaking import Derive, KeyMaker, MadeKey
from meshhw.udf import Seed

VAULT = TokenURI.parse("software:")
ROOT = "profile-signature"


@dataclass(frozen=True, slots=True)
class ProfileRequest:
    """What a person wants of a new profile."""

    tokens: Sequence[TokenURI] = ()
    """In order of preference; none takes the one token that is there, or else the vault."""
    assigned: Mapping[str, TokenURI] = field(default_factory=dict)
    suite: Suite | None = None
    seed: Seed | None = None
    imported: bool = False
    """Whether the keys are there already, and are brought to their tokens; a seed's are."""
    require_hardware: bool = False
    label: str = ""
    touch: Mapping[str, TouchPolicy] = field(default_factory=dict)
    """Roles whose key shall want a touch, and when."""


def plan_profile(maker: KeyMaker, roles: Sequence[Role], request: ProfileRequest) -> Plan:
    """Where the keys of these roles would go; asks for no PIN and changes nothing.

    Raises NotSupported with `require_hardware`, TokenNotFound, Ambiguous, UsageError.
    """

    def offer(uri: TokenURI) -> Offer:
        token = maker.token(uri)
        return Offer(token.info(), token.capabilities())

    wish = Wish(
        roles,
        [offer(uri) for uri in request.tokens or only_token()],
        offer(VAULT),
        {role: offer(uri) for role, uri in request.assigned.items()},
        request.suite,
        imported=request.imported or request.seed is not None,
        require_hardware=request.require_hardware,
    )
    return place(wish)


def only_token() -> list[TokenURI]:
    """The one token that can hold keys, none when there is none. Raises Ambiguous when there are several."""
    found = [info for info in registry.discover().tokens if _holds_keys(info)]
    if len(found) > 1:
        raise Ambiguous(
            f"{len(found)} tokens are here",
            candidates=tuple(str(info.uri) for info in found),
            hint="say which with --on: " + "  ".join(str(info.uri) for info in found),
        )
    return [info.uri for info in found]


def deriving(seed: Seed | None, names: Mapping[str, str]) -> Derive | None:
    """How the keys of roles come from a seed under these key names; None when they are generated."""
    if seed is None:
        return None

    def derive(role: str, algorithm: Algorithm) -> PrivateKey:
        return seed.derive(algorithm, names[role])

    return derive


def signer_of(made: MadeKey) -> Signer:
    """The made key as a signer. Raises NotSupported."""
    if not isinstance(made.key, Signs):
        raise NotSupported(f"the token cannot sign with the {made.place.algorithm} key that it made")
    return made.key


def _holds_keys(info: TokenInfo) -> bool:
    return info.driver != "software" and info.initialised and info.stores_keys
