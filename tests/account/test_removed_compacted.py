"""The device catalog is compacted like every store: what a removed administrator had signed until then counts
as before, and what it signs afterwards does not."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from meshhw.algorithms import Algorithm, Suite
from meshhw.dare.catalog import Catalog, create_catalog
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.heads import SequenceProof, head_of, prove_frame
from meshhw.dare.links import proofs_in
from meshhw.dare.local import LocalKey
from meshhw.dare.policy import begin_epoch
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_write import SequenceWriter
from meshhw.errors import SignatureInvalid, StateError
from meshhw.managers.account.authority import authority, opened_catalog
from meshhw.managers.account.connect import Connector
from meshhw.managers.account.devices import STORE as DEVICES
from meshhw.managers.account.devices import opened_devices
from meshhw.managers.account.disconnecting import connection_of, disconnect, lost_device
from meshhw.managers.account.granted import store_ring
from meshhw.managers.account.journal import commit, resume
from meshhw.managers.account.rekeying import new_keys, random_key, statement, take_statements
from meshhw.managers.account.removing import remove_administrator
from meshhw.managers.account.request import read_request
from meshhw.managers.account.rights import rights_of
from meshhw.managers.account.standing import standing
from meshhw.managers.account.stores import store_path
from meshhw.managers.account.vouching import statement_proofs
from meshhw.managers.host import Host
from meshhw.managers.sync.compacting import compact
from meshhw.schema.entry import CatalogedDevice
from meshhw.schema.keydata import public_key
from meshhw.schema.profile import AdministratorRemoved, ProfileUser
from meshhw.udf import fingerprint
from tests.account.people import ALICE, OPTIONS, Phone
from tests.account.test_disconnect import AFTER, BEFORE, STORE, join, leave, read, write
from tests.account.test_recover import recover
from tests.account.test_removed import Office, desk_disconnects, office, sheets

__all__ = ["office"]


def compacted(host: Host) -> None:
    """The device catalog, written anew because an entry was put once more."""
    with opened_devices(host, OPTIONS, writable=True) as devices:
        devices.put(devices.devices()[0])
    before = path_of(host).read_bytes()
    assert [done.store for done in compact(standing(host), OPTIONS, [DEVICES])] == [DEVICES]
    assert path_of(host).read_bytes() != before


def path_of(host: Host) -> Path:
    return store_path(standing(host).directory.path, DEVICES)


def entry(host: Host, device: str) -> CatalogedDevice:
    with opened_devices(host, OPTIONS) as devices:
        return devices.device(device)


def proofs(host: Host) -> list[SequenceProof]:
    with SequenceFile(path_of(host)) as sequence:
        return proofs_in(sequence)


def removed(office: Office) -> None:
    """The desk is no administrator any more."""
    here = authority(office.here.host, ALICE, OPTIONS)
    remove_administrator(here, fingerprint(office.there.administrator_key))


def connected_by_the_desk(office: Office, home: Path, name: str) -> Phone:
    phone = Phone(home, Suite.S25519)
    join(office.there, phone, name, "web")
    shutil.copy(path_of(office.desk.host), path_of(office.here.host))
    return phone


def test_what_it_had_said_of_new_keys_is_recovered_from_a_compacted_catalog(
    office: Office, tmp_path: Path
) -> None:
    """That was compacted again: the proof comes along."""
    codes = sheets(office)
    desk_disconnects(office, tmp_path)
    removed(office)
    for _ in range(2):
        compacted(office.here.host)
        assert len(proofs(office.here.host)) == 1
    saved = tmp_path / "saved"
    shutil.copytree(standing(office.here.host).directory.path, saved)
    host, _, known = recover(codes, tmp_path / "bare", saved)
    assert known.problems == []
    assert read(host) == {"before", "after"}
    write(host, BEFORE)


def test_what_it_says_afterwards_counts_nothing_whatever_proofs_stand_beside_it(
    office: Office, tmp_path: Path
) -> None:
    codes = sheets(office)
    desk_disconnects(office, tmp_path)
    removed(office)
    compacted(office.here.host)
    held = office.there.held()
    with office.there.administrator() as admin:
        keys = new_keys(held, [STORE, DEVICES], office.there.suite, common=True)
        escrow = public_key(office.there.profile.escrow_encryption, "EscrowEncryption")
        said = statement(keys, office.there.udf, escrow, admin)
        take_statements(office.there.directory, [said])
        shared = tmp_path / "shared" / office.here.udf
        for store in (STORE, DEVICES):
            (shared / store).mkdir(parents=True)
        shutil.copy(path_of(office.here.host), shared / DEVICES / "HERE.dcat")
        with Catalog(path_of(office.desk.host), KeyRing(store_ring(held, DEVICES))) as catalog:
            catalog.compact(shared / DEVICES / "DESK.dcat", [admin], proofs(office.here.host))
    shutil.copy(standing(office.here.host).directory.path / "profile.dare", shared)
    host, _, known = recover(codes, tmp_path / "bare", shared.parent)
    [told] = known.problems
    assert "an administrator who was removed has signed them" in told
    again = authority(host, ALICE, OPTIONS)
    theirs = {item.key.udf for item in keys.entries if item.key}
    assert theirs.isdisjoint(item.key.udf for item in again.held().entries if item.key)
    write(host, AFTER)


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_it_had_connected_stays_a_device_and_what_it_connects_is_none(
    office: Office, tmp_path: Path, when: str
) -> None:
    """Whether it is removed `before` the compaction or `after` it."""
    guest = connected_by_the_desk(office, tmp_path / "guest", "guest")
    steps = [lambda: removed(office), lambda: compacted(office.here.host)]
    for step in steps if when == "before" else steps[::-1]:
        step()
    profile = authority(office.here.host, ALICE, OPTIONS).profile
    kept = entry(office.here.host, "guest")
    assert kept.proof
    assert connection_of(profile, kept).roles == ("web",)
    late = Phone(tmp_path / "late", Suite.S25519)
    answer = Connector(office.desk.host, office.there, OPTIONS).connect(
        read_request(late.ask().octets()), rights_of(["web"]), name="late"
    )
    forged = late.complete(answer.octets()).entry
    with pytest.raises(SignatureInvalid):
        connection_of(profile, forged)
    with opened_devices(office.here.host, OPTIONS, writable=True) as devices:
        devices.put(forged)  # as synchronising with the desk would have brought it
    compacted(office.here.host)
    assert connection_of(profile, entry(office.here.host, "guest")).roles == ("web",)
    with pytest.raises(SignatureInvalid):
        connection_of(profile, entry(office.here.host, "late"))
    assert guest.device.udf == kept.device_udf


def test_proofs_that_show_nothing_are_not_taken(tmp_path: Path) -> None:
    old, new = tmp_path / f"{DEVICES}.dcat", tmp_path / "new" / f"{DEVICES}.dcat"
    new.parent.mkdir()
    create_catalog(old)
    readers = [RecipientKey(LocalKey(random_key(Algorithm.X25519)).public)]
    with SequenceWriter(old) as writer:
        epoch = begin_epoch(writer, readers, b"a statement")
        other = writer.append(b"a statement, in no epoch", in_clear=True)
        writer.flush()
        head = head_of(writer)
        late = begin_epoch(writer, readers, b"a later statement")
        writer.flush()
        good, none = prove_frame(writer, epoch, head), prove_frame(writer, other, head)
        uncovered = prove_frame(writer, late)
    broken = replace(good, payload_digest=none.payload_digest)
    with Catalog(old) as catalog:
        catalog.compact(new, proofs=[none, uncovered, broken, good])
    gone = AdministratorRemoved(
        sequence_id=head.sequence_id, index=head.head.index, tree_digest=head.head.digest
    )
    profile = ProfileUser(removed_administrators=(gone,))
    assert list(statement_proofs(profile, old)) == list(statement_proofs(profile, new)) == [good]
    assert list(statement_proofs(ProfileUser(), new)) == []


def test_a_removal_that_was_decided_before_a_compaction_is_refused_and_repeated(
    office: Office, tmp_path: Path
) -> None:
    codes = sheets(office)
    desk_disconnects(office, tmp_path)
    here = authority(office.here.host, ALICE, OPTIONS)
    held = here.held()
    journal = disconnect(here, lost_device(here, held, "desk"), held)
    compacted(office.here.host)
    with pytest.raises(StateError, match="was compacted meanwhile"):
        commit(here, journal)
    assert not resume(here)
    leave(here, "desk")
    saved = tmp_path / "saved"
    shutil.copytree(here.directory.path, saved)
    host, _, known = recover(codes, tmp_path / "bare", saved)
    assert known.problems == []
    assert read(host) == {"before", "after"}


def test_a_removal_that_was_interrupted_before_a_compaction_is_carried_out_after_it(
    office: Office, tmp_path: Path
) -> None:
    desk_disconnects(office, tmp_path)
    here = authority(office.here.host, ALICE, OPTIONS)
    held = here.held()
    commit(here, disconnect(here, lost_device(here, held, "desk"), held))
    compacted(office.here.host)
    assert len(proofs(office.here.host)) == 1
    assert resume(here)
    again = authority(office.here.host, ALICE, OPTIONS)
    with opened_catalog(again, again.held()) as devices:
        assert "desk" not in {item.local_name for item in devices.devices()}
    assert list(statement_proofs(again.profile, path_of(office.here.host))) == proofs(office.here.host)
