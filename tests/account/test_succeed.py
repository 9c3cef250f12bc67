"""An account whose seed is in wrong hands is succeeded by another: what was lost reads nothing new, the
devices that remain follow when the person says so, and a second successor is refused."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from meshhw.algorithms import Algorithm, Suite
from meshhw.dare.envelope import Envelope
from meshhw.dare.local import LocalKey
from meshhw.errors import (
    Cancelled,
    FormatError,
    IntegrityError,
    KeyNotFound,
    MeshError,
    Replayed,
    SignatureInvalid,
    UsageError,
)
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.managers.account.administrators import administrators
from meshhw.managers.account.authority import authority
from meshhw.managers.account.complete import receive
from meshhw.managers.account.contacts import (
    exported,
    keep_contact,
    own_contact,
    read_contact,
    succeeded_contact,
)
from meshhw.managers.account.devices import opened_devices
from meshhw.managers.account.directory import sweep
from meshhw.managers.account.escrow import make_sheets, recovered_seed
from meshhw.managers.account.manager import AccountManager
from meshhw.managers.account.membership import membership
from meshhw.managers.account.removing import remove_administrator
from meshhw.managers.account.standing import standing
from meshhw.managers.account.stores import opened_store
from meshhw.managers.account.succeeding import Succession
from meshhw.managers.account.succession import heirs, is_vouched, require_first, statement, steps
from meshhw.managers.account.updates import pending_updates
from meshhw.managers.host import Host, ProfileRecord
from meshhw.managers.profilemaking import ProfileRequest
from meshhw.schema.assertion import sign_assertion
from meshhw.schema.core import Enveloped
from meshhw.schema.entry import CatalogedContact
from meshhw.schema.keydata import key_data
from meshhw.schema.profile import ProfileUser
from meshhw.schema.succession import Succession as Statement
from meshhw.udf import Seed, Specifier, fingerprint
from tests.account.killing import killed_everywhere, some_or_all
from tests.account.people import ALICE, OPTIONS, Admin, Phone
from tests.account.test_disconnect import (
    AFTER,
    BEFORE,
    copy_stores,
    join,
    join_profile,
    letter,
    opens,
    read,
    write,
)
from tests.account.vaults import cheap_vault

REFUSING = OpenOptions(Scripted({PinKind.VAULT: "a passphrase"}, confirms=False))


@dataclass
class Family:
    """Alice's machine where the account was made, a lost laptop that held the seed, a tablet, a desk."""

    admin: Admin
    laptop: Phone
    tablet: Phone
    desk: Phone
    old: str = ""

    @property
    def host(self) -> Host:
        return self.admin.host


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Family]:
    """The machines, made once; every test has them as they were."""
    base = tmp_path_factory.mktemp("family") / "homes"
    base.mkdir(mode=0o700)
    admin = Admin(base / "admin", Suite.S25519)
    here = authority(admin.host, ALICE, OPTIONS)
    family = Family(admin, *(Phone(base / name, Suite.S25519) for name in ("laptop", "tablet", "desk")))
    join(here, family.laptop, "laptop", "super")
    join(here, family.tablet, "tablet", "web")
    join(here, family.desk, "desk", "admin", "web")
    write(admin.host, BEFORE)
    for phone in (family.laptop, family.tablet, family.desk):
        copy_stores(admin.host, phone.host)
    family.old = here.udf
    shutil.copytree(base, base.with_name("kept"))
    return base, family


@pytest.fixture
def family(made: tuple[Path, Family], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Family:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    base, family = made
    shutil.rmtree(base)
    shutil.copytree(base.with_name("kept"), base)
    return family


def succeed(host: Host, *lost: str) -> ProfileRecord:
    found = authority(host, ALICE, OPTIONS)
    passing = Succession(found, lost)
    with AccountManager(host, OPTIONS) as manager:
        wanted = ProfileRequest(tokens=cheap_vault(host.home, OPTIONS), suite=Suite.S25519)
        return manager.create(manager.plan(ALICE, wanted, predecessor=passing))


def follow(phone: Phone, host: Host, record: ProfileRecord, options: OpenOptions = OPTIONS) -> None:
    update = pending_updates(host.home, record.udf)[phone.device.udf]
    receive(phone.host, update, options, following=True)


def bring_stores(source: Host, target: Host, account: str) -> None:
    there = target.home / "accounts" / account / "stores"
    shutil.copytree(source.home / "accounts" / account / "stores", there, dirs_exist_ok=True)


def test_the_new_account_has_the_address_the_entries_and_the_devices(family: Family) -> None:
    before = standing(family.host, ALICE).profile
    record = succeed(family.host, "laptop")
    found = standing(family.host, ALICE)
    assert found.udf == record.udf != family.old
    assert standing(family.host).udf == record.udf
    assert authority(family.host, ALICE, OPTIONS).udf == record.udf
    [step] = steps(found.profile)
    assert (step.predecessor, step.successor, step.version) == (family.old, record.udf, before.version)
    assert read(family.host) == {"before"}
    with opened_devices(family.host, OPTIONS) as devices:
        assert {item.local_name for item in devices.devices()} == {None, "tablet", "desk"}
    after = standing(family.host, ALICE).profile
    for name in ("profile_signature", "escrow_encryption", "common_encryption", "common_signature"):
        assert getattr(before, name) != getattr(after, name)
    assert not set(administrators(before)) & {administrators(after)[0]}
    assert standing(family.host, family.old).udf == family.old


def test_the_remaining_devices_follow_and_the_lost_one_reads_nothing_new(family: Family) -> None:
    old_letter = letter(family.tablet.host)
    record = succeed(family.host, "laptop")
    write(family.host, AFTER)
    follow(family.tablet, family.host, record)
    bring_stores(family.host, family.tablet.host, record.udf)
    assert membership(family.tablet.host).udf == record.udf
    assert read(family.tablet.host) == {"before", "after"}
    new_letter = letter(family.tablet.host)
    assert opens(family.tablet.host, new_letter)
    assert opens(family.tablet.host, old_letter)
    assert opens(family.laptop.host, old_letter)
    assert not opens(family.laptop.host, new_letter)
    assert family.laptop.device.udf not in pending_updates(family.host.home, record.udf)
    for update in pending_updates(family.host.home, record.udf).values():
        with pytest.raises(KeyNotFound):
            receive(family.laptop.host, update, OPTIONS, following=True)
    stolen = family.laptop.host.home / "accounts" / family.old / "stores"
    for path in (family.host.home / "accounts" / record.udf / "stores").glob("*.dcat"):
        shutil.copyfile(path, stolen / path.name)
    with pytest.raises(MeshError):
        read(family.laptop.host)


def test_an_administrator_that_remains_administers_the_new_account(family: Family, tmp_path: Path) -> None:
    record = succeed(family.host, "laptop")
    follow(family.desk, family.host, record)
    bring_stores(family.host, family.desk.host, record.udf)
    there = authority(family.desk.host, ALICE, OPTIONS)
    assert there.udf == record.udf
    fresh = Phone(tmp_path / "fresh", Suite.S25519)
    assert join(there, fresh, "fresh", "web").udf == record.udf


def test_any_administrator_with_the_root_makes_it_and_the_first_machine_asks_anew(
    family: Family, tmp_path: Path
) -> None:
    second = Phone(tmp_path / "second", Suite.S25519)
    join(authority(family.host, ALICE, OPTIONS), second, "second", "super")
    copy_stores(family.host, second.host)
    with pytest.raises(KeyNotFound, match="root key"):
        succeed(family.desk.host, "laptop")
    passing = Succession(authority(second.host, ALICE, OPTIONS), ["laptop"])
    assert [item.enveloped_profile_device for item in passing.left_out] == [None]
    record = succeed(second.host, "laptop")
    assert standing(second.host, ALICE).udf == record.udf
    assert read(second.host) == {"before"}
    with pytest.raises(SignatureInvalid):  # the tablet does not know this administrator yet
        follow(family.tablet, second.host, record)
    join_profile(authority(family.host, family.old, OPTIONS), family.tablet)
    follow(family.tablet, second.host, record)
    assert standing(family.tablet.host, ALICE).udf == record.udf


def test_new_sheets_bring_back_the_new_account(family: Family) -> None:
    record = succeed(family.host, "laptop")
    sheets = make_sheets(family.host, record, OPTIONS, 2, 3)
    assert recovered_seed([sheet.code for sheet in sheets[:2]]).udf == record.udf


def test_a_device_follows_when_the_person_says_so_and_once(family: Family) -> None:
    record = succeed(family.host, "laptop")
    with pytest.raises(Cancelled):
        follow(family.tablet, family.host, record, REFUSING)
    update = pending_updates(family.host.home, record.udf)[family.tablet.device.udf]
    with pytest.raises(Cancelled, match="has a successor"):
        receive(family.tablet.host, update, OPTIONS)
    assert membership(family.tablet.host).udf == family.old
    asking = Scripted({PinKind.VAULT: "a passphrase"})
    follow(family.tablet, family.host, record, OpenOptions(asking))
    assert f"{record.udf} succeeds {family.old}" in asking.questions[-1]
    with pytest.raises(Replayed):
        follow(family.tablet, family.host, record)


def test_the_thiefs_successor_is_refused_after_the_true_one_and_never_taken_from_no_administrator(
    family: Family,
) -> None:
    true = succeed(family.host, "laptop")
    false = succeed(family.laptop.host, "desk")  # the thief holds the seed, and administers with the laptop
    follow(family.tablet, family.host, true)
    with pytest.raises(IntegrityError, match="was succeeded by"):
        follow(family.tablet, family.laptop.host, false)
    assert membership(family.tablet.host).udf == true.udf


def test_what_no_administrator_of_the_earlier_account_signed_is_refused(
    family: Family, tmp_path: Path
) -> None:
    """Nor what the thief signs once the tablet has the profile that does not list him any more."""
    false = succeed(family.laptop.host, "desk")
    here = authority(family.host, ALICE, OPTIONS)
    thief = authority(family.laptop.host, family.old, OPTIONS)
    remove_administrator(here, fingerprint(thief.administrator_key))
    join_profile(here, family.tablet)
    with pytest.raises(SignatureInvalid, match="no administrator"):
        follow(family.tablet, family.laptop.host, false)


def key(name: str) -> LocalKey:
    return LocalKey(Seed.generate(Specifier.ANY).derive(Algorithm.ED25519, name))


def profile(root: LocalKey, *said: Envelope, version: int = 1) -> ProfileUser:
    return ProfileUser(
        version=version,
        account_address=ALICE,
        profile_signature=key_data(root.public),
        successions=tuple(Enveloped(item.array()) for item in said),
    )


def test_forged_statements_are_refused() -> None:
    old, new, other, admin = (key(name) for name in ("old", "new", "other", "admin"))
    good = statement(profile(old, version=3), old, new)
    [step] = steps(profile(new, good))
    members = re.findall(rb'"((?:Updated|AccountAddress|Predecessor|Successor)\w*)":', good.body)
    assert good.body.startswith(b'{"Succession":{"Updated":"')
    assert members == [
        b"Updated",
        b"AccountAddress",
        b"PredecessorUdf",
        b"PredecessorVersion",
        b"PredecessorSignature",
        b"SuccessorUdf",
        b"SuccessorSignature",
    ]
    assert not is_vouched(profile(new, good), [admin.public])
    vouched = profile(new, statement(profile(old, version=3), old, new, admin))
    assert [is_vouched(vouched, [item.public]) for item in (admin, other)] == [True, False]
    assert steps(vouched)[0].predecessor == step.predecessor
    assert step.version == 3
    with pytest.raises(IntegrityError):
        statement(profile(old), other, new)
    with pytest.raises(IntegrityError, match="do not lead"):
        steps(profile(other, good))
    said = Statement(
        predecessor_udf=step.predecessor,
        predecessor_signature=key_data(old.public),
        successor_udf=step.successor,
        successor_signature=key_data(new.public),
    )
    for signers in ([new], [old], [new, other], [other]):
        with pytest.raises(SignatureInvalid):
            steps(profile(new, sign_assertion(said, signers, "n")))
    for wrong in (
        replace(said, predecessor_udf=step.successor),
        replace(said, successor_udf=step.predecessor),
        replace(said, successor_signature=key_data(other.public)),
    ):
        with pytest.raises(MeshError):
            steps(profile(new, sign_assertion(wrong, [old, new], "n")))
    with pytest.raises(FormatError, match="more than"):
        steps(profile(new, *[good] * 17))
    octets = good.octets()
    for position in range(0, len(octets), max(1, len(octets) // 60)):
        changed = octets[:position] + bytes([octets[position] ^ 1]) + octets[position + 1 :]
        try:
            found = steps(profile(new, Envelope.parse(changed)))
        except (MeshError, ValueError):
            continue
        assert found == (step,)


def test_a_chain_leads_over_every_account_and_a_second_branch_is_refused() -> None:
    first, second, third, thief = key("1"), key("2"), key("3"), key("thief")
    one = statement(profile(first), first, second)
    two = statement(profile(second), second, third)
    whole = profile(third, one, two)
    assert [step.successor for step in steps(whole)] == list(heirs(whole).values())
    require_first([profile(second, one)], whole)
    require_first([profile(first)], whole)
    forked = profile(thief, statement(profile(first), first, thief))
    for held in (profile(second, one), whole):
        with pytest.raises(IntegrityError, match="was succeeded by"):
            require_first([held], forked)
    with pytest.raises(IntegrityError, match="counts nothing"):
        require_first([profile(second, one)], profile(first, version=9))
    with pytest.raises(IntegrityError, match="do not lead"):
        steps(profile(third, two, one))
    with pytest.raises(IntegrityError, match="do not lead"):
        steps(profile(third, one))


def test_a_contact_is_replaced_when_the_person_says_so_and_a_second_successor_is_refused(
    family: Family, tmp_path: Path
) -> None:
    bob = Admin(tmp_path / "bob", Suite.P256).host
    first = read_contact(exported(family.host, "Alice", ALICE, OPTIONS).octets())
    true = succeed(family.host, "laptop")
    false = succeed(family.laptop.host, "desk")
    newer = read_contact(exported(family.host, "Alice", true.udf, OPTIONS).octets())
    theirs = read_contact(exported(family.laptop.host, "Alice", false.udf, OPTIONS).octets())
    with opened_store(bob, "MMM_Contact", OPTIONS, writable=True) as store:
        keep_contact(store, first, "alice")
        with pytest.raises(IntegrityError, match="nobody has confirmed"):
            keep_contact(store, newer, "alice")
        before = succeeded_contact(store, newer)
        assert before is not None
        assert (before[0], before[1].successor) == ("alice", true.udf)
        keep_contact(store, newer, "alice", succeeds="alice")
        for refused in (theirs, first):
            with pytest.raises(IntegrityError, match="was succeeded by"):
                keep_contact(store, refused, "alice", succeeds="alice")
        assert [name for name, _ in store.all(CatalogedContact)] == ["alice"]


def test_one_cannot_leave_this_machine_out(family: Family) -> None:
    found = authority(family.host, ALICE, OPTIONS)
    with pytest.raises(UsageError, match="itself"):
        Succession(found, [found.founder_udf or ""])


def test_ones_own_contact_tells_of_the_new_account(family: Family) -> None:
    with opened_store(family.host, "MMM_Contact", OPTIONS, writable=True) as store:
        person = own_contact(standing(family.host, ALICE).profile_envelope, "Alice Adams")
        store.put("self", CatalogedContact(key="self", is_self=True, contact=person))
    record = succeed(family.host, "laptop")
    with opened_store(family.host, "MMM_Contact", OPTIONS) as store:
        kept = store.get("self", CatalogedContact).contact
    assert kept is not None
    assert (kept.anchors[0].udf, kept.common_names[0].full_name) == (record.udf, "Alice Adams")


@some_or_all(11)
def test_killed_at_a_change_of_a_file_the_earlier_account_stays_or_the_new_one_is_whole(
    family: Family, every: int
) -> None:
    command = partial(succeed, family.host, "laptop")
    seen = {False, True}
    for _ in killed_everywhere([family.host.home], command, every=every):
        found = standing(family.host, ALICE)
        done = found.udf != family.old
        seen.discard(done)
        if done:
            assert family.tablet.device.udf in pending_updates(family.host.home, found.udf)
            # The mark of the account that was made may be left, for whoever makes the next one to take away.
            assert sweep(family.host.home, lambda: {item.udf for item in family.host.profiles()}) == []
        assert read(family.host) == {"before"}
        if not done:
            record = succeed(family.host, "laptop")
            assert record.udf != found.udf
        assert kept_accounts(family.host) == {family.old, standing(family.host, ALICE).udf}
    assert not seen


def kept_accounts(host: Host) -> set[str]:
    """All that is in the directory of accounts, hidden files too."""
    return {path.name for path in (host.home / "accounts").iterdir()}
