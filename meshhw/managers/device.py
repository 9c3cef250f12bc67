"""The device key manager: a device profile whose private keys are made in tokens, and what becomes of it.

A ProfileDevice has four keys: the profile's own signature, encryption, signature and authentication. Each is
generated in its token, or derived from a seed and imported; the profile is signed by its key where that is,
verified, and only then recorded.
"""

from __future__ import annotations

from collections.abc import Sequence

from meshhw.algorithms import Family, Operation, Suite
from meshhw.errors import KeyNotFound, NotSupported, StateError, UsageError
from meshhw.keystore.api import OpenOptions, SignsComposed, SignsDigest
from meshhw.keystore.placement import Plan, Role
from meshhw.managers.host import Host, ProfileRecord, now
from meshhw.managers.keymaking import KeyMaker, MadeKey, destroy
from meshhw.managers.profilemaking import ROOT, ProfileRequest, deriving, plan_profile, signer_of
from meshhw.privkeys import public_key_of
from meshhw.schema.assertion import open_profile, sign_assertion
from meshhw.schema.attested import attested
from meshhw.schema.key import KeyData
from meshhw.schema.keydata import DIRECT, DUAL, SEALED, TWEAKED, key_data
from meshhw.schema.profile import ProfileDevice
from meshhw.udf import Seed, fingerprint

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


class DeviceManager:
    """Device profiles of one home. Close it to let go of the tokens that it opened."""

    def __init__(self, host: Host, options: OpenOptions) -> None:
        self._host = host
        self._maker = KeyMaker(host.home, options)

    def plan(self, request: ProfileRequest) -> Plan:
        """Where the keys would go; asks for no PIN and changes nothing.

        Raises NotSupported with `require_hardware`, TokenNotFound, Ambiguous, UsageError.
        """
        return plan_profile(self._maker, ROLES, request)

    def create(
        self,
        request: ProfileRequest,
        plan: Plan | None = None,
        *,
        attest: bool = True,
        dual: bool = False,
        sealed: bool = False,
    ) -> ProfileRecord:
        """Make the keys, sign the profile, record it. If anything fails, no key is left.

        What the tokens attest of the keys goes into the profile, unless that is not wanted. `dual` wants two
        signatures of the device in every account, the second by a key of its activation; `sealed` the
        published one, whose key is unsealed for each signature and added to its activation.

        Raises what the tokens raise, and SignatureInvalid when a token signs wrongly.
        """
        plan = plan or self.plan(request)
        if request.seed:
            self._refuse_twin(request.seed, plan.suite)
        derive = deriving(request.seed, SEED_NAMES)
        with self._maker.making(plan, derive, "mesh device", touch=request.touch, attest=attest) as made:
            mode = _signature_mode(made, dual=dual, sealed=sealed)
            record = _signed_record(made, plan.suite, request.label, mode)
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


def _signed_record(made: Sequence[MadeKey], suite: Suite, label: str, mode: str) -> ProfileRecord:
    keys = {item.place.role.name: item for item in made}
    profile = ProfileDevice(
        updated=now(),
        suite=None if suite is Suite.S448 else suite.value,
        profile_signature=_key_data(keys[ROOT]),
        encryption=_key_data(keys["encryption"]),
        signature=_key_data(keys["signature"], mode=mode),
        authentication=_key_data(keys["authentication"]),
    )
    udf = fingerprint(keys[ROOT].public)
    envelope = sign_assertion(profile, signer_of(keys[ROOT]), udf)
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


def _key_data(made: MadeKey, mode: str | None = None) -> KeyData:
    data = key_data(made.public, mode=mode)
    return attested(data, made.attestation) if made.attestation else data


def _signature_mode(made: Sequence[MadeKey], *, dual: bool, sealed: bool) -> str:
    """How the key will sign inside an account: ECDSA keys that sign digests are tweaked (R3, R4).

    Raises UsageError for two ways at once, NotSupported for a key that cannot be added to an activation.
    """
    if dual and sealed:
        raise UsageError("a signature key is either dual or sealed")
    if dual:
        return DUAL
    signature = next(item for item in made if item.place.role.name == "signature")
    if sealed and not isinstance(signature.key, SignsComposed):
        raise NotSupported(
            f"the {signature.place.algorithm} key works inside its token and is not added to an activation",
            hint="leave --sealed away, and the token's own key signs; or name --role signature=software:",
        )
    if sealed:
        return SEALED
    nist = signature.place.algorithm.family is Family.WEIERSTRASS
    return TWEAKED if nist and isinstance(signature.key, SignsDigest) else DIRECT
