"""Everything that is taken in from outside, tampered with in every way: refused by an error of ours, and
nothing on disk changes.

What a shared directory brings is in tests/sync/test_hostile.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from meshhw.algorithms import Suite
from meshhw.errors import MeshError
from meshhw.managers.account.authority import authority
from meshhw.managers.account.complete import receive
from meshhw.managers.account.connect import Connector
from meshhw.managers.account.contacts import exported, keep_contact, read_contact
from meshhw.managers.account.escrow import make_sheets, recovered_seed
from meshhw.managers.account.preconfigured import preconfigure, published
from meshhw.managers.account.recovering import saved_profile
from meshhw.managers.account.request import read_request
from meshhw.managers.account.rights import rights_of
from meshhw.managers.account.stores import opened_store
from meshhw.managers.account.updates import update_path
from meshhw.managers.host import Host
from tests.account.people import ALICE, OPTIONS, Admin, Phone
from tests.account.test_disconnect import leave

FLIPS = 24


@dataclass
class Import:
    """One way in: what is right, how it is taken, and the homes that must not change."""

    right: bytes
    foreign: bytes
    """The same kind of object, of another account."""
    take: Callable[[bytes], object]
    homes: tuple[Path, ...]
    reads: object = None
    """What `take` gives for what is right, where it can be known before."""
    once: bool = False
    """Whether it is refused the second time."""


@dataclass
class World:
    """Two accounts that know nothing of each other, and a device for each."""

    admin: Admin
    mallory: Admin
    phone: Phone
    theirs: Phone
    kept: Kept | None = None
    rights: dict[str, bytes] = field(default_factory=dict)
    """Of each kind what is right, as it was made first."""


@dataclass
class Kept:
    """A device that stays when another one was disconnected, and the updates that it may get."""

    home: Path
    right: bytes
    foreign: bytes


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("imports")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MESHHW_HOME", str(root / "home"))
        suite = Suite.S25519
        return World(
            Admin(root / "admin", suite),
            Admin(root / "mallory", suite),
            Phone(root / "phone", suite),
            Phone(root / "theirs", suite),
        )


def contact(world: World, tmp_path: Path) -> Import:
    def take(octets: bytes) -> object:
        found = read_contact(octets)
        with opened_store(world.admin.host, "MMM_Contact", OPTIONS, writable=True) as store:
            keep_contact(store, found, "friend")
        return found.contact

    def own(admin: Admin) -> bytes:
        return exported(admin.host, "Friend", None, OPTIONS).octets()

    right = own(world.admin)
    return Import(right, own(world.mallory), take, (world.admin.host.home,), take(right))


def request(world: World, tmp_path: Path) -> Import:
    def take(octets: bytes) -> object:
        read = read_request(octets)
        Connector(world.admin.host, world.admin.account, OPTIONS).connect(read, rights_of(["device"]))
        return read.message

    right, home = world.phone.ask().octets(), world.admin.host.home
    foreign = world.theirs.ask("mallory@example.com").octets()
    return Import(right, foreign, take, (home,), read_request(right).message, once=True)


def answer(world: World, tmp_path: Path) -> Import:
    def take(octets: bytes) -> object:
        return receive(world.phone.host, octets, OPTIONS)

    right = world.admin.answer(world.phone.ask(), "device")
    foreign = world.mallory.answer(world.theirs.ask(), "device")
    return Import(right, foreign, take, (world.phone.host.home,), once=True)


def saved(world: World, tmp_path: Path) -> Import:
    sheets = make_sheets(world.admin.host, world.admin.account, OPTIONS, 2, 3)
    recovered = recovered_seed([sheet.code for sheet in sheets[:2]])

    def take(octets: bytes) -> object:
        (tmp_path / "profile.dare").write_bytes(octets)
        return saved_profile(tmp_path, recovered)

    right, home = world.admin.account.envelope, world.admin.host.home
    return Import(right, world.mallory.account.envelope, take, (home,), take(right))


def update(world: World, tmp_path: Path) -> Import:
    """What a device gets when another one was disconnected; the foreign one is of another account of the same
    device, which it has left."""
    if world.kept is None:
        world.kept = disconnected(world, world.phone.host.home.parent)
    home = fresh(tmp_path, "kept")
    shutil.copytree(world.kept.home, home)
    copy = fresh(tmp_path, "copy")
    shutil.copytree(world.kept.home, copy)
    host = Host(home)

    def take(octets: bytes) -> object:
        return receive(host, octets, OPTIONS)

    right = world.kept.right
    return Import(right, world.kept.foreign, take, (home,), receive(Host(copy), right, OPTIONS))


def disconnected(world: World, root: Path) -> Kept:
    kept, lost = (Phone(root / name, Suite.S25519) for name in ("kept", "lost"))
    octets = []
    for admin in (world.mallory, world.admin):
        here = authority(admin.host, admin.account.udf, OPTIONS)
        for phone in (kept, lost):
            request = read_request(phone.ask(ALICE).octets())
            answer = Connector(admin.host, here, OPTIONS).connect(request, rights_of(["device"]))
            phone.complete(answer.octets())
        leave(here, lost.device.udf)
        octets.append(update_path(here.directory.path, kept.device.udf).read_bytes())
    shutil.rmtree(kept.host.home / "accounts" / world.mallory.account.udf)
    return Kept(kept.host.home, right=octets[1], foreign=octets[0])


def fresh(tmp_path: Path, name: str) -> Path:
    """A directory that is not there yet."""
    return tmp_path / f"{name}{len(list(tmp_path.iterdir()))}"


def publication(world: World, tmp_path: Path) -> Import:
    """A preconfigured device, as who scans its code finds it; a foreign one has another code."""
    directory = fresh(tmp_path, "published")
    directory.mkdir()
    uri = preconfigure(world.phone.host, world.phone.device, "maker@example.net", directory, OPTIONS)
    [path] = directory.iterdir()
    right = path.read_bytes()
    other = fresh(tmp_path, "other")
    other.mkdir()
    preconfigure(world.theirs.host, world.theirs.device, "maker@example.net", other, OPTIONS)
    [foreign] = other.iterdir()

    def take(octets: bytes) -> object:
        path.write_bytes(octets)
        return published(uri, directory).udf

    return Import(right, foreign.read_bytes(), take, (world.admin.host.home,), world.phone.device.udf)


KINDS = [contact, request, answer, saved, update, publication]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def way(
    request: pytest.FixtureRequest, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Import:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    made: Import = request.param(world, tmp_path)
    return made


def state(homes: tuple[Path, ...]) -> dict[Path, bytes]:
    """All that is kept, without what is derived, and locks."""
    derived = (".lock", ".idx", ".keys", ".jsonl")
    return {
        path: path.read_bytes()
        for home in homes
        for path in sorted(home.rglob("*"))
        if path.is_file() and path.suffix not in derived
    }


@pytest.mark.parametrize(
    "octets",
    [b"", b"{}", b"[]", b"[" * 100_000, b"\0" * 4096, b'[{"dig":"S512"},"",{}]', b"\xff" * 300],
    ids=range(7),
)
def test_what_is_no_such_object_is_refused(way: Import, octets: bytes) -> None:
    before = state(way.homes)
    with pytest.raises(MeshError):
        way.take(octets)
    assert state(way.homes) == before


def test_what_is_of_another_account_is_refused(way: Import) -> None:
    before = state(way.homes)
    with pytest.raises(MeshError):
        way.take(way.foreign)
    assert state(way.homes) == before


def test_what_was_cut_is_refused(way: Import) -> None:
    before = state(way.homes)
    for length in range(1, len(way.right), len(way.right) // 12):
        with pytest.raises(MeshError):
            way.take(way.right[:length])
    assert state(way.homes) == before


def test_no_changed_octet_gets_through(way: Import) -> None:
    before, right = state(way.homes), way.right
    taken = []
    for position in range(5, len(right), len(right) // FLIPS):
        changed = right[:position] + bytes([right[position] ^ 2]) + right[position + 1 :]
        try:
            taken.append(way.take(changed))
        except MeshError:
            assert state(way.homes) == before, f"octet {position} was refused, and something was kept"
            continue
        before = state(way.homes)
    # Nobody signed the header of the published form: what it surrounds is the same, and is taken once.
    assert all(value == way.reads for value in taken)
    assert len(taken) <= 1 or not way.once


def test_every_other_kind_of_object_is_refused(way: Import, world: World, tmp_path: Path) -> None:
    for kind in KINDS:
        if kind.__name__ not in world.rights:
            world.rights[kind.__name__] = kind(world, tmp_path).right
    before = state(way.homes)
    for name, other in world.rights.items():
        if name != _kind_of(way):
            with pytest.raises(MeshError):
                way.take(other)
            assert state(way.homes) == before


def test_what_is_answered_once_is_not_taken_twice(way: Import) -> None:
    first = way.take(way.right)
    before = state(way.homes)
    if way.once:
        with pytest.raises(MeshError):
            way.take(way.right)
        assert state(way.homes) == before
    else:
        assert way.take(way.right) == first


def test_another_accounts_contact_does_not_take_a_name_over(world: World, tmp_path: Path) -> None:
    kept = contact(world, tmp_path)
    with pytest.raises(MeshError, match="another account"):
        kept.take(kept.foreign)


def _kind_of(way: Import) -> str:
    qualified = getattr(way.take, "__qualname__", "")
    return str(qualified).partition(".")[0]


def test_the_world_is_of_two_accounts(world: World) -> None:
    assert world.admin.account.udf != world.mallory.account.udf
    assert Host(world.admin.host.home).profile(ALICE).udf == world.admin.account.udf
