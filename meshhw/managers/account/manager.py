"""The account key manager: a person's profile, its keys in tokens, and the seed that can bring them back.

By default all keys derive from one seed, as published, and are imported where a token takes them; the seed
stays sealed to the token until it was escrowed. `native` accounts have keys that were born in their tokens,
no seed, and nothing that could bring a lost key back but a second token.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from msgspec.structs import replace as replace_members

from meshhw.algorithms import Algorithm, PrivateKey, Suite
from meshhw.dare.local import LocalKey
from meshhw.dare.signing import Signer
from meshhw.errors import NotSupported, StateError, UsageError
from meshhw.keystore.api import OpenOptions, Seals, Token
from meshhw.keystore.placement import Plan
from meshhw.managers.account.administrators import listed
from meshhw.managers.account.devices import STORE as DEVICES
from meshhw.managers.account.devices import DeviceCatalog
from meshhw.managers.account.directory import AccountDirectory, sweep
from meshhw.managers.account.founding import founder_entry, founder_roles
from meshhw.managers.account.granted import store_ring
from meshhw.managers.account.quorums import Quorums, quorum, words
from meshhw.managers.account.recovering import Saved, recovered_keys, restore_stores
from meshhw.managers.account.roles import (
    ADMINISTRATOR,
    ADMINISTRATOR_ENCRYPTION,
    ENCRYPTION,
    ESCROW,
    ROLES,
    SEED_NAMES,
)
from meshhw.managers.account.rooting import (
    ONE_ROOT,
    SEVERAL_ROOTS,
    further_roles,
    is_root,
    root_handles,
    stated,
)
from meshhw.managers.account.stores import store_in
from meshhw.managers.account.succession import made_on
from meshhw.managers.host import Host, KeyHandle, ProfileRecord, now
from meshhw.managers.keymaking import Derive, KeyMaker, MadeKey
from meshhw.managers.profilemaking import ROOT, VAULT, ProfileRequest, deriving, plan_profile, signer_of
from meshhw.schema.activation import ActivationCommon
from meshhw.schema.assertion import open_profile, sign_assertion
from meshhw.schema.key import KeyData
from meshhw.schema.keydata import key_data
from meshhw.schema.profile import ProfileUser
from meshhw.udf import Seed, Specifier, fingerprint

KIND = "ProfileUser"
_SEED_STAYS = "the seed stays sealed until `meshhw account escrow` has split and erased it"
_SEED_OF_COMMON_KEYS = (
    "the seed gives the keys that devices share, not the root, so there are no sheets of it: connect a "
    "second device with the roles admin and web, which has these keys too"
)
_NATIVE = (
    "no seed: nothing brings these keys back when their token is lost or broken; "
    "name a second token as administrator, and keep the root on a token of its own"
)
_ADDRESS = re.compile(r"[a-z0-9](?:[a-z0-9._+-]*[a-z0-9])?@[a-z0-9-]+(?:\.[a-z0-9-]+)*", re.ASCII)


class Predecessor(Protocol):
    """An account that the new one succeeds: what passes from it (`meshhw.managers.account.succeeding`)."""

    @property
    def address(self) -> str:
        """Its address, which stays."""
        ...

    def state(self, root: Signer) -> None:
        """Have the succession signed, also by this key, the new root; no token is held then."""
        ...

    def profile(self, made: ProfileUser) -> ProfileUser:
        """The new profile with what the earlier account adds to it."""
        ...

    def furnish(
        self,
        directory: AccountDirectory,
        record: ProfileRecord,
        keys: ActivationCommon,
        seed: Seed,
        admin: Signer,
    ) -> None:
        """Fill the new account's directory, before the account counts."""
        ...


@dataclass(frozen=True, slots=True)
class NewAccount:
    """What an account shall be, before anything is made."""

    address: str
    request: ProfileRequest
    plan: Plan
    version: int = 1
    shared: tuple[KeyHandle, ...] = ()
    """Keys that are a quorum's, which is there already."""
    quorums: tuple[str, ...] = ()
    """What each quorum is, in words."""
    saved: Saved | None = None
    """What was saved of an account that is made again from its shares."""
    predecessor: Predecessor | None = None
    """The account that this one succeeds."""

    @property
    def told(self) -> tuple[str, ...]:
        """What a person must know before relying on it."""
        way_back = (_NATIVE, *self._roots) if self.request.seed is None else (self._seed,)
        return (*self.plan.told, *self.quorums, *way_back)

    @property
    def _roots(self) -> tuple[str, ...]:
        """What the number of root keys means; a quorum has said it already."""
        if any(item.role == ROOT for item in self.shared):
            return ()
        several = further_roles(self.request.assigned)
        return (SEVERAL_ROOTS if several else ONE_ROOT,)

    @property
    def _seed(self) -> str:
        return _SEED_OF_COMMON_KEYS if any(item.role == ROOT for item in self.shared) else _SEED_STAYS


class AccountManager:
    """Accounts of one home. Close it to let go of the tokens that it opened."""

    def __init__(self, host: Host, options: OpenOptions) -> None:
        self._host = host
        self._options = options
        self._maker = KeyMaker(host.home, options)

    def plan(
        self,
        address: str,
        request: ProfileRequest,
        *,
        native: bool = False,
        saved: Saved | None = None,
        shared: Mapping[str, str] | None = None,
        predecessor: Predecessor | None = None,
    ) -> NewAccount:
        """Where the keys would go; asks for no PIN and changes nothing. With `saved` the account is made
        again, by an administrator with new keys of its own.

        A seed is drawn unless one is given or the keys shall be `native`. `shared` names the threshold keys
        that are root or administrator. Raises UsageError for what is no address and for several root tokens
        beside a seed or a quorum, NotSupported with `require_hardware`, StateError when the account is here
        already, KeyNotFound for no such quorum.
        """
        if native and request.seed is not None:
            raise UsageError("keys that derive from a seed are not native")
        address = checked_address(address)
        if address and predecessor is None and made_on(self._host, address):
            raise StateError(f"this machine has the account {address} already")
        seed = None if native else request.seed or Seed.generate(Specifier.PROFILE_ACCOUNT)
        assigned = dict(request.assigned)
        if ROOT in assigned:  # who holds the escrow key reads every new key of a store
            assigned.setdefault(ESCROW, assigned[ROOT])
        request = replace(request, seed=seed, label=address, assigned=assigned)
        quorums = shared or {}
        for role in quorums:
            if role in request.assigned or role not in (ROOT, ADMINISTRATOR):
                raise UsageError(f"the {role} key is either a quorum's or on one token")
        further = further_roles(assigned)
        if further and (seed is not None or ROOT in quorums):
            raise UsageError(
                "a second root token is for an account with --native and without a quorum",
                hint="the sheets of `meshhw account escrow`, or a quorum, bring such a root back",
            )
        roles = [*(role for role in ROLES if role.name not in quorums), *further]
        plan = plan_profile(self._maker, roles, request)
        handles = [quorum(role, name, self._host.home) for role, name in quorums.items()]
        said = tuple(words(role, name, self._host.home) for role, name in quorums.items())
        version = saved.version + 1 if saved else 1
        return NewAccount(address, request, plan, version, tuple(handles), said, saved, predecessor)

    def create(self, new: NewAccount) -> ProfileRecord:
        """Make the keys, sign the profile, seal seed and store keys, record it. If anything fails, nothing is
        left. Raises what the tokens raise."""
        seed = new.request.seed
        label = f"mesh {new.address}".strip()
        sweep(self._host.home, lambda: {record.udf for record in self._host.profiles(KIND)})
        if new.predecessor is not None:
            with self._next_root(new) as root:
                new.predecessor.state(root)
        with self._maker.making(new.plan, _derive(new), label) as made, self._quorums() as quorums:
            names = {item.place.role.name: item for item in made}
            sign = {
                name: signer_of(item)
                for name, item in names.items()
                if name == ADMINISTRATOR or is_root(name)
            }
            for handle in new.shared:
                sign[handle.role] = quorums.signer(handle.uri)
            record = _signed_record(made, new, sign)
            directory = AccountDirectory(self._host.home, record.udf)
            self._refuse_twin(record.udf)
            with directory.founding():
                sealer = self._sealer(new)
                if seed is not None:
                    directory.write_seed(sealer, seed)
                drawn = seed or Seed.generate(Specifier.PROFILE_ACCOUNT)
                algorithm = new.plan.suite.agreement
                keys = recovered_keys(drawn, algorithm, new.saved or Saved(), self._options.recorder)
                if new.saved is not None:
                    restore_stores(directory, new.saved, keys)
                directory.write_keys(sealer, keys)
                directory.write_profile(record.envelope)
                self._catalog_itself(directory, keys, record, sign[ADMINISTRATOR])
                if new.predecessor is not None:
                    new.predecessor.furnish(directory, record, keys, drawn, sign[ADMINISTRATOR])
                self._host.add(record)
        return record

    def close(self) -> None:
        """Close the tokens."""
        self._maker.close()

    def __enter__(self) -> AccountManager:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _quorums(self) -> Quorums:
        return Quorums(self._host.home, self._options)

    @contextmanager
    def _next_root(self, new: NewAccount) -> Iterator[Signer]:
        """The root key of an account that succeeds another: the seed's, or a quorum that is there already.

        Raises NotSupported for one that is yet to be born in a token: the earlier root must sign its name,
        and may be on that same token, which is held while keys are made there.
        """
        quorums = [handle for handle in new.shared if handle.role == ROOT]
        if quorums:
            with self._quorums() as opened:
                yield opened.signer(quorums[0].uri)
        elif new.request.seed is not None:
            yield LocalKey(
                new.request.seed.derive(new.plan.suite.signature, SEED_NAMES[ROOT]), self._options.recorder
            )
        else:
            raise NotSupported(
                "a successor's root comes from its seed, or is a threshold key",
                hint="erase the seed with `meshhw account escrow` afterwards, or use --root-threshold",
            )

    def _catalog_itself(
        self,
        directory: AccountDirectory,
        keys: ActivationCommon,
        record: ProfileRecord,
        admin: Signer,
    ) -> None:
        """The machine of a new account is its first device, under its administrator's key."""
        roles = founder_roles(record, seed=directory.has_seed)
        ring = store_ring(keys, DEVICES)
        with store_in(directory.path, DEVICES, ring, fingerprint(admin.public), writable=True) as store:
            DeviceCatalog(store).put(founder_entry(record, admin, roles))

    def _sealer(self, new: NewAccount) -> Token:
        """The token that seals the seed and the store keys: that of the encryption key, or the vault."""
        place = next(item for item in new.plan.places if item.role.name == ENCRYPTION)
        token = self._maker.token(place.sealed_by or place.token.uri)
        if isinstance(token, Seals):
            return token
        if new.request.require_hardware:
            raise NotSupported(
                f"{token.info().label} seals nothing, so the store keys would be kept in software",
                hint="name a token that seals with --on, or leave --require-hardware away",
            )
        return self._maker.token(VAULT)

    def _refuse_twin(self, udf: str) -> None:
        if any(record.udf == udf for record in self._host.profiles()):
            raise StateError(f"this machine has the account {udf} already")


def checked_address(text: str) -> str:
    """An account's address in lower case; empty stays empty, an account without one. Raises UsageError."""
    address = text.strip().lower()
    if address and not _ADDRESS.fullmatch(address):
        raise UsageError(f"{text!r} is not an address", hint="an address is like alice@example.com")
    return address


def _derive(new: NewAccount) -> Derive | None:
    """How the keys come from the seed. Who makes the account again is a new administrator: the keys of the
    one before may be in a token that was lost."""
    derive = deriving(new.request.seed, SEED_NAMES)
    if derive is None or new.saved is None:
        return derive
    fresh = Seed.generate(Specifier.PROFILE_ACCOUNT)

    def derived(role: str, algorithm: Algorithm) -> PrivateKey:
        own = role in (ADMINISTRATOR, ADMINISTRATOR_ENCRYPTION)
        return fresh.derive(algorithm, SEED_NAMES[role]) if own else derive(role, algorithm)

    return derived


def _signed_record(made: Sequence[MadeKey], new: NewAccount, sign: Mapping[str, Signer]) -> ProfileRecord:
    handles = {handle.role: handle for handle in (*new.shared, *(item.handle() for item in made))}
    suite = new.plan.suite
    data = {item.place.role.name: key_data(item.public) for item in made}
    data |= {handle.role: key_data(handle.public_key) for handle in new.shared}
    root = sign[ROOT]
    profile = replace_members(_profile(data, new), further_roots=stated(sign))
    if new.predecessor is not None:
        profile = new.predecessor.profile(profile)
    udf = fingerprint(root.public)
    envelope = sign_assertion(profile, root, udf)
    open_profile(envelope, ProfileUser)
    return ProfileRecord(
        udf=udf,
        kind=KIND,
        suite=suite,
        created=now(),
        envelope=envelope.octets(),
        keys=(*(handles[role.name] for role in ROLES), *root_handles(handles.values())[1:]),
        label=new.address,
    )


def _profile(data: Mapping[str, KeyData], new: NewAccount) -> ProfileUser:
    """The profile with these keys; of an account that is made again what was saved, with one administrator
    more."""
    before = new.saved.profile if new.saved else None
    if before is not None:
        again = (*listed(before), data[ADMINISTRATOR])
        return replace_members(before, updated=now(), version=new.version, administrator_signatures=again)
    suite = new.plan.suite
    return ProfileUser(
        updated=now(),
        suite=None if suite is Suite.S448 else suite.value,
        version=new.version,
        account_address=new.address or None,
        profile_signature=data[ROOT],
        administrator_signature=data[ADMINISTRATOR],
        administrator_signatures=(data[ADMINISTRATOR],),
        common_encryption=data[ENCRYPTION],
        common_authentication=data["authentication"],
        common_signature=data["signature"],
        escrow_encryption=data[ESCROW],
    )
