"""Connecting a device: what an administrator makes and signs for it (schema digest section 5).

The device gets an activation, encrypted to its base key; a connection that names its keys inside the account
and its roles; and the keys that the roles grant, encrypted to its connected key. An administrator's role adds
the device's own signature key to the profile's list (rule R5); no administrator key is ever copied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from msgspec.structs import replace

from meshhw import files
from meshhw.algorithms import PublicKey
from meshhw.dare.envelope import Envelope
from meshhw.dare.signing import Signer
from meshhw.errors import FormatError, IntegrityError, NotSupported, Replayed, UsageError
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.uri import TokenURI
from meshhw.managers.account.administrators import administrators, signed_by_root, with_administrator
from meshhw.managers.account.answering import Answers, Begun, digest_of
from meshhw.managers.account.attesting import Judgement, judge, require
from meshhw.managers.account.authority import Authority, Founder, opened_catalog
from meshhw.managers.account.connected import ConnectedKeys, connected_keys
from meshhw.managers.account.granted import portion, store_ring
from meshhw.managers.account.known import Sort
from meshhw.managers.account.listing import carries_on, octets_of, put_in_force, with_device
from meshhw.managers.account.listing import keys_of as threshold_keys
from meshhw.managers.account.names import Names
from meshhw.managers.account.pins import pins_of
from meshhw.managers.account.rekeying import left, needed
from meshhw.managers.account.request import Request
from meshhw.managers.account.rights import Rights, rights_of
from meshhw.managers.account.roles import STORES
from meshhw.managers.account.standing import standing
from meshhw.managers.host import Host, ProfileRecord, now
from meshhw.schema.activation import ActivationAccount, ActivationCommon
from meshhw.schema.assertion import enclose, profile_udf, sign_assertion
from meshhw.schema.codec import encode
from meshhw.schema.connection import ConnectionDevice, ConnectionService
from meshhw.schema.core import Enveloped, MeshObject
from meshhw.schema.entry import CatalogedDevice
from meshhw.schema.keydata import key_data, public_key
from meshhw.schema.message import MessagePin, RespondConnection
from meshhw.schema.profile import ConnectionPolicy, ProfileDevice
from meshhw.schema.threshold import ThresholdDescriptor
from meshhw.udf import Seed, Specifier, fingerprint
from meshhw.udf.message import response_id

M = TypeVar("M", bound=MeshObject)
ACCEPT, REJECT = "Accept", "Reject"
SIGNATURES = 4
"""Of the administrator's key for one device: two connections, the account's keys, the answer. The activation
needs none: what it gives must be the keys of the connection."""
OPENINGS = 2
"""Of what holds the account's keys, at most: where it was made the keys and the seed, else the keys that were
granted and, for a `tweaked` signature, the activation."""
Deliver = Callable[[Envelope, tuple[str, ...]], None]
"""Puts the answer where the device will find it, and is told which roles it grants."""


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
    statements: Sequence[Envelope] = ()
    descriptors: Sequence[Enveloped[ThresholdDescriptor]] = ()
    left: datetime | None = None
    """When a device that signs by this key was disconnected: the connection is later, whatever clocks say."""


class Connector:
    """The administrator's side of one account on this machine."""

    def __init__(self, host: Host, account: ProfileRecord | Authority, options: OpenOptions) -> None:
        self._authority = account if isinstance(account, Authority) else Founder(host, account, options)
        self._answers = Answers(self._authority.directory.path)

    def connect(
        self,
        request: Request,
        rights: Rights | None = None,
        *,
        name: str | None = None,
        root_on: TokenURI | None = None,
        holders_of: Sequence[str] = (),
        deliver: Deliver | None = None,
    ) -> Envelope:
        """The answer to a request, encrypted to the device, which the account's catalogs call `name`: with
        these rights, which a person has granted, or without any with those of the PIN that the request knows.

        It is given to `deliver` before the request counts as answered; what was interrupted is taken up by
        the next call. An administrator's role needs the root key, on `root_on` where it is not here. With the
        role threshold the device may ask the holders of the threshold keys `holders_of`, without any of those
        that are the account's.

        Raises IntegrityError for a request to another account, Replayed for one that was answered already and
        for a PIN that was used, WitnessMismatch, Expired, AttestationRefused for a device that proves less
        than the account demands, NotSupported for rights that this machine cannot grant.
        """
        with files.locked(self._answers.lock):
            self._check(request)
            held = self._authority.held(common=rights is None or rights.common_keys or rights.seed)
            pin = None if rights is not None else self._pin(request, held)
            granted = rights or rights_of(pin.roles if pin else ())
            begun = self._taken_up(request, granted)
            if begun is None:
                require(request.device, self._authority.profile.connection_policy, granted.roles)
                free = self._names(held).require_free(name) if name else None
                shared = self._shared(request, held, holders_of) if granted.shares else []
                with self._authority.together():
                    begun = self._made(request, granted, held, free, root_on=root_on, shared=shared)
                if pin is not None:
                    begun = replace(begun, pin_id=pin.message_id or "")
                self._answers.begin(begun)
            self._do(begun, held)
            return self._deliver(begun, deliver)

    def reject(self, request: Request, deliver: Deliver | None = None) -> Envelope:
        """The answer to a request that a person has refused. Raises as `connect`."""
        with files.locked(self._answers.lock):
            self._check(request)
            self._answers.refuse_begun(request.message_id)
            with self._authority.administrator() as admin:
                envelope = _answer(request, REJECT, admin)
            if deliver is not None:
                deliver(envelope, ())
            self._answers.finish(request.message_id)
            return envelope

    def judged(self, request: Request) -> list[Judgement]:
        """What the attestations of the device's keys prove, by the account's roots."""
        return judge(request.device, self._authority.profile.connection_policy or ConnectionPolicy())

    def _shared(
        self, request: Request, held: ActivationCommon, names: Sequence[str]
    ) -> list[Enveloped[ThresholdDescriptor]]:
        """The descriptors that list the device, of the keys of these names, else of the account's own: its
        root, its administrators and its groups. They are not in force yet."""
        found = self._authority
        if not names:
            groups = [item for item in self._names(held).all() if item.sort is Sort.GROUP]
            publics = {found.root_key, *administrators(found.profile)}
            publics |= {key for item in groups for key in item.signatures}
            names = threshold_keys(found.host, publics)
        return with_device(found.host, names, request.signature, found.options)

    def _names(self, held: ActivationCommon) -> Names:
        found = standing(self._authority.host, self._authority.udf)
        return Names(found, {store: store_ring(held, store) for store in STORES})

    def _check(self, request: Request) -> None:
        asked = request.message.account_address
        if asked != self._authority.address:
            raise IntegrityError(
                f"the request is to {asked!r}, this is the account {self._authority.address!r}"
            )
        if self._answers.has(request.message_id):
            self._answers.drop(request.message_id)
            raise Replayed("the request was answered already", hint="ask the device for a new one")

    def _pin(self, request: Request, held: ActivationCommon) -> MessagePin:
        """The PIN that the request proves to know. Raises as `PinSpool.valid_for`, UsageError without one."""
        if not request.message.pin_id:
            raise UsageError("the request knows no PIN", hint="say with --roles what the device shall be")
        with pins_of(self._authority, held) as pins:
            return pins.valid_for(request)

    def _taken_up(self, request: Request, rights: Rights) -> Begun | None:
        """The answer that was begun and interrupted, if it is still good. Raises UsageError for one that was
        begun with other roles."""
        begun = self._answers.begun(request.message_id)
        if begun is None or not begun.fits(self._authority.envelope):
            return None
        if not carries_on(self._authority.host, octets_of(begun.device)):
            return None
        if begun.roles != rights.roles:
            raise UsageError(
                f"this connection was begun with the roles {','.join(begun.roles)} and interrupted",
                hint="finish it with these, then disconnect the device",
            )
        return begun

    def _made(
        self,
        request: Request,
        rights: Rights,
        held: ActivationCommon,
        name: str | None,
        *,
        root_on: TokenURI | None,
        shared: Sequence[Enveloped[ThresholdDescriptor]],
    ) -> Begun:
        """Everything that the answer consists of, signed; nothing is changed yet."""
        authority, common = self._authority, portion(held, rights)
        activation = Seed.generate(Specifier.ACTIVATION_ACCOUNT)
        keys = connected_keys(request.device, activation)
        before = profile = authority.envelope
        if rights.administrator:
            if keys.beside is not None:
                raise NotSupported(
                    "an administrator signs with one key, and this device with two (dual)",
                    hint="make its profile without --dual; or let a quorum administer",
                )
            added = with_administrator(authority.profile, keys.signature)
            if added != authority.profile:
                profile = signed_by_root(authority, added, root_on)
        device = profile_of_request(request)
        said = needed(authority.directory.statements())
        gone = left(authority.directory).get(fingerprint(keys.signature))
        grant = Grant(
            authority.udf, profile, request.device, device, rights, activation, keys, name, said, shared, gone
        )
        with authority.administrator() as admin:
            entry = cataloged(grant, common, admin)
            envelope = _answer(request, ACCEPT, admin, entry)
        return Begun(
            request=request.message_id,
            roles=rights.roles,
            before=digest_of(before),
            profile=b"" if profile is before else profile.octets(),
            entry=encode(entry),
            answer=envelope.octets(),
        )

    def _do(self, begun: Begun, held: ActivationCommon) -> None:
        """Every step may have been done before, by a call that was interrupted."""
        if begun.pin_id:
            with pins_of(self._authority, held) as pins:
                pins.close(begun.pin_id, begun.request)
        if begun.profile:
            self._authority.take_profile(Envelope.parse(begun.profile))
        put_in_force(self._authority.host, octets_of(begun.device))
        with opened_catalog(self._authority, held) as devices:
            devices.put(begun.device)
        if begun.device.local_name:
            self._names(held).announce(begun.device)

    def _deliver(self, begun: Begun, deliver: Deliver | None) -> Envelope:
        answer = Envelope.parse(begun.answer)
        if deliver is not None:
            deliver(answer, begun.roles)
        self._answers.finish(begun.request)
        return answer


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
    """Everything that the device needs to work, each part signed by the administrator, but for the
    activation: the device takes none that does not give the connection's keys."""
    device, keys, name = grant.device, grant.keys, profile_udf(grant.device)
    activation = ActivationAccount(activation_key=grant.activation.text, account_udf=grant.account)
    service = ConnectionService(
        profile_udf=grant.account, authentication=key_data(keys.authentication), updated=now()
    )
    full = ConnectionDevice(
        profile_udf=grant.account,
        updated=max(now(), grant.left + timedelta(seconds=1)) if grant.left else now(),
        subject=name,
        authority=fingerprint(admin.public),
        roles=grant.rights.roles,
        authentication=key_data(keys.authentication),
        signature=key_data(keys.signature, mode=keys.mode or None, beside=keys.beside),
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
        enveloped_activation_account=enveloped(enclose(activation, [], base, name)),
        enveloped_activation_common=enveloped(enclose(common, admin, keys.encryption, name)),
        enveloped_store_epochs=tuple(enveloped(said) for said in grant.statements),
        enveloped_threshold_descriptors=tuple(grant.descriptors),
    )


def enveloped(envelope: Envelope) -> Enveloped[M]:
    """An envelope as a member of an object."""
    return Enveloped(envelope.array())
