"""Connecting a device: what an administrator makes and signs for it (schema digest section 5).

The device gets an activation, encrypted to its base key; a connection that names its keys inside the account
and its roles; and the keys that the roles grant, encrypted to its connected key. An administrator's role adds
the device's own signature key to the profile's list (rule R5); no administrator key is ever copied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import msgspec

from meshhw import files
from meshhw.algorithms import PublicKey
from meshhw.dare.envelope import Envelope
from meshhw.dare.signing import Signer
from meshhw.errors import FormatError, IntegrityError, Replayed
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.uri import TokenURI
from meshhw.managers.account.administrators import add_administrator
from meshhw.managers.account.attesting import Judgement, judge, require
from meshhw.managers.account.authority import Authority, Founder, opened_catalog
from meshhw.managers.account.connected import ConnectedKeys, connected_keys
from meshhw.managers.account.granted import portion, store_ring
from meshhw.managers.account.names import Names
from meshhw.managers.account.request import Request
from meshhw.managers.account.rights import Rights
from meshhw.managers.account.roles import STORES
from meshhw.managers.account.standing import standing
from meshhw.managers.host import Host, ProfileRecord, now
from meshhw.schema.activation import ActivationAccount, ActivationCommon
from meshhw.schema.assertion import enclose, profile_udf, sign_assertion
from meshhw.schema.connection import ConnectionDevice, ConnectionService
from meshhw.schema.core import Enveloped, MeshObject
from meshhw.schema.entry import CatalogedDevice
from meshhw.schema.keydata import key_data, public_key
from meshhw.schema.message import RespondConnection
from meshhw.schema.profile import ConnectionPolicy, ProfileDevice
from meshhw.udf import Seed, Specifier, fingerprint
from meshhw.udf.message import response_id

M = TypeVar("M", bound=MeshObject)
_LIMIT = 1 << 20
ACCEPT, REJECT = "Accept", "Reject"


@dataclass(frozen=True, slots=True)
class Grant:
    """A device, what it is granted, and the keys that it will have."""

    account: str
    profile: Envelope
    device: ProfileDevice
    device_envelope: Enveloped[ProfileDevice]
    rights: Rights
    activation: Seed
    keys: ConnectedKeys
    name: str | None = None


class Connector:
    """The administrator's side of one account on this machine."""

    def __init__(self, host: Host, account: ProfileRecord | Authority, options: OpenOptions) -> None:
        self._authority = account if isinstance(account, Authority) else Founder(host, account, options)
        self._directory = self._authority.directory

    def connect(
        self, request: Request, rights: Rights, *, name: str | None = None, root_on: TokenURI | None = None
    ) -> Envelope:
        """The answer to a request that a person has accepted, encrypted to the device, which the account's
        catalogs call `name`. An administrator's role needs the root key, on `root_on` where it is not here.

        Raises IntegrityError for a request to another account, Replayed for one that was answered already,
        AttestationRefused for a device that proves less than the account demands, NotSupported for rights
        that this machine cannot grant.
        """
        self._check(request)
        require(request.device, self._authority.profile.connection_policy, rights.roles)
        held = self._authority.held(common=rights.common_keys or rights.seed)
        common = portion(held, rights)
        names = self._names(held) if name else None
        name = names.require_free(name) if names and name else None
        activation = Seed.generate(Specifier.ACTIVATION_ACCOUNT)
        keys = connected_keys(request.device, activation)
        if rights.administrator:
            add_administrator(self._authority, keys.signature, root_on)
        grant = Grant(
            self._authority.udf,
            self._authority.envelope,
            request.device,
            profile_of_request(request),
            rights,
            activation,
            keys,
            name,
        )
        with (
            opened_catalog(self._authority, held) as devices,
            self._authority.administrator() as admin,
        ):
            entry = cataloged(grant, common, admin)
            envelope = _answer(request, ACCEPT, admin, entry)
            devices.put(entry)
        if names is not None:
            names.announce(entry)
        self._remember(request)
        return envelope

    def reject(self, request: Request) -> Envelope:
        """The answer to a request that a person has refused. Raises as `connect`."""
        self._check(request)
        with self._authority.administrator() as admin:
            envelope = _answer(request, REJECT, admin)
        self._remember(request)
        return envelope

    def judged(self, request: Request) -> list[Judgement]:
        """What the attestations of the device's keys prove, by the account's roots."""
        return judge(request.device, self._authority.profile.connection_policy or ConnectionPolicy())

    def _names(self, held: ActivationCommon) -> Names:
        found = standing(self._authority.host, self._authority.udf)
        return Names(found, {store: store_ring(held, store) for store in STORES})

    def _check(self, request: Request) -> None:
        asked = request.message.account_address
        if asked != self._authority.address:
            raise IntegrityError(
                f"the request is to {asked!r}, this is the account {self._authority.address!r}"
            )
        if request.message_id in self._answered():
            raise Replayed("the request was answered already", hint="ask the device for a new one")

    def _answered(self) -> list[str]:
        data = files.read_private(self._directory.path / "answered.json", _LIMIT)
        try:
            return msgspec.json.decode(data or b"[]", type=list[str])
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise FormatError(f"the account's list of answered requests is damaged: {error}") from error

    def _remember(self, request: Request) -> None:
        answered = self._directory.path / "answered.json"
        with files.locked(answered):
            files.replace(answered, msgspec.json.encode([*self._answered(), request.message_id]))


def profile_of_request(request: Request) -> Enveloped[ProfileDevice]:
    """The device's profile as the request carries it. Raises FormatError."""
    data = request.message.authenticated_data
    if data is None:
        raise FormatError("the request lacks the device's profile")
    return Enveloped(data.array)


def _answer(request: Request, result: str, admin: Signer, entry: CatalogedDevice | None = None) -> Envelope:
    name = response_id(request.message_id)
    answer = RespondConnection(message_id=name, result=result, cataloged_device=entry)
    return enclose(answer, admin, public_key(request.device.encryption, "Encryption"), name)


def cataloged(grant: Grant, common: ActivationCommon, admin: Signer) -> CatalogedDevice:
    """Everything that the device needs to work, each part signed by the administrator."""
    device, keys, name = grant.device, grant.keys, profile_udf(grant.device)
    activation = ActivationAccount(activation_key=grant.activation.text, account_udf=grant.account)
    service = ConnectionService(
        profile_udf=grant.account, authentication=key_data(keys.authentication), updated=now()
    )
    full = ConnectionDevice(
        profile_udf=grant.account,
        updated=now(),
        subject=name,
        authority=fingerprint(admin.public),
        roles=grant.rights.roles,
        authentication=key_data(keys.authentication),
        signature=key_data(keys.signature, mode=keys.mode or None),
        encryption=key_data(keys.encryption),
    )
    base: PublicKey = public_key(device.encryption, "Encryption")
    return CatalogedDevice(
        local_name=grant.name,
        updated=now(),
        udf=fingerprint(keys.authentication),
        device_udf=name,
        signature_udf=fingerprint(keys.signature),
        enveloped_profile_user=Enveloped(grant.profile.array()),
        enveloped_profile_device=grant.device_envelope,
        enveloped_connection_service=enveloped(sign_assertion(service, admin, name, binary=True)),
        enveloped_connection_device=enveloped(sign_assertion(full, admin, name, binary=True)),
        enveloped_activation_account=enveloped(enclose(activation, admin, base, name)),
        enveloped_activation_common=enveloped(enclose(common, admin, keys.encryption, name)),
    )


def enveloped(envelope: Envelope) -> Enveloped[M]:
    """An envelope as a member of an object."""
    return Enveloped(envelope.array())
