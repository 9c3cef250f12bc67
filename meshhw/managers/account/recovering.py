"""Recovery: an account made again on a bare machine from its shares, and from what was saved beside them.

What was saved is the signed profile, or a copy of an account's directory or of a synchronised directory with
its stores. Keys of stores that do not come from the seed are in the stores themselves, for the escrow key.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from meshhw import files
from meshhw.algorithms import Algorithm
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import KeyRing
from meshhw.dare.local import LocalKey
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_check import check_sequence
from meshhw.dare.sequence_read import SequenceReader
from meshhw.errors import IntegrityError, KeyNotFound, MeshError
from meshhw.keystore.log import UseRecorder
from meshhw.managers.account.directory import PROFILE, AccountDirectory
from meshhw.managers.account.escrow import RecoveredSeed
from meshhw.managers.account.granted import entry, store_ring
from meshhw.managers.account.rekeying import statements_in, take_statements
from meshhw.managers.account.roles import ESCROW, SEED_NAMES, STORES, store_key_name
from meshhw.managers.account.vouching import vouched
from meshhw.schema.activation import ActivationCommon, StoreEpochs
from meshhw.schema.assertion import open_profile, profile_udf
from meshhw.schema.codec import decode
from meshhw.schema.profile import ProfileUser
from meshhw.udf import Seed, same_name

_LIMIT = 1 << 20
_MOST_FILES = 4096


@dataclass(frozen=True, slots=True)
class Saved:
    """What was saved of an account: its profile, and where copies of its stores are."""

    profile: ProfileUser | None = None
    stores: tuple[Path, ...] = ()
    problems: list[str] = field(default_factory=list)
    """What could not be used, one line each."""

    @property
    def address(self) -> str:
        """The account's address; empty when it is not known."""
        return (self.profile.account_address if self.profile else None) or ""

    @property
    def version(self) -> int:
        """The version that the next must pass."""
        return (self.profile.version if self.profile else None) or 0


def saved_profile(path: Path, recovered: RecoveredSeed) -> Saved:
    """The profile in a file, in a copy of the account's directory, or in a synchronised directory, and the
    stores beside it. It must be the recovered account's.

    Raises KeyNotFound when there is none, IntegrityError when it is another account's, SignatureInvalid, and
    OSError when nothing is at the path.
    """
    places = [path / PROFILE, path / recovered.udf / PROFILE]
    file = next((place for place in places if place.is_file()), None) if path.is_dir() else path
    if file is None:
        raise KeyNotFound(
            f"{path} holds no account profile", hint=f"give a profile, or a directory with {PROFILE}"
        )
    with file.open("rb") as source:
        profile = open_profile(Envelope.parse(source.read(_LIMIT)), ProfileUser).value
    found = profile_udf(profile)
    if not same_name(found, recovered.udf):
        raise IntegrityError(f"{file} is the profile of {found}; the shares give {recovered.udf}")
    return Saved(profile, tuple(_stores_beside(file)) if path.is_dir() else ())


def derived_keys(seed: Seed, algorithm: Algorithm) -> ActivationCommon:
    """The stores' first keys, which the seed gives."""
    return ActivationCommon(
        entries=tuple(entry(name, seed.derive(algorithm, store_key_name(name))) for name in STORES)
    )


def recovered_keys(seed: Seed, algorithm: Algorithm, saved: Saved, recorder: UseRecorder) -> ActivationCommon:
    """All keys of the account's stores, and its common keys where they were changed: the seed's, and those
    that the saved stores hold for the escrow key, of whose use `recorder` is told. A statement that is not an
    administrator's is left out, and told."""
    keys = derived_keys(seed, algorithm)
    if saved.profile is None:
        return keys
    ring = KeyRing([LocalKey(seed.derive(algorithm, SEED_NAMES[ESCROW]), recorder)])
    counting, refused = vouched(statements_of_stores(saved), saved.profile, saved.stores)
    for said in counting:
        try:
            keys = said.added(keys, ring)
        except MeshError as error:
            refused.append(error.message)
    saved.problems.extend(f"new keys of stores were left out: {why}" for why in refused)
    return keys


def statements_of_stores(saved: Saved) -> list[Envelope]:
    """What administrators said of new keys, in the saved stores; each once, oldest first."""
    found: dict[bytes, Envelope] = {}
    for path in saved.stores:
        try:
            found |= {said.octets(): said for said in statements_in(path)}
        except (MeshError, OSError) as error:
            saved.problems.append(f"{path} is no store that can be read: {error}")
    return sorted(found.values(), key=lambda said: decode(said.body, StoreEpochs).epoch or 0)


def restore_stores(directory: AccountDirectory, saved: Saved, keys: ActivationCommon) -> None:
    """Copy the saved stores of an account's directory into place. Copies of several devices are left to be
    merged by `account sync`; what is damaged, or not for these keys, is left out and told."""
    target = files.private_directory(directory.path / "stores")
    for path in saved.stores:
        name = path.stem
        if path.parent.name == "stores" and name in STORES and _is_whole(path, keys, saved):
            shutil.copyfile(path, target / path.name)
            (target / path.name).chmod(0o600)
    if saved.profile is not None:
        counting, _ = vouched(statements_of_stores(saved), saved.profile, saved.stores)
        take_statements(directory, [said.envelope for said in counting if not said.to_read])


def _is_whole(path: Path, keys: ActivationCommon, saved: Saved) -> bool:
    try:
        with SequenceFile(path) as sequence:
            check_sequence(sequence, SequenceReader(sequence, KeyRing(store_ring(keys, path.stem))))
    except (MeshError, OSError) as error:
        saved.problems.append(f"{path} was left out: {error}")
        return False
    return True


def missing(saved: Saved) -> list[str]:
    """What is not known or was not saved, by name; a store that no saved directory has was never written."""
    told = [] if saved.address else ["the account's address"]
    return told if saved.stores else [*told, f"the stores {', '.join(STORES)}"]


def _stores_beside(profile: Path) -> Iterator[Path]:
    """The stores in an account's directory, or those of every device in a synchronised one."""
    found = sorted([*profile.parent.glob("stores/MMM_*.dcat"), *profile.parent.glob("MMM_*/*.dcat")])
    yield from (path for path in found[:_MOST_FILES] if path.is_file() and not path.is_symlink())
