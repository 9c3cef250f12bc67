"""A shared directory in hostile hands: nothing in it that no device of the account has signed is taken."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshhw.dare.local import LocalKey
from meshhw.errors import IntegrityError, MeshError, StateError
from meshhw.managers.sync.mirror import State
from meshhw.managers.sync.statement import sign_statement
from meshhw.managers.sync.syncing import Report
from meshhw.schema.assertion import sign_assertion
from meshhw.udf import Seed, Specifier
from tests.sync.conftest import copied
from tests.sync.people import OPTIONS, Machine, connected, founder


class Scene:
    """Alice's laptop and phone, a directory that the laptop has written, and a stranger's account."""

    def __init__(self, root: Path, laptop: Machine, phone: Machine) -> None:
        self.laptop, self.phone = laptop, phone
        self.mallory = founder(root / "mallory")
        self.theirs = root / "theirs"
        self.theirs.mkdir()
        for service in ("ftp", "www", "imap"):
            self.mallory.put(service, "mallory's")
        self.mallory.sync(self.theirs)
        self.laptop.put("ftp", "one")
        self.shared = root / "shared"
        self.shared.mkdir()
        self.laptop.sync(self.shared)
        self.older = root / "older"
        shutil.copytree(self.shared, self.older)
        self.laptop.put("ftp", "two")
        self.laptop.sync(self.shared)

    @property
    def folder(self) -> Path:
        return self.shared / self.laptop.standing.udf

    @property
    def store(self) -> Path:
        return self.folder / "MMM_Credential" / f"{self.laptop.author}.dcat"

    @property
    def heads(self) -> Path:
        return self.folder / "heads" / f"{self.laptop.author}.dare"

    @property
    def foreign(self) -> Path:
        return self.theirs / self.mallory.standing.udf


@pytest.fixture(scope="module")
def made(originals: tuple[Machine, Machine], tmp_path_factory: pytest.TempPathFactory) -> Scene:
    root = tmp_path_factory.mktemp("scene")
    laptop, phone = (copied(machine, root / name) for machine, name in zip(originals, "lp", strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MESHHW_HOME", str(root / "home"))
        return Scene(root, laptop, phone)


@pytest.fixture
def scene(made: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Scene]:
    """The scene; the directory and the homes are put back afterwards."""
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    changed = (made.shared, made.phone.home, made.laptop.home)
    saved = [(path, path.with_name(f"{path.name}.saved")) for path in changed]
    for path, copy in saved:
        shutil.copytree(path, copy, symlinks=True)
    yield made
    for path, copy in saved:
        shutil.rmtree(path)
        copy.rename(path)


def flipped(path: Path, position: int) -> None:
    octets = bytearray(path.read_bytes())
    octets[position] ^= 1
    path.write_bytes(octets)


def sent_by_another_account(scene: Scene) -> None:
    """Mallory's own statement and store under the name of Alice's laptop."""
    shutil.copy(next((scene.foreign / "heads").iterdir()), scene.heads)
    shutil.copy(next((scene.foreign / "MMM_Credential").iterdir()), scene.store)


def signed_by_nobody_known(scene: Scene) -> None:
    """A statement in the laptop's name that a fresh key has signed."""
    scene.heads.write_bytes(sign_statement(scene.laptop.standing, 1 << 50, {}, [_key(scene)]).octets())


def signed_for_another_device(scene: Scene) -> None:
    """The phone's statement, renamed to the laptop's."""
    with scene.phone.standing.signers(OPTIONS) as signers:
        octets = sign_statement(scene.phone.standing, 1 << 50, {}, signers).octets()
    scene.heads.write_bytes(octets)


def signed_by_one_of_two(scene: Scene) -> None:
    """A statement of the laptop's administrator key beside a stranger's signature."""
    with scene.phone.standing.signers(OPTIONS) as signers:
        statement = sign_statement(scene.laptop.standing, 1 << 50, {}, [*signers, _key(scene)])
    scene.heads.write_bytes(statement.octets())


def another_class_of_object(scene: Scene) -> None:
    """A profile that the account itself has signed, in place of the statement."""
    shutil.copy(scene.folder / "profile.dare", scene.heads)


REFUSED: list[Callable[[Scene], None]] = [
    sent_by_another_account,
    signed_by_nobody_known,
    signed_for_another_device,
    signed_by_one_of_two,
    another_class_of_object,
    lambda scene: flipped(scene.heads, 40),
    lambda scene: flipped(scene.heads, -40),
    lambda scene: flipped(scene.store, 60),
    lambda scene: flipped(scene.store, -400),
    lambda scene: scene.heads.write_bytes(b""),
    lambda scene: scene.heads.write_bytes(b"[" * 10_000),
    lambda scene: scene.heads.write_bytes(b"\0" * (1 << 20)),
    lambda scene: scene.heads.unlink() or scene.heads.mkdir(),
    lambda scene: scene.heads.unlink() or os.mkfifo(scene.heads),
    lambda scene: scene.heads.unlink() or scene.heads.symlink_to("/dev/zero"),
    lambda scene: scene.store.unlink() or os.mkfifo(scene.store),
    lambda scene: scene.store.unlink() or scene.store.symlink_to("/etc/passwd"),
    lambda scene: shutil.copy(next((scene.foreign / "MMM_Credential").iterdir()), scene.store),
]


def problem_of(report: Report, author: str) -> str:
    return next(item.problem for item in report.authors if item.author == author)


@pytest.mark.parametrize("attack", REFUSED, ids=range(len(REFUSED)))
def test_what_was_tampered_with_is_refused_by_name(scene: Scene, attack: Callable[[Scene], object]) -> None:
    attack(scene)
    report = scene.phone.sync(scene.shared)
    assert problem_of(report, scene.laptop.author)
    assert scene.phone.passwords() == {}


def test_an_attack_on_one_device_keeps_no_other_from_being_taken(scene: Scene, tmp_path: Path) -> None:
    desk = connected(scene.laptop, tmp_path / "desk", "web")
    desk.put("www", "desk's")
    desk.sync(scene.shared)
    flipped(scene.store, -400)
    scene.phone.sync(scene.shared)
    assert scene.phone.passwords()["www"] == "desk's"


def test_a_store_that_is_cut_off_is_waited_for_and_told(scene: Scene) -> None:
    scene.store.write_bytes(scene.store.read_bytes()[:-10])
    [found] = scene.phone.sync(scene.shared).authors
    assert found.state is State.INCOMPLETE
    assert scene.phone.passwords() == {}


def test_frames_that_no_head_covers_are_counted_and_left(scene: Scene) -> None:
    heads = (scene.older / scene.laptop.standing.udf / "heads" / scene.heads.name).read_bytes()
    scene.heads.write_bytes(heads)  # the store is newer than the statement that lies beside it
    [found] = scene.phone.sync(scene.shared).authors
    assert (found.problem, found.unverified) == ("", 1)
    assert scene.phone.passwords() == {"ftp": "one"}


def test_an_older_directory_is_refused_with_both_times(scene: Scene) -> None:
    scene.phone.sync(scene.shared)
    shutil.rmtree(scene.shared)
    shutil.copytree(scene.older, scene.shared)
    problem = problem_of(scene.phone.sync(scene.shared), scene.laptop.author)
    assert "the directory is older than what was seen" in problem
    assert scene.phone.passwords() == {"ftp": "two"}


def test_an_older_store_under_todays_statement_is_not_taken(scene: Scene) -> None:
    scene.phone.sync(scene.shared)
    shutil.copy(scene.older / scene.laptop.standing.udf / "MMM_Credential" / scene.store.name, scene.store)
    assert scene.phone.sync(scene.shared).problems == []
    assert scene.phone.passwords() == {"ftp": "two"}


def test_two_histories_of_one_device_are_refused(scene: Scene, tmp_path: Path) -> None:
    twin = Machine(tmp_path / "twin")
    shutil.rmtree(twin.home)
    shutil.copytree(scene.laptop.home, twin.home)
    aside = tmp_path / "aside"
    aside.mkdir()
    scene.phone.sync(scene.shared)
    twin.put("www", "the twin's")
    twin.sync(aside)
    scene.laptop.put("imap", "the laptop's")
    scene.laptop.sync(scene.shared)
    scene.phone.sync(scene.shared)
    assert "www" not in scene.phone.passwords()
    problem = problem_of(scene.phone.sync(aside, older=True), scene.laptop.author)
    assert "diverged" in problem
    assert scene.phone.passwords() == {"ftp": "two", "imap": "the laptop's"}


@pytest.mark.parametrize("name", ["profile.dare", "heads", "MMM_Credential"])
def test_nothing_is_written_through_a_link(scene: Scene, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_bytes(b"kept")
    scene.phone.put("www", "x")
    path = scene.folder / name
    if path.is_dir():
        shutil.rmtree(path)
        path.symlink_to(outside)
        with pytest.raises(StateError, match="is a link"):
            scene.phone.sync(scene.shared)
    else:
        path.unlink()
        path.symlink_to(outside / "kept")
        with pytest.raises(MeshError):
            scene.phone.sync(scene.shared)
    assert [found.name for found in outside.iterdir()] == ["kept"]
    assert (outside / "kept").read_bytes() == b"kept"


def test_another_profile_of_the_same_version_is_refused(scene: Scene) -> None:
    standing = scene.laptop.standing
    forged = sign_assertion(standing.profile, _key(scene), standing.udf)
    (scene.folder / "profile.dare").write_bytes(forged.octets())
    with pytest.raises(IntegrityError):
        scene.phone.sync(scene.shared)
    shutil.copy(scene.foreign / "profile.dare", scene.folder / "profile.dare")
    with pytest.raises(IntegrityError, match="another account"):
        scene.phone.sync(scene.shared)


def test_nothing_in_the_directory_is_secret(scene: Scene) -> None:
    scene.phone.sync(scene.shared)
    for path in scene.shared.rglob("*"):
        if path.is_file():
            assert not any(word in path.read_bytes() for word in (b"two", b"ftp", b"Private"))


def _key(scene: Scene) -> LocalKey:
    record = scene.laptop.standing.record
    assert record is not None
    return LocalKey(Seed.generate(Specifier.ANY).derive(record.suite.signature, "k"))
