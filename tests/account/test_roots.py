"""Several root tokens: each signs the profile, and nobody is a root whom no earlier root has named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from meshhw.algorithms import Algorithm, Suite
from meshhw.dare.envelope import Envelope
from meshhw.dare.local import LocalKey
from meshhw.errors import (
    FormatError,
    IntegrityError,
    KeyNotFound,
    MeshError,
    NotSupported,
    SignatureInvalid,
    UsageError,
)
from meshhw.keystore.uri import TokenURI
from meshhw.managers.account.addroot import NewRoot
from meshhw.managers.account.administrators import add_administrator, administrators
from meshhw.managers.account.authority import authority
from meshhw.managers.account.contacts import exported, read_contact
from meshhw.managers.account.manager import AccountManager
from meshhw.managers.account.rooting import ONE_ROOT, SEVERAL_ROOTS, root_roles, statement
from meshhw.managers.account.succeeding import Succession
from meshhw.managers.account.succession import steps
from meshhw.managers.host import Host, ProfileRecord
from meshhw.managers.profilemaking import ProfileRequest
from meshhw.schema.assertion import open_profile, profile_udf, roots_of, sign_assertion
from meshhw.schema.codec import decode
from meshhw.schema.core import Enveloped
from meshhw.schema.profile import ProfileUser
from meshhw.schema.roots import FurtherRoot
from meshhw.udf import Seed, Specifier, fingerprint
from tests.account.people import ALICE, OPTIONS, Admin, Phone
from tests.account.vaults import cheap_vault


class Three:
    """Alice's everyday vault, and two that are put away with a root key each."""

    def __init__(self, base: Path, suite: Suite = Suite.S25519) -> None:
        self.host = Host(base / "alice")
        self.base = base
        self.daily, self.first, self.second = (vault(base / name) for name in ("daily", "first", "second"))
        self.suite = suite

    @property
    def record(self) -> ProfileRecord:
        return self.host.profile(ALICE)

    def create(self) -> ProfileRecord:
        roots = root_roles([self.first, self.second])
        wanted = ProfileRequest(tokens=[self.daily], assigned=roots, suite=self.suite)
        with AccountManager(self.host, OPTIONS) as manager:
            return manager.create(manager.plan(ALICE, wanted, native=True))


@pytest.fixture
def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Three:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    alice = Three(tmp_path)
    alice.create()
    return alice


def vault(path: Path) -> TokenURI:
    return cheap_vault(Host(path).home, OPTIONS)[0]


def fresh(algorithm: Algorithm = Algorithm.ED25519) -> LocalKey:
    return LocalKey(Seed.generate(Specifier.ANY).derive(algorithm, "k"))


def profile(record: ProfileRecord) -> ProfileUser:
    return open_profile(Envelope.parse(record.envelope), ProfileUser).value


@pytest.mark.parametrize("suite", Suite)
def test_either_root_signs_and_the_name_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suite: Suite
) -> None:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    alice = Three(tmp_path, suite)
    alice.create()
    keys = roots_of(profile(alice.record))
    assert len(keys) == 2
    assert fingerprint(keys[0]) == alice.record.udf
    for version, root in ((2, alice.first), (3, alice.second)):
        found = authority(alice.host, ALICE, OPTIONS)
        added = fresh(suite.signature).public
        after = add_administrator(found, added, root)
        assert (after.version, profile_udf(after)) == (version, alice.record.udf)
        assert added in administrators(after)
        signed = open_profile(found.envelope, ProfileUser)
        assert signed.signer == keys[version - 2]
    with pytest.raises(KeyNotFound, match="root key"):
        add_administrator(authority(alice.host, ALICE, OPTIONS), fresh().public, alice.daily)


def test_a_peer_takes_what_the_second_root_has_signed(three: Three) -> None:
    found = authority(three.host, ALICE, OPTIONS)
    add_administrator(found, fresh().public, three.second)
    contact = read_contact(exported(three.host, "Alice", ALICE, OPTIONS).octets())
    assert (contact.profile.version, profile_udf(contact.profile)) == (2, three.record.udf)


def test_the_offer_and_the_consequence_are_said(three: Three) -> None:
    with AccountManager(Host(three.base / "other"), OPTIONS) as manager:

        def told(*roots: TokenURI) -> str:
            wanted = ProfileRequest(tokens=[three.daily], assigned=root_roles(roots))
            return manager.plan("bob@example.com", wanted, native=True).told[-1]

        assert told() == told(three.first) == ONE_ROOT
        assert "second --root-on" in ONE_ROOT
        assert "--root-threshold" in ONE_ROOT
        assert told(three.first, three.second) == SEVERAL_ROOTS
        with pytest.raises(UsageError, match="with --native"):
            manager.plan(
                "bob@example.com",
                ProfileRequest(tokens=[three.daily], assigned=root_roles([three.first, three.second])),
            )


def test_what_makes_no_sense_is_refused(three: Three) -> None:
    with pytest.raises(UsageError, match="named twice"):
        root_roles([three.first, three.first])
    with pytest.raises(UsageError, match="at most"):
        root_roles([TokenURI.make("software", vault=str(number)) for number in range(6)])
    with pytest.raises(UsageError, match="already"):
        NewRoot(authority(three.host, ALICE, OPTIONS), three.second)


def test_a_lost_roots_place_is_taken_by_another(three: Three) -> None:
    third = vault(three.base / "third")
    (three.base / "first" / "keys").rename(three.base / "lost")
    found = authority(three.host, ALICE, OPTIONS)
    with NewRoot(found, third) as new:
        after = new.add(three.second)
    assert len(roots_of(after)) == 3
    (three.base / "second" / "keys").rename(three.base / "lost too")
    assert add_administrator(authority(three.host, ALICE, OPTIONS), fresh().public, third).version == 3


def test_a_root_is_not_added_without_one(three: Three) -> None:
    """What fails leaves neither a key nor another profile."""
    third = vault(three.base / "third")
    before = sorted((three.base / "third" / "keys").rglob("*"))
    found = authority(three.host, ALICE, OPTIONS)
    with NewRoot(found, third) as new, pytest.raises(KeyNotFound):
        new.add(three.daily)
    assert sorted((three.base / "third" / "keys").rglob("*")) == before
    assert authority(three.host, ALICE, OPTIONS).profile.version == 1


def test_the_second_root_signs_the_succession(three: Three) -> None:
    (three.base / "first" / "keys").rename(three.base / "lost")
    before = three.record.udf
    passing = Succession(authority(three.host, ALICE, OPTIONS), [], three.second)
    with AccountManager(three.host, OPTIONS) as manager:
        wanted = ProfileRequest(tokens=[three.daily], suite=Suite.S25519)
        record = manager.create(manager.plan(ALICE, wanted, predecessor=passing))
    [step] = steps(profile(record))
    assert (step.predecessor, step.successor) == (before, record.udf)


def forged(three: Three, *statements: Enveloped[FurtherRoot], signer: LocalKey) -> Envelope:
    """A profile of Alice's with these statements, signed by a key that would be her root."""
    told = replace(profile(three.record), version=9, further_roots=statements)
    return sign_assertion(told, signer, three.record.udf)


def test_nobody_makes_himself_a_root(three: Three) -> None:
    mallory, other = fresh(), fresh()
    account = three.record.udf
    empty = FurtherRoot(account_udf=account)
    own = statement(mallory, account, other)
    honest = profile(three.record).further_roots
    attempts: list[tuple[Sequence[Enveloped[FurtherRoot]], LocalKey, type[MeshError]]] = [
        ((), mallory, SignatureInvalid),
        (honest, mallory, SignatureInvalid),
        ((own,), other, SignatureInvalid),
        ((*honest, own), other, SignatureInvalid),
        ((*honest, *honest), mallory, IntegrityError),
        ((statement(mallory, fingerprint(mallory.public), other),), other, IntegrityError),
        ((Enveloped(sign_assertion(empty, mallory, "x").array()),), mallory, FormatError),
        (honest * 5, mallory, FormatError),
    ]
    for statements, signer, error in attempts:
        with pytest.raises(error):
            open_profile(forged(three, *statements, signer=signer), ProfileUser)


def test_a_root_is_named_with_its_own_consent(three: Three) -> None:
    """A statement that either of the two has not signed counts nothing."""
    found, added = authority(three.host, ALICE, OPTIONS), fresh()
    with found.root(three.first) as root:
        whole = statement(root, found.udf, added)
        said = decode(Envelope.from_array(whole.array).body, FurtherRoot)
        halves = [sign_assertion(said, signer, "x").array() for signer in (root, added)]
    named = replace(profile(three.record), further_roots=(whole,))
    assert roots_of(named)[1] == added.public
    for half in halves:
        with pytest.raises(SignatureInvalid):
            roots_of(replace(named, further_roots=(Enveloped(half),)))


def test_a_connected_device_adds_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    admin, phone = Admin(tmp_path / "admin", Suite.S25519), Phone(tmp_path / "phone", Suite.S25519)
    phone.complete(admin.answer(phone.ask(), "admin", "web"))
    with pytest.raises(NotSupported, match="where the account was made"):
        NewRoot(authority(phone.host, ALICE, OPTIONS), vault(tmp_path / "third"))
