"""A new key in the place of one whose shares cannot be made anew, and envelopes re-wrapped to it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from meshhw.algorithms import Suite
from meshhw.dare.archive import make_archive
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.prepare import Outline
from meshhw.dare.read import open_envelope
from meshhw.dare.write import seal
from meshhw.errors import NotSupported, StateError, TokenNotFound, UsageError
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.uri import TokenURI
from meshhw.managers.host import Host
from meshhw.managers.threshold import descriptor
from meshhw.managers.threshold.authority import Setting
from meshhw.managers.threshold.descriptor import Loaded
from meshhw.managers.threshold.provision import Request, provision
from meshhw.managers.threshold.renew import refresh, replace
from meshhw.managers.threshold.rewrapping import Outcome, Result, rewrap_files
from meshhw.managers.threshold.signer import open_signer
from meshhw.managers.threshold.store import KeyStore, Store
from meshhw.managers.threshold.succession import Succession, succeed, successor
from meshhw.managers.threshold.tokens import OpenTokens
from meshhw.managers.threshold.use import ThresholdPrivateKey
from tests.threshold_manager.conftest import NewVault

PAYLOAD = b"only together"


class Old:
    """A two-of-three key without renewal copies, and a directory with what is encrypted to it."""

    def __init__(self, host: Host, options: OpenOptions, vaults: list[TokenURI], folder: Path) -> None:
        self.host, self.options, self.vaults, self.folder = host, options, vaults, folder
        self.store: KeyStore = Store(host.home).at("old")
        self.new: KeyStore = Store(host.home).at("new")
        self.loaded = provision(self.store, host, options, Request(2, vaults, Suite.S25519, signs=False))
        folder.mkdir()

    @property
    def setting(self) -> Setting:
        return Setting(self.store, self.host, self.options)

    def envelope(self, name: str, outline: Outline | None = None) -> Path:
        public = descriptor.group_public(self.loaded.key("decryption"))
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(seal(PAYLOAD, outline or Outline(readers=[RecipientKey(public)])).octets())
        return path

    def rewrap(self, new: Loaded, *paths: Path) -> list[Outcome]:
        return list(rewrap_files(self.loaded, new, paths, self.options))

    def opens(self, loaded: Loaded, path: Path) -> bool:
        with OpenTokens(self.options) as tokens:
            ring = KeyRing([ThresholdPrivateKey(loaded, tokens)])
            return open_envelope(Envelope.parse(path.read_bytes()), ring).payload == PAYLOAD


@pytest.fixture
def old(host: Host, options: OpenOptions, new_vault: NewVault, tmp_path: Path) -> Old:
    return Old(host, options, [new_vault(name) for name in ("one", "two", "three")], tmp_path / "files")


def hidden(vault: TokenURI) -> Path:
    return Path(vault.get("vault") or "")


def test_renewing_offers_a_new_key(old: Old, new_vault: NewVault) -> None:
    with pytest.raises(NotSupported, match="no renewal copies") as caught:
        refresh(old.store, old.host, old.options)
    assert "`meshhw threshold refresh old --new-key NEW --rewrap FILE-OR-DIRECTORY`" in caught.value.hint
    with pytest.raises(NotSupported, match="no renewal copies") as caught:
        replace(old.store, old.host, old.options, (2, new_vault("four")))
    assert "replace old --holder 2 --on TOKEN --new-key NEW --rewrap" in caught.value.hint


def test_a_dealerless_key_says_why_and_offers_the_same(
    host: Host, options: OpenOptions, new_vault: NewVault
) -> None:
    vaults = [new_vault("one"), new_vault("two")]
    store = Store(host.home).at("pair")
    provision(store, host, options, Request(2, vaults, Suite.S25519, signs=False, dealerless=True))
    with pytest.raises(NotSupported, match="each token made its own share") as caught:
        refresh(store, host, options)
    assert "--new-key NEW" in caught.value.hint
    made = succeed(Setting(store, host, options), Store(host.home).at("next"), Succession("next"))
    assert made.value.dealerless
    assert made.key("decryption").threshold == 2


def test_a_lost_token_and_every_known_envelope(old: Old, new_vault: NewVault) -> None:
    letter, deep = old.envelope("letter"), old.envelope("inner/deep")
    (old.folder / "notes.txt").write_text("no envelope")
    old.envelope("others", Outline())
    before = {path: Envelope.parse(path.read_bytes()) for path in (letter, deep)}
    letter.chmod(0o640)
    shutil.rmtree(hidden(old.vaults[0]))
    made = succeed(old.setting, old.new, Succession("new", {1: new_vault("four")}))
    assert made.key("decryption").udf != old.loaded.key("decryption").udf
    assert [holder.token for holder in made.key("decryption").holders][1:] == [str(v) for v in old.vaults[1:]]
    assert successor(old.store) == "new"
    assert old.rewrap(made, old.folder) == [
        Outcome(deep, Result.REWRAPPED),
        Outcome(letter, Result.REWRAPPED),
    ]
    assert letter.stat().st_mode & 0o777 == 0o640
    for path in (letter, deep):
        assert Envelope.parse(path.read_bytes()).body == before[path].body
        assert old.opens(made, path)
        assert old.opens(old.loaded, path)
    hidden(old.vaults[1]).rename(hidden(old.vaults[1]).with_suffix(".away"))
    assert old.opens(made, letter)  # by the new token and the third, which the old key could not
    with pytest.raises(TokenNotFound):
        old.opens(old.loaded, letter)


def test_an_interrupted_succession_goes_on(old: Old) -> None:
    first, second = old.envelope("first"), old.envelope("second")
    made = succeed(old.setting, old.new, Succession("new"))
    assert old.rewrap(made, first)[0].result is Result.REWRAPPED
    rest = b"half of a file that was being written"
    (old.folder / ".second.0123.part").write_bytes(rest)
    again = succeed(old.setting, old.new, Succession("new"))
    assert again.value == made.value
    results = [(outcome.path, outcome.result) for outcome in old.rewrap(again, old.folder)]
    assert results == [(first, Result.ALREADY), (second, Result.REWRAPPED)]


def test_a_bad_file_is_reported_and_stops_no_other(old: Old) -> None:
    torn, whole = old.envelope("a-torn"), old.envelope("b-whole")
    octets = torn.read_bytes()
    torn.write_bytes(octets[:-30])
    plain = old.folder / "plain"
    plain.write_text("no envelope")
    made = succeed(old.setting, old.new, Succession("new"))
    found = old.rewrap(made, torn, whole, plain, old.folder / "absent")
    assert [o.result for o in found] == [Result.FAILED, Result.REWRAPPED, Result.OTHER, Result.FAILED]
    assert torn.read_bytes() == octets[:-30]
    assert found[0].reason
    assert [path.name for path in sorted(old.folder.iterdir())] == ["a-torn", "b-whole", "plain"]


def test_an_archive_for_the_old_key_is_named(old: Old, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "letter").write_bytes(PAYLOAD)
    public = descriptor.group_public(old.loaded.key("decryption"))
    archive, other, strange = (old.folder / name for name in ("archive", "other", "strange"))
    make_archive(tmp_path / "root", archive, [RecipientKey(public)])
    make_archive(tmp_path / "root", other)
    strange.write_bytes(b"\xf4 begins like a sequence")
    before = archive.read_bytes()
    made = succeed(old.setting, old.new, Succession("new"))
    (outcome,) = old.rewrap(made, old.folder)
    assert (outcome.path, outcome.result) == (archive, Result.FAILED)
    assert outcome.reason == "a sequence gets no more readers: write it anew for threshold:new"
    assert archive.read_bytes() == before


def test_ended_signatures_are_told_and_a_quorum_may_sign_anew(old: Old, new_vault: NewVault) -> None:
    board = Store(old.host.home).at("board")
    provision(board, old.host, old.options, Request(2, old.vaults, Suite.S25519, encrypts=False))
    signer = open_signer("board", old.host.home, old.options)
    public = descriptor.group_public(old.loaded.key("decryption"))
    path = old.envelope("signed", Outline(readers=[RecipientKey(public)], signers=[signer]))
    made = succeed(old.setting, old.new, Succession("new"))
    (outcome,) = rewrap_files(old.loaded, made, [path], old.options, signers=[signer])
    assert outcome.signed_by == (signer.udf,)
    with OpenTokens(old.options) as tokens:
        ring = KeyRing([ThresholdPrivateKey(made, tokens)])
        opened = open_envelope(Envelope.parse(path.read_bytes()), ring)
    assert opened.signers == (signer.public,)


def test_too_few_holders_change_no_file(old: Old) -> None:
    path = old.envelope("letter")
    octets = path.read_bytes()
    made = succeed(old.setting, old.new, Succession("new"))
    for vault in old.vaults[:2]:
        hidden(vault).rename(hidden(vault).with_suffix(".away"))
    with pytest.raises(TokenNotFound, match="needs 2 holders and 1 are here"):
        old.rewrap(made, old.folder)
    assert path.read_bytes() == octets
    assert list(old.folder.iterdir()) == [path]


def test_successions_that_are_refused(old: Old, new_vault: NewVault) -> None:
    provision(old.new, old.host, old.options, Request(1, [new_vault("four")], Suite.S25519, signs=False))
    with pytest.raises(StateError, match="already"):
        succeed(old.setting, old.new, Succession("new"))
    third = Store(old.host.home).at("third")
    with pytest.raises(UsageError, match="one share"):
        succeed(old.setting, third, Succession("third", {1: old.vaults[1]}))
    with pytest.raises(UsageError, match="no holder 9"):
        succeed(old.setting, third, Succession("third", {9: new_vault("five")}))
    renewable = Store(old.host.home).at("renewable")
    request = Request(2, old.vaults, Suite.S25519, signs=False, renewable=True)
    provision(renewable, old.host, old.options, request)
    with pytest.raises(NotSupported, match="can be renewed as it is"):
        succeed(Setting(renewable, old.host, old.options), third, Succession("third"))
    assert not third.exists
