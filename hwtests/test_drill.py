"""The lost-token drill from end to end, over a PIV card, SoftHSM, a TPM and a vault: the laptop with the
administrator's card is gone, and somebody has both, and every PIN of the card.

Once it held an administrator's key, once the account's seed. Whatever was written after, by whomever and
wherever its copy lies, the thief opens none of it; what is told of before is just what the thief opens.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from hwtests.drill_lab import ALICE, STORE, Machine, knowing, opened_versions
from meshhw.algorithms import Suite
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.prepare import Outline
from meshhw.dare.read import open_envelope
from meshhw.dare.write import seal
from meshhw.errors import (
    DecryptionFailed,
    IntegrityError,
    KeyNotFound,
    MeshError,
    NotSupported,
    SignatureInvalid,
    TokenNotFound,
)
from meshhw.keystore.uri import TokenURI
from meshhw.lab.piv.token import PIN
from meshhw.managers.account.administrators import add_administrator, administrators
from meshhw.managers.account.complete import receive
from meshhw.managers.account.disconnecting import connection_of, disconnect, lost_device
from meshhw.managers.account.escrow import erase_seed, make_sheets, recovered_seed, state_roles
from meshhw.managers.account.exposure import Exposed
from meshhw.managers.account.journal import apply, commit
from meshhw.managers.account.manager import AccountManager
from meshhw.managers.account.rekeying import new_keys, statement
from meshhw.managers.account.standing import standing
from meshhw.managers.account.succeeding import Succession
from meshhw.managers.account.updates import Given, pending_updates, refreshed, update_for
from meshhw.managers.host import Host, ProfileRecord
from meshhw.managers.profilemaking import ROOT, ProfileRequest
from meshhw.managers.threshold import descriptor
from meshhw.managers.threshold.descriptor import Loaded
from meshhw.managers.threshold.provision import Request, provision
from meshhw.managers.threshold.renew import replace
from meshhw.managers.threshold.store import Store
from meshhw.managers.threshold.tokens import OpenTokens
from meshhw.managers.threshold.use import ThresholdPrivateKey
from meshhw.schema.keydata import public_key
from tests.account.vaults import cheap_vault

if TYPE_CHECKING:
    from meshhw.lab.fixtures_piv import InsertCard
    from meshhw.lab.fixtures_pkcs11 import NewToken
    from meshhw.lab.piv.token import VirtualPivToken
    from meshhw.lab.swtpm import SoftwareTpm

BOARD = b"for the board alone"


@dataclass
class Drill:
    """Alice's machines, the directory that they share, and what was there before the loss."""

    root: Path
    laptop: Machine
    desk: Machine
    phone: Machine
    drawer: TokenURI
    spare: TokenURI
    lost: VirtualPivToken
    shared: Path
    board: Loaded

    @property
    def card(self) -> TokenURI:
        return self.lost.uri

    @property
    def laptop_udf(self) -> str:
        return standing(self.laptop.host, ALICE).device_udf

    def everybody_syncs(self, *machines: Machine) -> None:
        for _ in range(2):
            for machine in machines:
                assert machine.sync(self.shared).problems == []


@pytest.fixture
def drill(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    insert_card: InsertCard,
    new_softhsm: NewToken,
    swtpm_token: SoftwareTpm,
) -> Drill:
    card, drawer, desk_token, spare = insert_card("5.7"), new_softhsm(), new_softhsm(), new_softhsm()
    pins = {item.uri: item.pin for item in (drawer, desk_token, spare)}
    options = knowing(pins | {card.uri: PIN, swtpm_token.uri: swtpm_token.pin})
    laptop, desk, phone = (Machine(Host(tmp_path / name), options) for name in ("laptop", "desk", "phone"))
    offline = request.param == "admin"
    with AccountManager(laptop.host, options) as accounts:
        wanted = ProfileRequest(
            tokens=[card.uri], assigned={ROOT: drawer.uri} if offline else {}, suite=Suite.P256
        )
        record = accounts.create(accounts.plan(ALICE, wanted))
    desk.device(desk_token.uri)
    desk.join(laptop, *(("admin", "web") if offline else ("super",)))
    phone.device(swtpm_token.uri)
    phone.join(laptop, "web")
    if offline:
        make_sheets(laptop.host, record, options, 2, 3)
        erase_seed(laptop.host, record)
        state_roles(laptop.host, record, options)
    [vault] = cheap_vault(desk.host.home, options)
    board = provision(
        Store(desk.host.home).at("board"),
        desk.host,
        options,
        Request(2, [card.uri, desk_token.uri, vault], Suite.P256, signs=False, renewable=True),
    )
    shared = tmp_path / "shared"
    shared.mkdir()
    found = Drill(tmp_path, laptop, desk, phone, drawer.uri, spare.uri, card, shared, board)
    laptop.put("before")
    phone.sync(shared)
    phone.put("on the phone")
    laptop.put("before")
    found.everybody_syncs(laptop, phone, desk)
    return found


def told(reads: Iterable[Exposed]) -> dict[tuple[str, int], tuple[int, int]]:
    """Store by store and key by key, the entries and their versions."""
    return {(item.store, item.epoch): (item.entries, item.versions) for item in reads if item.versions}


def opened_by(thief: Machine, drill: Drill) -> dict[tuple[str, int], tuple[int, int]]:
    """The same, by trying everything that the thief has or may come by."""
    copies = [*drill.shared.rglob("MMM_*/*.dcat"), *thief.host.home.rglob("MMM_*.dcat")]
    found = opened_versions(thief.authority.held(), copies)
    return {place: (len({key for key, _, _ in all_}), len(all_)) for place, all_ in found.items()}


def replaced_share(drill: Drill) -> Loaded:
    """The lost card's share of the threshold key, given to another token; the card is far away then."""
    desk = drill.desk
    drill.lost.pull()
    try:
        return replace(Store(desk.host.home).at("board"), desk.host, desk.options, (1, drill.spare))
    finally:
        drill.lost.put_back()


def quorum_refuses_the_lost_share(drill: Drill, thief: Machine, after: Loaded) -> None:
    """Alone, with what the thief knows, and beside a holder of today who would help."""
    key = RecipientKey(descriptor.group_public(after.key("decryption")))
    letter = seal(BOARD, Outline(readers=[key]))
    assert opened_by_board(drill.desk, after, letter)
    with pytest.raises(TokenNotFound, match="2 holders are needed and 1 can answer"):
        opened_by_board(thief, drill.board, letter)
    lost = drill.board.key("decryption").holder(1)
    helping = after.key("decryption").holder(2)
    mixed = msgspec.structs.replace(after.key("decryption"), holders=(lost, helping))
    with pytest.raises(DecryptionFailed):
        opened_by_board(
            drill.desk, Loaded(msgspec.structs.replace(after.value, decryption=mixed), after.signer), letter
        )


def opened_by_board(machine: Machine, loaded: Loaded, letter: object) -> bool:
    with OpenTokens(machine.options) as tokens:
        key = ThresholdPrivateKey(loaded, tokens)
        return open_envelope(letter, KeyRing([key])).payload == BOARD  # type: ignore[arg-type]


@pytest.mark.parametrize("drill", ["admin"], indirect=True)
def test_the_lost_device_was_an_administrator(drill: Drill, tmp_path: Path) -> None:
    thief = drill.laptop.stolen(tmp_path / "thief", {drill.card: PIN})
    before = drill.phone.letter()
    desk, phone = drill.desk, drill.phone

    held = desk.authority.held()
    lost = lost_device(desk.authority, held, drill.laptop_udf)
    assert lost.case.startswith("an administrator: ")
    here = desk.authority
    journal = disconnect(here, lost, held, drill.drawer)
    commit(here, journal)
    apply(here, journal)
    board = replaced_share(drill)
    fresh = Machine(Host(tmp_path / "fresh"), desk.options)
    fresh.device()
    fresh.join(desk, "web")
    desk.put("after")
    drill.everybody_syncs(desk, phone, fresh)
    phone.put("after, too")
    drill.everybody_syncs(desk, phone, fresh)
    services = {"before", "on the phone", "after", "after, too"}
    assert desk.services() == phone.services() == fresh.services() == services

    assert opened_by(thief, drill) == told(lost.reads)
    assert thief.sync(drill.shared).problems
    assert opened_by(thief, drill) == told(lost.reads)
    assert thief.services() == {"before", "on the phone"}
    assert thief.opens(before)
    assert not thief.opens(phone.letter())
    administers_nothing(drill, drill.laptop.stolen(tmp_path / "again", {drill.card: PIN}), fresh)
    quorum_refuses_the_lost_share(drill, thief, board)


def administers_nothing(drill: Drill, thief: Machine, fresh: Machine) -> None:
    """What the lost administrator's key signs now: a device, an update with keys, the list, a statement."""
    desk, phone = drill.desk, drill.phone
    late = Machine(Host(fresh.host.home.with_name("late")), desk.options)
    late.device()
    answer = late.ask(thief, "device")
    knows(late, phone)
    with pytest.raises(SignatureInvalid):
        receive(late.host, answer.octets(), late.options)

    there, profile = thief.authority, thief.authority.profile
    entry = thief.entry(phone.device_udf)
    keys = new_keys(there.held(), [STORE], there.suite, common=False)
    with there.administrator() as admin:
        escrow = public_key(profile.escrow_encryption, "EscrowEncryption")
        made = Given(there.envelope, keys, [statement(keys, there.udf, escrow, admin)])
        update = update_for(refreshed(entry, connection_of(profile, entry), made, admin), admin)
    with pytest.raises(SignatureInvalid):
        receive(phone.host, update.octets(), phone.options)
    with pytest.raises(MeshError):
        add_administrator(there, phone.host.profile(None, "ProfileDevice").key("signature").public_key)
    assert there.administrator_key not in administrators(desk.authority.profile)

    thief.put("forged")
    thief.sync(drill.shared)
    for machine in (desk, phone, fresh):
        report = machine.sync(drill.shared)
        [ignored] = [item for item in report.authors if item.author == standing(thief.host, ALICE).author]
        assert ignored.state is None
        assert "forged" not in machine.services()


def knows(late: Machine, phone: Machine) -> None:
    """The newest profile has reached a machine that asks to join."""
    there = standing(phone.host, ALICE).directory
    target = late.host.home / "accounts" / there.path.name
    target.mkdir(parents=True, mode=0o700)
    target.parent.chmod(0o700)
    shutil.copy(there.path / "profile.dare", target)


@pytest.mark.parametrize("drill", ["seed"], indirect=True)
def test_the_lost_device_held_the_seed(drill: Drill, tmp_path: Path) -> None:
    thief = drill.laptop.stolen(tmp_path / "thief", {drill.card: PIN})
    desk, phone = drill.desk, drill.phone
    before, old = phone.letter(), standing(desk.host, ALICE).udf
    held = desk.authority.held()
    lost = lost_device(desk.authority, held, drill.laptop_udf)
    assert "seed or root" in lost.case
    with pytest.raises(NotSupported, match="must be replaced"):
        disconnect(desk.authority, lost, held)

    passing = Succession(desk.authority, [drill.laptop_udf])
    record = succeeded(desk, passing, drill.spare)
    update = pending_updates(desk.host.home, record.udf)[phone.device_udf]
    receive(phone.host, update, phone.options, following=True)
    sheets = make_sheets(desk.host, record, desk.options, 2, 3)
    assert recovered_seed([sheet.code for sheet in sheets[1:]]).udf == record.udf
    desk.put("after")
    drill.everybody_syncs(desk, phone)
    assert desk.services() == phone.services() == {"before", "on the phone", "after"}

    assert opened_by(thief, drill) == told(passing.lost[0].reads)
    assert told(passing.lost[0].reads)[STORE, 0] == (2, 3)
    with pytest.raises(KeyNotFound):
        receive(thief.host, update, thief.options, following=True)
    assert thief.opens(before)
    assert not thief.opens(phone.letter())

    thief.put("forged")
    thief.sync(drill.shared)
    drill.everybody_syncs(desk, phone)
    assert "forged" not in desk.services() | phone.services()
    false = succeeded(
        thief, Succession(thief.authority, [desk.device_udf]), cheap_vault(thief.host.home, thief.options)[0]
    )
    theirs = pending_updates(thief.host.home, false.udf)[phone.device_udf]
    with pytest.raises(IntegrityError, match="was succeeded by"):
        receive(phone.host, theirs, phone.options, following=True)
    assert standing(phone.host, ALICE).udf == record.udf != old
    quorum_refuses_the_lost_share(drill, thief, replaced_share(drill))


def succeeded(desk: Machine, passing: Succession, token: TokenURI) -> ProfileRecord:
    with AccountManager(desk.host, desk.options) as accounts:
        wanted = ProfileRequest(tokens=[token], suite=Suite.P256)
        return accounts.create(accounts.plan(ALICE, wanted, predecessor=passing))
