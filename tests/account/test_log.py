"""Keys that are in memory and in no token, of seeds, roles and requests: the use log has each of their uses,
under the key's fingerprint.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from meshhw.algorithms import Algorithm, PrivateKey, PublicKey, Suite
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.local import LocalKey
from meshhw.dare.prepare import Outline
from meshhw.dare.read import open_envelope
from meshhw.dare.write import seal
from meshhw.errors import InvalidPublicKey, NotSupported, StateError
from meshhw.keystore.api import OpenOptions
from meshhw.managers.account import named
from meshhw.managers.account.authority import authority
from meshhw.managers.account.escrow import make_sheets, recovered_seed
from meshhw.managers.account.manager import AccountManager
from meshhw.managers.account.recovering import saved_profile
from meshhw.managers.account.roles import ESCROW, SEED_NAMES
from meshhw.managers.profilemaking import ProfileRequest
from meshhw.udf import fingerprint
from tests.account.people import ALICE, OPTIONS, Admin, Phone
from tests.account.test_disconnect import join, leave
from tests.account.test_dual import DualPhone
from tests.account.vaults import cheap_vault
from tests.uses import Log, line


def logged(log: Log) -> OpenOptions:
    return replace(OPTIONS, recorder=log)


@pytest.fixture
def admin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Admin:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    return Admin(tmp_path / "admin", Suite.S25519)


def test_a_key_in_memory_tells_each_use_and_how_it_ended() -> None:
    log = Log()
    key = LocalKey(PrivateKey(Algorithm.X25519, bytes(range(32))), log)
    key.agree(key.public)
    with pytest.raises(InvalidPublicKey):
        key.agree(PublicKey(Algorithm.X25519, bytes(32)))
    with pytest.raises(NotSupported):
        key.sign(b"message")
    assert log.in_memory == [
        line(key.public, "agree"),
        line(key.public, "agree", "InvalidPublicKey"),
        line(key.public, "sign", "NotSupported"),
    ]


def test_what_a_key_in_memory_gives_is_kept_back_where_it_cannot_be_recorded() -> None:
    log = Log(full=True)
    key = LocalKey(PrivateKey(Algorithm.ED25519, bytes(range(32))), log)
    with pytest.raises(StateError):
        key.sign(b"message")


def test_a_root_of_the_seed_and_the_accounts_keys(admin: Admin, tmp_path: Path) -> None:
    phone = Phone(tmp_path / "phone", Suite.S25519)
    join(authority(admin.host, ALICE, OPTIONS), phone, "phone", "super")
    log = Log()
    there = authority(phone.host, ALICE, logged(log))
    with there.root() as root:
        root.sign(b"message")
    assert log.in_memory == [line(there.root_key, "sign")]
    log.lines.clear()
    signer = named.signer(ALICE, phone.host.home, logged(log))
    signer.sign(b"message")
    assert log.in_memory == [line(signer.public, "sign")]
    log.lines.clear()
    reader = named.recipient(ALICE, phone.host.home)
    letter = seal(b"letter", Outline(readers=[RecipientKey(reader.public)]))
    ring = list(named.keys(fingerprint(reader.public), phone.host.home, logged(log)))
    assert open_envelope(letter, KeyRing(ring)).payload == b"letter"
    assert log.in_memory == [line(reader.public, "agree")]


def test_the_second_key_of_a_device_that_signs_with_two(admin: Admin, tmp_path: Path) -> None:
    phone = DualPhone(tmp_path / "phone", Suite.S25519)
    member = phone.complete(admin.answer(phone.ask(), "web"))
    log = Log()
    with member.signers(logged(log)) as signers:
        for signer in signers:
            signer.sign(b"message")
    assert log.in_memory == [line(signers[1].public, "sign")]


def test_the_escrow_key_that_brings_stores_back(admin: Admin, tmp_path: Path) -> None:
    here = authority(admin.host, ALICE, OPTIONS)
    join(here, Phone(tmp_path / "laptop", Suite.S25519), "laptop", "web")
    codes = [sheet.code for sheet in make_sheets(admin.host, admin.account, OPTIONS, 2, 3)][:2]
    leave(here, "laptop")  # new keys of stores, for the escrow key
    saved = tmp_path / "backup"
    shutil.copytree(here.directory.path, saved)
    shutil.rmtree(here.host.home)
    log, home, found = Log(), tmp_path / "bare", recovered_seed(codes)
    known = saved_profile(saved, found)
    with AccountManager(Phone(home, Suite.S25519).host, logged(log)) as accounts:
        request = ProfileRequest(
            tokens=cheap_vault(home, OPTIONS, "more"), suite=found.suite, seed=found.seed
        )
        accounts.create(accounts.plan(known.address, request, saved=known))
    escrow = LocalKey(found.seed.derive(Algorithm.X25519, SEED_NAMES[ESCROW])).public
    assert log.in_memory
    assert set(log.in_memory) == {line(escrow, "agree")}
