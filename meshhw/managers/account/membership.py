"""This device's place in an account: what its administrator gave it, and the keys that follow from it.

`cataloged.json` is kept as it came: all that is secret in it is encrypted to this device's keys, so every use
asks the token again. The activation opens with the base key, the account's keys with the connected key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from meshhw import files
from meshhw.algorithms import PublicKey
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import KeyRing
from meshhw.dare.local import LocalKey
from meshhw.dare.signing import Signer
from meshhw.errors import FormatError, IntegrityError, KeyNotFound, NotSupported
from meshhw.keystore.api import OpenOptions, Signs
from meshhw.managers.account.activation import Use, scalar, tweak
from meshhw.managers.account.administrators import administrators
from meshhw.managers.account.composed import ComposedAgreement, SealedSignature, TweakedSignature
from meshhw.managers.account.connected import connected_keys, require_same, second_key
from meshhw.managers.account.directory import CATALOGED, AccountDirectory
from meshhw.managers.account.granted import merged
from meshhw.managers.account.profiles import newest, require_newer
from meshhw.managers.account.removed import signers_for
from meshhw.managers.account.succession import is_meant, succeeded_here
from meshhw.managers.host import Host, ProfileRecord
from meshhw.managers.keys import opened
from meshhw.schema.activation import ActivationAccount, ActivationCommon
from meshhw.schema.assertion import enclose, open_assertion, open_bound, open_profile, profile_udf
from meshhw.schema.codec import decode, encode
from meshhw.schema.connection import ConnectionDevice
from meshhw.schema.core import Enveloped, MeshObject
from meshhw.schema.entry import CatalogedDevice
from meshhw.schema.keydata import DUAL, SEALED, TWEAKED, signature_keys
from meshhw.schema.profile import ProfileDevice, ProfileUser
from meshhw.udf import Seed

_JOIN = "make an account with `meshhw account create`, or ask to join one: `meshhw device request ADDRESS`"
_LIMIT = 1 << 20
M = TypeVar("M", bound=MeshObject)


class Membership:
    """One device of this home in one account. Everything was signed by an administrator of the profile."""

    def __init__(self, host: Host, entry: CatalogedDevice, *, held: bool = False) -> None:
        """Check the entry's signatures. `held`: it was checked and kept before, and stays this device's place
        when a newer profile removes the administrator who signed it, until the update with the proof comes.

        Raises SignatureInvalid, IntegrityError, FormatError, and KeyNotFound when the device is not of this
        home.
        """
        self.host = host
        self._held = held
        self._seed: Seed | None = None
        self.entry = entry
        self.profile_envelope = _envelope(entry.enveloped_profile_user, "profile")
        self.profile = open_profile(self.profile_envelope, ProfileUser).value
        self._take_newer()
        self.udf = profile_udf(self.profile)
        connection = _envelope(entry.enveloped_connection_device, "connection")
        self.connection = open_assertion(connection, ConnectionDevice, self._signers(connection)).value
        if self.connection.profile_udf != self.udf:
            raise IntegrityError("the connection is to another account than the profile beside it")
        self.device: ProfileRecord = host.profile(entry.device_udf, "ProfileDevice")

    def _take_newer(self) -> None:
        """A profile that came later than this entry counts."""
        held = AccountDirectory(self.host.home, profile_udf(self.profile)).profile()
        if held is None:
            return
        newer = open_profile(held, ProfileUser).value
        if (newer.version or 0) > (self.profile.version or 0):
            require_newer(self.profile, newer)
            self.profile_envelope, self.profile = held, newer

    @property
    def address(self) -> str:
        """The account's address."""
        return self.profile.account_address or ""

    @contextmanager
    def encryption(self, options: OpenOptions) -> Iterator[ComposedAgreement]:
        """The connected encryption key, its token open until the end; two questions to the token to open one
        envelope: one for the activation, one for the envelope.

        Raises IntegrityError when base and activation do not give the connection's keys.
        """
        handle = self.device.key("encryption")
        with opened(handle.uri, self.host.home, options) as base:
            seed = self._activation(KeyRing([base.key]))
            part = scalar(seed, Use.ENCRYPTION, handle.algorithm)
            yield ComposedAgreement(base.key, part, published=handle.public_key)

    @contextmanager
    def signer(self, options: OpenOptions) -> Iterator[Signer]:
        """The connected signature key: the token's own, or under its activation.

        Raises NotSupported, also for a device that signs with two keys (`signers`).
        """
        with self.signers(options) as found:
            if len(found) != 1:
                raise NotSupported("this device signs with two keys (dual), and here one is wanted")
            yield found[0]

    @contextmanager
    def signers(self, options: OpenOptions) -> Iterator[tuple[Signer, ...]]:
        """The keys that sign for this device, all of them together: with `dual` the token's own and that of
        the activation. Raises NotSupported."""
        handle = self.device.key("signature")
        mode = self.connection.signature.mode if self.connection.signature is not None else None
        with opened(handle.uri, self.host.home, options) as found:
            if mode == TWEAKED:
                seed = self._seed or self.activation(options)
                factor = tweak(seed, handle.public_key)
                yield (TweakedSignature(found.key, factor, published=handle.public_key),)
            elif mode in (SEALED, None):
                seed = self._seed or self.activation(options)
                part = scalar(seed, Use.SIGNATURE, handle.algorithm)
                yield (SealedSignature(found.key, part, published=handle.public_key),)
            elif not isinstance(found.key, Signs):
                raise NotSupported("the device's signature key does not sign")
            elif mode == DUAL:
                seed = self._seed or self.activation(options)
                yield (found.key, LocalKey(second_key(seed, handle.algorithm), options.recorder))
            else:
                yield (found.key,)

    def activation(self, options: OpenOptions) -> Seed:
        """The activation's seed, opened with the base encryption key."""
        with opened(self.device.key("encryption").uri, self.host.home, options) as base:
            return self._activation(KeyRing([base.key]))

    def common(self, options: OpenOptions) -> ActivationCommon:
        """The keys of the account that this device holds, with one question to the token: they are kept under
        its base key. Without that the administrator's entry is opened, with two."""
        kept = AccountDirectory(self.host.home, self.udf).granted()
        if kept is None:
            return self.brought(options)
        own = signature_keys(self.connection.signature)
        with opened(self.device.key("encryption").uri, self.host.home, options) as base:
            return open_assertion(kept, ActivationCommon, [own], KeyRing([base.key])).value

    def brought(self, options: OpenOptions) -> ActivationCommon:
        """What the administrator's entry itself brings, every layer of it opened."""
        with self.encryption(options) as key:
            return self.given(KeyRing([key]))

    def merged_envelope(
        self, later: Membership, options: OpenOptions, *, overtaken: bool = False
    ) -> Envelope:
        """All that this device held and what a later entry brings, as it is kept. Of one that was `overtaken`
        by a newer profile the common keys are the earlier ones."""
        held, brought = self.common(options), later.brought(options)
        return later.kept_envelope(merged(brought, held) if overtaken else merged(held, brought), options)

    def kept_envelope(self, keys: ActivationCommon, options: OpenOptions) -> Envelope:
        """Keys of the account for this device alone, signed by itself: under its base key, which opens the
        activation too, so that nothing is lost by asking the token once instead of twice."""
        with self.signers(options) as signers:
            return enclose(keys, signers, self.device.key("encryption").public_key, self.device.udf)

    def given(self, ring: KeyRing) -> ActivationCommon:
        """What the administrator's entry itself brings."""
        envelope = _envelope(self.entry.enveloped_activation_common, "activation of the account's keys")
        return open_assertion(envelope, ActivationCommon, self._signers(envelope), ring).value

    def _signers(self, envelope: Envelope) -> Sequence[PublicKey]:
        found = signers_for(self.profile, envelope, self.entry.proof)
        if not self._held:
            return found
        own = _envelope(self.entry.enveloped_profile_user, "profile")
        return [*found, *administrators(open_profile(own, ProfileUser).value)]

    def _activation(self, ring: KeyRing) -> Seed:
        if self._seed is None:
            self._seed = self._opened_activation(ring)
        return self._seed

    def _opened_activation(self, ring: KeyRing) -> Seed:
        """Whoever made it: only the seed that the connection's keys were made with gives them, and they are
        signed. A signature, as others write one, must be an administrator's nevertheless."""
        envelope = _envelope(self.entry.enveloped_activation_account, "activation")
        found = open_bound(envelope, ActivationAccount, self._signers(envelope), ring)
        if found.account_udf != self.udf or not found.activation_key:
            raise IntegrityError("the activation is of another account")
        seed = Seed.parse(found.activation_key)
        device = open_profile(Envelope.parse(self.device.envelope), ProfileDevice).value
        require_same(connected_keys(device, seed), self.connection)
        return seed


def memberships(host: Host) -> list[Membership]:
    """The accounts that devices of this home belong to. Raises what a damaged one raises."""
    paths = sorted((host.home / "accounts").glob(f"*/{CATALOGED}"))
    return [
        Membership(host, decode(files.read_private(path, _LIMIT) or b"", CatalogedDevice), held=True)
        for path in paths
    ]


def membership(host: Host, name: str | None = None) -> Membership:
    """The one in the account of that address or UDF; without a name the only one. Raises KeyNotFound."""
    gone = succeeded_here(host)
    found = [item for item in memberships(host) if is_meant(item.udf, item.address, name, gone)]
    if len(found) != 1:
        raise KeyNotFound(
            f"{len(found)} connected accounts fit" if found else "no device here belongs to that account",
            hint="say which with --account ADDRESS" if found else _JOIN,
        )
    return found[0]


def install(host: Host, found: Membership, granted: Envelope | None = None) -> None:
    """Keep a membership, with what the device has put together of its keys where it is an update. A newer
    profile of the account that is here already stays.

    Raises IntegrityError for another profile of the same version.
    """
    directory = AccountDirectory(host.home, found.udf)
    profile = _envelope(found.entry.enveloped_profile_user, "profile")
    offered = open_profile(profile, ProfileUser).value
    with directory.making():
        held = directory.profile()
        if held is None or newest(open_profile(held, ProfileUser).value, offered) is offered:
            directory.write_profile(profile.octets())
        directory.write_granted(granted)
        files.replace(directory.path / CATALOGED, encode(found.entry))


def _envelope(enveloped: Enveloped[M] | None, what: str) -> Envelope:
    if enveloped is None:
        raise FormatError(f"the {what} is missing")
    return Envelope.from_array(enveloped.array)
