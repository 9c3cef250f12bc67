"""Connecting a device: what an administrator makes and signs for it (schema digest section 5).

The device gets an activation, encrypted to its base key; a connection that names its keys inside the account
and its roles; and the keys that the roles grant, encrypted to its connected key. An administrator's role adds
the device's own signature key to the profile's list (rule R5); no administrator key is ever copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from meshhw import files
from meshhw.algorithms import PrivateKey, PublicKey
from meshhw.dare.envelope import Envelope
from meshhw.dare.keys import private_to_jose
from meshhw.dare.signing import Signer
from meshhw.errors import FormatError, IntegrityError, NotSupported, Replayed
from meshhw.keystore.api import OpenOptions, Signs
from meshhw.managers.account.administrators import add_administrator, profile_of
from meshhw.managers.account.attesting import Judgement, judge, require
from meshhw.managers.account.connected import ConnectedKeys, connected_keys
from meshhw.managers.account.directory import AccountDirectory
from meshhw.managers.account.request import Request
from meshhw.managers.account.rights import Rights
from meshhw.managers.account.roles import ADMINISTRATOR, ENCRYPTION, SEED_NAMES
from meshhw.managers.host import Host, ProfileRecord, now
from meshhw.managers.keys import opened
from meshhw.privkeys import public_key_of
from meshhw.schema.activation import ActivationAccount, ActivationCommon, ActivationEntry
from meshhw.schema.assertion import enclose, sign_assertion
from meshhw.schema.codec import decode, encode, from_tagged
from meshhw.schema.connection import ConnectionDevice, ConnectionService
from meshhw.schema.core import Enveloped, MeshObject
from meshhw.schema.entry import CatalogedDevice
from meshhw.schema.key import Key, KeyData
from meshhw.schema.keydata import key_data, public_key
from meshhw.schema.message import RespondConnection
from meshhw.schema.profile import ConnectionPolicy
from meshhw.udf import Seed, Specifier, fingerprint
from meshhw.udf.message import response_id

M = TypeVar("M", bound=MeshObject)
_LIMIT = 1 << 20
ACCEPT, REJECT = "Accept", "Reject"


@dataclass(frozen=True, slots=True)
class Grant:
    """A request, what it is granted, and the keys that the device will have."""

    account: ProfileRecord
    request: Request
    rights: Rights
    activation: Seed
    keys: ConnectedKeys


class Connector:
    """The administrator's side of one account on this machine."""

    def __init__(self, host: Host, account: ProfileRecord, options: OpenOptions) -> None:
        self._host = host
        self._account = account
        self._options = options
        self._directory = AccountDirectory(host.home, account.udf)

    def connect(self, request: Request, rights: Rights) -> Envelope:
        """The answer to a request that a person has accepted, encrypted to the device.

        Raises IntegrityError for a request to another account, Replayed for one that was answered already,
        AttestationRefused for a device that proves less than the account demands, NotSupported for rights
        that this machine cannot grant.
        """
        self._check(request)
        require(request.device, self._policy, rights.roles)
        common = self._common_keys(rights)
        activation = Seed.generate(Specifier.ACTIVATION_ACCOUNT)
        keys = connected_keys(request.device, activation)
        account = self._account
        if rights.administrator:
            account = add_administrator(self._host, account, keys.signature, self._options)
        grant = Grant(account, request, rights, activation, keys)
        with self._administrator(account) as admin:
            entry = _cataloged(grant, common, admin)
            envelope = _answer(request, ACCEPT, admin, entry)
        devices = files.private_directory(self._directory.path / "devices")
        files.replace(devices / f"{request.udf}.json", encode(entry))
        self._remember(request)
        return envelope

    def reject(self, request: Request) -> Envelope:
        """The answer to a request that a person has refused. Raises as `connect`."""
        self._check(request)
        with self._administrator(self._account) as admin:
            envelope = _answer(request, REJECT, admin)
        self._remember(request)
        return envelope

    def judged(self, request: Request) -> list[Judgement]:
        """What the attestations of the device's keys prove, by the account's roots."""
        return judge(request.device, self._policy or ConnectionPolicy())

    @property
    def _policy(self) -> ConnectionPolicy | None:
        return profile_of(self._account).connection_policy

    def devices(self) -> list[CatalogedDevice]:
        """The devices that were connected here. Raises FormatError."""
        paths = sorted((self._directory.path / "devices").glob("*.json"))
        return [decode(files.read_private(path, _LIMIT) or b"", CatalogedDevice) for path in paths]

    def _check(self, request: Request) -> None:
        asked = request.message.account_address
        if asked != self._account.label:
            raise IntegrityError(f"the request is to {asked!r}, this is the account {self._account.label!r}")
        if request.message_id in self._answered():
            raise Replayed("the request was answered already", hint="ask the device for a new one")

    def _common_keys(self, rights: Rights) -> ActivationCommon:
        """The private keys that the rights grant, by the members of ActivationCommon."""
        stores = self._directory.store_keys(self._options)
        entries = tuple(
            ActivationEntry(resource=name, key=_private_data(key))
            for name, key in stores.items()
            if name in rights.stores
        )
        if not (rights.common_keys or rights.seed):
            return ActivationCommon(entries=entries)
        seed = self._directory.seed(self._options)
        if seed is None:
            raise NotSupported(
                "the account's private keys are in their tokens and its seed is not here, "
                f"so {', '.join(rights.roles)} cannot be granted",
                hint="the roles device and admin need no key of the account",
            )
        private = {
            role: seed.derive(self._account.suite.signature, name)
            if role == "signature"
            else seed.derive(self._account.suite.agreement, name)
            for role, name in SEED_NAMES.items()
            if role in (ENCRYPTION, "authentication", "signature")
        }
        return ActivationCommon(
            activation_key=seed.text if rights.seed else None,
            entries=entries,
            encryption=_private_data(private[ENCRYPTION]),
            authentication=_private_data(private["authentication"]),
            signature=_private_data(private["signature"]),
        )

    def _answered(self) -> list[str]:
        data = files.read_private(self._directory.path / "answered.json", _LIMIT)
        try:
            return msgspec.json.decode(data or b"[]", type=list[str])
        except msgspec.MsgspecError as error:
            raise FormatError(f"the account's list of answered requests is damaged: {error}") from error

    @contextmanager
    def _administrator(self, account: ProfileRecord) -> Iterator[Signer]:
        """The administrator's key, its token open until the end."""
        with opened(account.key(ADMINISTRATOR).uri, self._host.home, self._options) as found:
            if not isinstance(found.key, Signs):
                raise NotSupported("the administrator's key does not sign")
            yield found.key

    def _remember(self, request: Request) -> None:
        answered = self._directory.path / "answered.json"
        with files.locked(answered):
            files.replace(answered, msgspec.json.encode([*self._answered(), request.message_id]))


def _answer(request: Request, result: str, admin: Signer, entry: CatalogedDevice | None = None) -> Envelope:
    name = response_id(request.message_id)
    answer = RespondConnection(message_id=name, result=result, cataloged_device=entry)
    return enclose(answer, admin, public_key(request.device.encryption, "Encryption"), name)


def _cataloged(grant: Grant, common: ActivationCommon, admin: Signer) -> CatalogedDevice:
    """Everything that the device needs to work, each part signed by the administrator."""
    device, keys = grant.request.device, grant.keys
    activation = ActivationAccount(activation_key=grant.activation.text, account_udf=grant.account.udf)
    service = ConnectionService(
        profile_udf=grant.account.udf, authentication=key_data(keys.authentication), updated=now()
    )
    full = ConnectionDevice(
        profile_udf=grant.account.udf,
        updated=now(),
        subject=grant.request.udf,
        authority=fingerprint(admin.public),
        roles=grant.rights.roles,
        authentication=key_data(keys.authentication),
        signature=key_data(keys.signature, mode=keys.mode or None),
        encryption=key_data(keys.encryption),
    )
    name = grant.request.udf
    base: PublicKey = public_key(device.encryption, "Encryption")
    return CatalogedDevice(
        updated=now(),
        udf=fingerprint(keys.authentication),
        device_udf=name,
        signature_udf=fingerprint(keys.signature),
        enveloped_profile_user=Enveloped(Envelope.parse(grant.account.envelope).array()),
        enveloped_profile_device=Enveloped(_profile_device(grant.request)),
        enveloped_connection_service=_enveloped(sign_assertion(service, admin, name, binary=True)),
        enveloped_connection_device=_enveloped(sign_assertion(full, admin, name, binary=True)),
        enveloped_activation_account=_enveloped(enclose(activation, admin, base, name)),
        enveloped_activation_common=_enveloped(enclose(common, admin, keys.encryption, name)),
    )


def _enveloped(envelope: Envelope) -> Enveloped[M]:
    return Enveloped(envelope.array())


def _profile_device(request: Request) -> list[object]:
    data = request.message.authenticated_data
    return data.array if data else []


def _private_data(private: PrivateKey) -> KeyData:
    public = public_key_of(private)
    return KeyData(udf=fingerprint(public), private_parameters=from_tagged(private_to_jose(private), Key))
