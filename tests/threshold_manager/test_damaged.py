"""Small files of a threshold key that are damaged: told by their names, and in the way of nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from meshhw import files
from meshhw.dare.exchange import KeyRing
from meshhw.dare.read import open_envelope
from meshhw.errors import FormatError
from meshhw.keystore.api import OpenOptions
from meshhw.managers.host import Host
from meshhw.managers.threshold import named
from meshhw.managers.threshold.store import KeyStore, Store
from tests.threshold_manager.conftest import NewVault
from tests.threshold_manager.machines import PAYLOAD, Machines, two_machines

READERS: dict[str, Callable[[KeyStore], object]] = {
    "holders.json": lambda store: store.saw([1]),
    "journal.json": KeyStore.journal,
    "strays.json": KeyStore.strays,
}


@pytest.fixture
def machines(host: Host, options: OpenOptions, new_vault: NewVault, tmp_path: Path) -> Machines:
    return two_machines(host, options, new_vault, tmp_path)


@pytest.mark.parametrize("octets", [b"", b"{", b"\xff", b"[5]", b'[{"keys":[]}]', b'"x"'])
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_named(home: Path, name: str, octets: bytes) -> None:
    store = Store(home).at("team")
    store.save(name, octets)
    with pytest.raises(FormatError, match=name):
        READERS[name](store)
    assert store.load(name) == octets


@pytest.mark.parametrize(
    "octets",
    [
        b"{}",
        b'{"doing":5}',
        b'{"doing":"making new shares","use":"decryption"}',
        b'{"doing":"making new shares","use":"decryption","generation":"2","algorithm":"X25519"}',
        b'{"doing":"provision","shares":[["software:a","00"]]}',
        b'{"doing":"provision","shares":[["software:a"]],"algorithm":"X25519"}',
    ],
)
def test_a_journal_that_does_not_say_enough_is_damaged(home: Path, octets: bytes) -> None:
    store = Store(home).at("team")
    store.save("journal.json", octets)
    with pytest.raises(FormatError, match=r"journal\.json is damaged"):
        store.journal()


def test_a_damaged_note_of_who_was_here_stops_no_decryption(machines: Machines) -> None:
    Store(machines.home).at("team").save("holders.json", b"{")
    kid = machines.envelope.header.recipients[0].kid
    keys = list(named.keys(kid, machines.home, machines.options))
    assert open_envelope(machines.envelope, KeyRing(keys)).payload == PAYLOAD


def test_without_a_list_of_what_was_answered_nothing_is_answered(machines: Machines) -> None:
    machines.respond(machines.request())
    answered = machines.away / "threshold" / "answered.json"
    files.replace(answered, answered.read_bytes()[:-1])
    with pytest.raises(FormatError, match=r"answered\.json is damaged"):
        machines.respond(machines.request())
