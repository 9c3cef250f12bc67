"""The device key manager: a device profile whose private keys are made in tokens, and what becomes of it.

A ProfileDevice has four keys: the profile's own signature, encryption, signature and authentication. Each is
generated in its token, or derived from a seed and imported; the profile is signed by its key where that is,
verified, and only then recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from meshhw.algorithms import Algorithm, Operation, PrivateKey, Suite
from meshhw.dare.signing import Signer
from meshhw.errors import Ambiguous, KeyNotFound, NotSupported, StateError
from meshhw.keystore import registry
from meshhw.keystore.api import OpenOptions, Signs, TokenInfo
from meshhw.keystore.placement import Offer, Plan, Role, Wish, place
from meshhw.keystore.uri import TokenURI
from meshhw.managers.host import Host, ProfileRecord, now
from meshhw.managers.keymaking import Derive, KeyMaker, MadeKey, destroy
from meshhw.privkeys import public_key_of
from meshhw.schema.assertion import open_profile, sign_assertion
from meshhw.schema.keydata import key_data
from meshhw.schema.profile import ProfileDevice
from meshhw.udf import Seed, fingerprint

VAULT = TokenURI.parse("software:")
ROOT = "profile-signature"
ROLES = (
    Role(ROOT, Operation.SIGN),
    Role("encryption", Operation.AGREE),
    Role("signature", Operation.SIGN),
    Role("authentication", Operation.AGREE),
)
SEED_NAMES = {
    ROOT: "BaseDeviceProfile",
    "encryption": "BaseDeviceEncrypt",
    "signature": "BaseDeviceSign",
    "authentication": "BaseDeviceAuthenticate",
}
"""The names under which the four keys derive from a seed (schema digest section 3)."""


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """What a person wants of a new device profile."""

    tokens: Sequence[TokenURI] = ()
    """In order of preference; none takes the one token that is there, or else the vault."""
    assigned: Mapping[str, TokenURI] = field(default_factory=dict)
    suite: Suite | None = None
    seed: Seed | None = None
    require_hardware: bool = False
    label: str = ""


class DeviceManager:
    """Device profiles of one home. Close it to let go of the tokens that it opened."""

    def __init__(self, host: Host, options: OpenOptions) -> None:
        self._host = host
        self._maker = KeyMaker(options)

    def plan(self, request: DeviceRequest) -> Plan:
        """Where the keys would go; asks for no PIN and changes nothing.

        Raises NotSupported with `require_hardware`, TokenNotFound, Ambiguous, UsageError.
        """
        tokens = list(request.tokens) or _only_token()
        wish = Wish(
            ROLES,
            [self._offer(uri) for uri in tokens],
            self._offer(VAULT),
            {role: self._offer(uri) for role, uri in request.assigned.items()},
            request.suite,
            imported=request.seed is not None,
            require_hardware=request.require_hardware,
        )
        return place(wish)

    def create(self, request: DeviceRequest, plan: Plan | None = None) -> ProfileRecord:
        """Make the keys, sign the profile, record it. If anything fails, no key is left.

        Raises what the tokens raise, and SignatureInvalid when a token signs wrongly.
        """
        plan = plan or self.plan(request)
        if request.seed:
            self._refuse_twin(request.seed, plan.suite)
        with self._maker.making(plan, _deriving(request.seed), label="mesh device") as made:
            record = _signed_record(made, plan.suite, request.label)
            self._host.add(record)
        return record

    def delete(self, record: ProfileRecord) -> None:
        """Destroy the profile's keys on their tokens, then forget it. Keys that are gone already are fine.

        Every token must be there: TokenNotFound leaves the profile, and what was not destroyed, as it is.
        """
        uris = [handle.key_uri for handle in record.keys]
        tokens = {uri.token: self._maker.token(uri.token) for uri in uris}
        for uri in uris:
            try:
                destroy(tokens[uri.token], uri)
            except KeyNotFound:
                continue
        self._host.remove(record.udf)

    def close(self) -> None:
        """Close the tokens."""
        self._maker.close()

    def __enter__(self) -> DeviceManager:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _refuse_twin(self, seed: Seed, suite: Suite) -> None:
        udf = fingerprint(public_key_of(seed.derive(suite.signature, SEED_NAMES[ROOT])))
        if any(record.udf == udf for record in self._host.profiles()):
            raise StateError(f"this machine has the profile {udf} of that seed already")

    def _offer(self, uri: TokenURI) -> Offer:
        token = self._maker.token(uri)
        return Offer(token.info(), token.capabilities())


def _only_token() -> list[TokenURI]:
    """The one token that can hold keys, none when there is none. Raises Ambiguous when there are several."""
    found = [info for info in registry.discover().tokens if _holds_keys(info)]
    if len(found) > 1:
        raise Ambiguous(
            f"{len(found)} tokens are here",
            candidates=tuple(str(info.uri) for info in found),
            hint="say which with --on: " + "  ".join(str(info.uri) for info in found),
        )
    return [info.uri for info in found]


def _holds_keys(info: TokenInfo) -> bool:
    return info.driver != "software" and info.initialised and info.stores_keys


def _deriving(seed: Seed | None) -> Derive | None:
    if seed is None:
        return None

    def derive(role: str, algorithm: Algorithm) -> PrivateKey:
        return seed.derive(algorithm, SEED_NAMES[role])

    return derive


def _signed_record(made: Sequence[MadeKey], suite: Suite, label: str) -> ProfileRecord:
    keys = {item.place.role.name: item for item in made}
    profile = ProfileDevice(
        updated=now(),
        suite=None if suite is Suite.S448 else suite.value,
        profile_signature=key_data(keys[ROOT].public),
        encryption=key_data(keys["encryption"].public),
        signature=key_data(keys["signature"].public),
        authentication=key_data(keys["authentication"].public),
    )
    udf = fingerprint(keys[ROOT].public)
    envelope = sign_assertion(profile, _signer(keys[ROOT]), udf)
    open_profile(envelope, ProfileDevice)
    return ProfileRecord(
        udf=udf,
        kind="ProfileDevice",
        suite=suite,
        created=now(),
        envelope=envelope.octets(),
        keys=tuple(item.handle() for item in made),
        label=label,
    )


def _signer(made: MadeKey) -> Signer:
    if not isinstance(made.key, Signs):
        raise NotSupported(f"the token cannot sign with the {made.place.algorithm} key that it made")
    return made.key
