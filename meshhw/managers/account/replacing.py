"""The account's common keys after they were changed: into the tokens of the machine that made the account.

What was imported when the account was made is imported when it is changed: each new key goes to the token
that has the earlier one, which stays for what is old. A copy of it stays sealed with the other keys of the
account, for the devices that get it. What a token does not take stays sealed alone, and is told.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from meshhw.algorithms import Algorithm, PrivateKey, Tier
from meshhw.errors import MeshError, NotSupported
from meshhw.keystore.interaction import Tells
from meshhw.keystore.placement import Plan
from meshhw.managers.account.authority import Authority, Founder
from meshhw.managers.account.granted import private_of
from meshhw.managers.account.roles import ENCRYPTION, ROLES
from meshhw.managers.host import KeyHandle
from meshhw.managers.keymaking import KeyMaker
from meshhw.managers.profilemaking import ProfileRequest, plan_profile
from meshhw.schema.activation import ActivationCommon
from meshhw.schema.key import KeyData

COMMON = (ENCRYPTION, "authentication", "signature")
EARLIER = "earlier "
"""What stands before the role of a key that was replaced."""
_VAULT = "software"


def require_hardware(found: Authority, *, common: bool) -> None:
    """Raise NotSupported unless what is kept here of new keys is sealed to a token, and new `common` keys
    would go into those that have the earlier ones."""
    soft = [token for token in found.tokens() if token.scheme == _VAULT]
    if soft:
        raise NotSupported(
            f"the account's new keys would be kept under {soft[0]}, which is software",
            hint="disconnect it from a machine whose token seals them, or leave --require-hardware away",
        )
    if common and isinstance(found, Founder) and _replaceable(found):
        with KeyMaker(found.host.home, found.options) as maker:
            _plan(found, maker, require_hardware=True)


def take_common(found: Authority, keys: ActivationCommon) -> None:
    """Import those of the account's common keys that its profile names and this machine's tokens do not have
    yet, and tell where each key is now. A token that refuses leaves it sealed. Doing it again changes
    nothing."""
    interaction = found.options.interaction
    if isinstance(found, Founder) and isinstance(interaction, Tells):
        for line in _taken(found, keys):
            interaction.tell(line)
    elif isinstance(found, Founder):
        _taken(found, keys)


def _taken(found: Founder, keys: ActivationCommon) -> list[str]:
    new = _new(found, keys)
    handles = _replaceable(found)
    if not any(role in new for role in handles):
        return []
    sealer = found.directory.keys_token()
    try:
        with KeyMaker(found.host.home, found.options) as maker:
            taken = _import(found, maker, _plan(found, maker), {r: new[r] for r in handles if r in new})
    except MeshError as error:
        return [f"the account's new keys stay sealed to {sealer}: {error.message}"]
    told = [f"the account's new {role} key is in {handle.key_uri.token}" for role, handle in taken.items()]
    left = [role for role in new if role not in taken]
    return told + ([f"the account's new keys for {', '.join(left)} stay sealed to {sealer}"] if left else [])


def _replaceable(found: Founder) -> dict[str, KeyHandle]:
    """The common keys that are in tokens here."""
    handles = {role: found.record.key(role) for role in COMMON}
    return {
        role: handle
        for role, handle in handles.items()
        if handle.tier is Tier.NATIVE and not handle.is_shared
    }


def _new(found: Founder, keys: ActivationCommon) -> dict[str, PrivateKey]:
    """Of these keys those that the profile names, and that are in no token here."""
    profile = found.profile
    named: Mapping[str, tuple[KeyData | None, KeyData | None]] = {
        ENCRYPTION: (profile.common_encryption, keys.encryption),
        "authentication": (profile.common_authentication, keys.authentication),
        "signature": (profile.common_signature, keys.signature),
    }
    here = {handle.udf for handle in found.record.keys}
    return {
        role: private_of(held, role)
        for role, (public, held) in named.items()
        if public is not None and held is not None and public.udf == held.udf and held.udf not in here
    }


def _plan(found: Founder, maker: KeyMaker, *, require_hardware: bool = False) -> Plan:
    handles = _replaceable(found)
    roles = [role for role in ROLES if role.name in handles]
    tokens = {role: handle.key_uri.token for role, handle in handles.items()}
    request = ProfileRequest(
        tokens=list(tokens.values()),
        assigned=tokens,
        suite=found.suite,
        imported=True,
        require_hardware=require_hardware,
    )
    return plan_profile(maker, roles, request)


def _import(
    found: Founder, maker: KeyMaker, plan: Plan, new: Mapping[str, PrivateKey]
) -> dict[str, KeyHandle]:
    """The keys of the plan that go into their tokens as they are, and the record of it."""
    places = [item for item in plan.places if item.tier is Tier.NATIVE and item.role.name in new]

    def derive(role: str, _: Algorithm) -> PrivateKey:
        return new[role]

    with maker.making(Plan(plan.suite, tuple(places)), derive, f"mesh {found.address}".strip()) as made:
        taken = {item.place.role.name: item.handle() for item in made}
        earlier = (
            replace(handle, role=f"{EARLIER}{handle.role}") if handle.role in taken else handle
            for handle in found.record.keys
        )
        found.record = replace(found.record, keys=(*taken.values(), *earlier))
        found.host.add(found.record)
    return taken
