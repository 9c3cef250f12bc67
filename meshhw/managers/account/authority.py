"""Who administers an account on this machine: where it was made, or as a connected device of that role.

Both hold an administrator's key of their own and keys of the account, and may reach its root key: where the
account was made by its handle, elsewhere by the token that holds it or by the account's seed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress

from msgspec.structs import replace

from meshhw.algorithms import PublicKey, Suite
from meshhw.dare.envelope import Envelope
from meshhw.dare.local import LocalKey
from meshhw.dare.signing import Signer
from meshhw.errors import KeyNotFound, NotSupported, TokenNotFound, TokenRemoved
from meshhw.keystore import registry
from meshhw.keystore.api import OpenOptions, Signs
from meshhw.keystore.uri import TokenURI
from meshhw.managers.account.administrators import administrators
from meshhw.managers.account.devices import STORE as DEVICES
from meshhw.managers.account.devices import DeviceCatalog
from meshhw.managers.account.directory import AccountDirectory
from meshhw.managers.account.granted import merged, private_data, store_ring
from meshhw.managers.account.membership import Membership, install, membership
from meshhw.managers.account.profiles import require_newer
from meshhw.managers.account.quorums import Quorums
from meshhw.managers.account.roles import ADMINISTRATOR, ENCRYPTION, SEED_NAMES
from meshhw.managers.account.rooting import root_handles
from meshhw.managers.account.stores import store_in
from meshhw.managers.account.succession import made_on
from meshhw.managers.host import SHARED, Host, KeyHandle, ProfileRecord
from meshhw.managers.openers import signing
from meshhw.managers.profilemaking import ROOT
from meshhw.managers.threshold.signer import find_quorum, find_signer
from meshhw.schema.activation import ActivationCommon
from meshhw.schema.assertion import open_profile, roots_of
from meshhw.schema.codec import decode, encode
from meshhw.schema.entry import CatalogedDevice
from meshhw.schema.key import KeyData
from meshhw.schema.keydata import public_key
from meshhw.schema.profile import ProfileUser
from meshhw.udf import Seed, fingerprint

KIND = "ProfileUser"
_TOUCHES = ("always", "cached")


class Authority(ABC):
    """An account that is administered here."""

    def __init__(self, host: Host, udf: str, options: OpenOptions) -> None:
        self.host = host
        self.udf = udf
        self.options = options
        self.directory = AccountDirectory(host.home, udf)
        self._quorums: Quorums | None = None

    @contextmanager
    def together(self) -> Iterator[None]:
        """One ceremony: until its end a quorum that signs as root, as administrator or as both has its shares
        open, so that each of its holders is asked once."""
        if self._quorums is not None:
            yield
            return
        try:
            with Quorums(self.host.home, self.options) as self._quorums:
                yield
        finally:
            self._quorums = None

    @contextmanager
    def _signing(self, handle: KeyHandle) -> Iterator[Signer]:
        """The key of a handle, in its token or as a quorum."""
        with self.together():
            if handle.is_shared and self._quorums is not None:
                yield self._quorums.signer(handle.uri)
                return
            with signing(handle, self.host.home, self.options) as signer:
                yield signer

    @property
    @abstractmethod
    def envelope(self) -> Envelope:
        """The newest signed profile."""

    @property
    def profile(self) -> ProfileUser:
        """The newest profile. Raises SignatureInvalid, FormatError."""
        return open_profile(self.envelope, ProfileUser).value

    @property
    def address(self) -> str:
        """The account's address."""
        return self.profile.account_address or ""

    @property
    def suite(self) -> Suite:
        """The account's suite."""
        return Suite(self.profile.suite or Suite.S448)

    @property
    def root_key(self) -> PublicKey:
        """The public key that signs the profile."""
        return public_key(self.profile.profile_signature, "ProfileSignature")

    @property
    @abstractmethod
    def administrator_key(self) -> PublicKey:
        """The public key that this machine administers with."""

    @abstractmethod
    def administrator(self) -> AbstractContextManager[Signer]:
        """The key that this machine administers with, its token open until the end."""

    founder_udf: str | None = None
    """This machine's name in the device catalog where it is the one that made the account."""
    device_udf: str | None = None
    """The same where it is a connected device."""

    @abstractmethod
    def _handles(self) -> dict[str, KeyHandle]:
        """The keys of this machine that administering asks, by what they are for."""

    def tokens(self) -> list[TokenURI]:
        """The tokens whose PINs administering may ask for, the root's not counted."""
        handles = (handle for handle in self._handles().values() if not handle.is_shared)
        return list(dict.fromkeys(handle.key_uri.token for handle in handles))

    def quorum(self) -> str | None:
        """The threshold key that administers, `threshold:NAME`; None where a key of this machine does."""
        handle = self._handles()["administrator"]
        return handle.uri if handle.is_shared else None

    def root_quorum(self, token: TokenURI | None) -> str | None:
        """The same of the root, where no token is named for it."""
        name = None if token is not None else find_quorum(self.root_key, self.host.home)
        return None if name is None else SHARED + name

    def touches(self) -> bool:
        """Whether the administrator's key wants to be touched."""
        return self._handles()["administrator"].touch_policy in _TOUCHES

    def root_token(self, token: TokenURI | None) -> TokenURI | None:
        """The token of the root key; None when a seed gives it. An offline one is named with `token`."""
        return token

    def root_touches(self) -> bool:
        """Whether the root key is known to want to be touched."""
        return False

    @abstractmethod
    def held(self, *, common: bool = True) -> ActivationCommon:
        """The keys of the account that this machine can give to others; the common ones only when they are
        asked for, since they may cost a question more."""

    @abstractmethod
    def keep(self, keys: ActivationCommon) -> None:
        """Hold these keys from now on."""

    @abstractmethod
    def own(self, entries: Sequence[CatalogedDevice], keys: ActivationCommon) -> tuple[bytes, bytes | None]:
        """What this machine will keep of these keys and of the entry that is its own among `entries`, made
        but not kept yet: nothing secret is in it in clear."""

    @abstractmethod
    def keep_own(self, own: bytes, granted: bytes | None) -> None:
        """Keep what `own` made."""

    @abstractmethod
    def take_profile(self, envelope: Envelope) -> None:
        """Make this the newest profile. Raises IntegrityError for an older or another one of its version."""

    @abstractmethod
    def root(self, token: TokenURI | None = None) -> AbstractContextManager[Signer]:
        """The root key, on `token` when that is given. Raises KeyNotFound when it cannot be reached."""


class Founder(Authority):
    """The machine where the account was made, or made again from its shares."""

    def __init__(self, host: Host, record: ProfileRecord, options: OpenOptions) -> None:
        super().__init__(host, record.udf, options)
        self.record = record
        self.founder_udf = record.key(ADMINISTRATOR).udf

    @property
    def envelope(self) -> Envelope:
        """The newest signed profile."""
        return Envelope.parse(self.record.envelope)

    @property
    def administrator_key(self) -> PublicKey:
        """The key in the account's record."""
        return self.record.key(ADMINISTRATOR).public_key

    def _handles(self) -> dict[str, KeyHandle]:
        return {"administrator": self.record.key(ADMINISTRATOR)}

    def tokens(self) -> list[TokenURI]:
        """The administrator's, and the one that seals the account's keys."""
        return list(dict.fromkeys([*super().tokens(), self.directory.keys_token()]))

    def root_token(self, token: TokenURI | None) -> TokenURI | None:
        """The token of the root's handle that is here."""
        handle = self._root_here()
        return token if token is not None or handle.is_shared else handle.key_uri.token

    def root_touches(self) -> bool:
        """By the root's handle."""
        return self._root_here().touch_policy in _TOUCHES

    @contextmanager
    def administrator(self) -> Iterator[Signer]:
        """The administrator's key of this machine. Raises NotSupported when it was removed."""
        if self.administrator_key not in administrators(self.profile):
            raise NotSupported("this machine's administrator key was removed from the account")
        with self._signing(self.record.key(ADMINISTRATOR)) as signer:
            yield signer

    def held(self, *, common: bool = True) -> ActivationCommon:
        """The sealed keys; until they were rotated, the common ones come from the seed if it is here."""
        keys = self.directory.keys(self.options)
        seed = self.directory.seed(self.options) if common else None
        if seed is None:
            return keys
        first = ActivationCommon(**common_of(seed, self.suite))  # type: ignore[arg-type]  # its own members
        keys = merged(first, keys)
        if self.record.key(ROOT).is_shared:  # the seed gives no root, and whoever has it is no super
            return keys
        return replace(keys, activation_key=seed.text)

    def keep(self, keys: ActivationCommon) -> None:
        """Seal them to the token that sealed the keys until now."""
        token = registry.open_token(self.directory.keys_token(), self.options)
        try:
            self.directory.write_keys(token, replace(keys, activation_key=None))
        finally:
            token.close()

    def own(self, entries: Sequence[CatalogedDevice], keys: ActivationCommon) -> tuple[bytes, bytes | None]:
        """The keys, sealed."""
        token = registry.open_token(self.directory.keys_token(), self.options)
        try:
            return self.directory.sealed_keys(token, replace(keys, activation_key=None)), None
        finally:
            token.close()

    def keep_own(self, own: bytes, granted: bytes | None) -> None:
        """In place of the sealed keys."""
        self.directory.replace_keys(own)

    def take_profile(self, envelope: Envelope) -> None:
        """Into the account's record and its directory."""
        require_newer(self.profile, open_profile(envelope, ProfileUser).value)
        self.record = replace(self.record, envelope=envelope.octets())
        self.directory.write_profile(self.record.envelope)
        self.host.add(self.record)

    @contextmanager
    def root(self, token: TokenURI | None = None) -> Iterator[Signer]:
        """The root key by its handle; of several the first whose token is here."""
        if token is not None:
            with _on_token(token, self.profile, self.options) as signer:
                yield signer
            return
        with self._signing(self._root_here()) as signer:
            yield signer

    def _root_here(self) -> KeyHandle:
        """Of several roots the first whose token is here, else the first. Asks for no PIN."""
        handles = root_handles(self.record.keys)
        for handle in handles if len(handles) > 1 else ():
            with suppress(TokenNotFound, TokenRemoved):
                registry.open_token(handle.key_uri.token, self.options).close()
                return handle
        return handles[0]


class ConnectedAdministrator(Authority):
    """A connected device whose own signature key the profile lists."""

    def __init__(self, found: Membership, options: OpenOptions) -> None:
        """Raises NotSupported when the device's key is not listed."""
        super().__init__(found.host, found.udf, options)
        self._found = found
        self._newest = found.profile_envelope
        self._held: ActivationCommon | None = None
        self.device_udf = found.device.udf
        if self.administrator_key not in administrators(found.profile):
            raise NotSupported(
                f"this device is connected to {found.address} as {', '.join(found.connection.roles)}, "
                "which does not administer it",
                hint="an administrator grants the role admin with `meshhw account connect --roles`",
            )

    @property
    def envelope(self) -> Envelope:
        """The newest signed profile."""
        return self._newest

    @property
    def administrator_key(self) -> PublicKey:
        """The device's connected signature key."""
        return public_key(self._found.connection.signature, "Signature")

    def _handles(self) -> dict[str, KeyHandle]:
        device = self._found.device
        return {"administrator": device.key("signature"), "keys": device.key("encryption")}

    @contextmanager
    def administrator(self) -> Iterator[Signer]:
        """The device's connected signature key."""
        with self._found.signer(self.options) as signer:
            yield signer

    def held(self, *, common: bool = True) -> ActivationCommon:
        """What the device's roles granted it."""
        if self._held is None:
            self._held = self._found.common(self.options)
        return self._held

    def keep(self, keys: ActivationCommon) -> None:
        """Nothing: a connected device gets what it holds in its own entry, like every other device."""

    def own(self, entries: Sequence[CatalogedDevice], keys: ActivationCommon) -> tuple[bytes, bytes | None]:
        """Its refreshed entry, and with its own signature all the keys that it holds."""
        udf = self._found.device.udf
        entry = next(item for item in entries if item.device_udf == udf)
        return encode(entry), self._found.kept_envelope(keys, self.options).octets()

    def keep_own(self, own: bytes, granted: bytes | None) -> None:
        """As an update of this device."""
        found = Membership(self.host, decode(own, CatalogedDevice))
        install(self.host, found, None if granted is None else Envelope.parse(granted))
        self._found, self._held = found, None

    def take_profile(self, envelope: Envelope) -> None:
        """Into the account's directory."""
        require_newer(self.profile, open_profile(envelope, ProfileUser).value)
        self.directory.write_profile(envelope.octets())
        self._newest = envelope

    @contextmanager
    def root(self, token: TokenURI | None = None) -> Iterator[Signer]:
        """The root key on that token, a quorum that this home knows, or from the seed when the role super has
        brought it."""
        if token is not None:
            with _on_token(token, self.profile, self.options) as signer:
                yield signer
            return
        quorum = find_signer(self.root_key, self.host.home, self.options)
        if quorum is not None:
            yield quorum
            return
        text = self.held().activation_key
        if text is None:
            raise KeyNotFound(
                "the account's root key is not on this device",
                hint="name the token that holds it with --root-on, or recover the account from its sheets",
            )
        yield LocalKey(Seed.parse(text).derive(self.suite.signature, SEED_NAMES[ROOT]), self.options.recorder)


def authority(host: Host, account: str | None, options: OpenOptions) -> Authority:
    """How the account of that address or UDF, or the only one, is administered here.

    Raises KeyNotFound, NotSupported.
    """
    made_here = made_on(host, account)
    if len(made_here) == 1:
        return Founder(host, made_here[0], options)
    if made_here:
        raise KeyNotFound("several accounts are here", hint="say which with --account ADDRESS")
    return ConnectedAdministrator(membership(host, account), options)


@contextmanager
def opened_catalog(found: Authority, held: ActivationCommon) -> Iterator[DeviceCatalog]:
    """The device catalog, to be written, with keys that were opened already. Raises NotSupported."""
    ring, author = store_ring(held, DEVICES), fingerprint(found.administrator_key)
    if not ring:
        raise NotSupported("this device was not granted the device catalog")
    with store_in(found.directory.path, DEVICES, ring, author, writable=True) as store:
        yield DeviceCatalog(store)


def common_of(seed: Seed, suite: Suite) -> dict[str, KeyData]:
    """The common keys that an account's seed gives, as members of ActivationCommon."""
    private = {
        role: seed.derive(suite.signature if role == "signature" else suite.agreement, SEED_NAMES[role])
        for role in (ENCRYPTION, "authentication", "signature")
    }
    return {role: private_data(key) for role, key in private.items()}


@contextmanager
def _on_token(token: TokenURI, profile: ProfileUser, options: OpenOptions) -> Iterator[Signer]:
    """A root key of this profile on a token. Raises KeyNotFound."""
    wanted = roots_of(profile)
    found = registry.open_token(token, options)
    try:
        for key in found.keys():  # noqa: SIM118  # a token is no mapping
            if key.public in wanted and isinstance(key, Signs):
                yield key
                return
        raise KeyNotFound(f"{found.info().label or token} does not hold the account's root key")
    finally:
        found.close()
