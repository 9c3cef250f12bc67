"""Escrow and recovery: the published shares, our own sheets, and every way in which shares can be wrong."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path

import pytest

from meshhw.algorithms import Suite
from meshhw.errors import (
    IntegrityError,
    InvalidName,
    KeyNotFound,
    MeshError,
    NotSupported,
    ShareError,
    UsageError,
)
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.uri import TokenURI
from meshhw.managers.account import escrow
from meshhw.managers.account.codes import png_of, terminal
from meshhw.managers.account.directory import AccountDirectory
from meshhw.managers.account.manager import AccountManager
from meshhw.managers.account.recovering import saved_profile
from meshhw.managers.account.sharetokens import provision, share_on
from meshhw.managers.account.sheets import pdf, write_sheets
from meshhw.managers.device import DeviceManager
from meshhw.managers.host import Host, ProfileRecord
from meshhw.managers.profilemaking import ProfileRequest
from meshhw.threshold.secret import split
from meshhw.udf import Seed, Specifier
from tests.account.killing import killed_everywhere
from tests.account.vaults import cheap_vault

VECTOR = json.loads((Path(__file__).parents[1] / "vectors/schema_account_seed_alice.json").read_text())
SEED = Seed.parse(VECTOR["seed_udf"])
OPTIONS = OpenOptions(Scripted({PinKind.VAULT: "a passphrase"}))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    return Host(tmp_path / "home")


def account(host: Host, *, native: bool = False, **request: object) -> ProfileRecord:
    with AccountManager(host, OPTIONS) as manager:
        wanted = ProfileRequest(tokens=cheap_vault(host.home, OPTIONS), **request)  # type: ignore[arg-type]  # passed through
        return manager.create(manager.plan("alice@example.com", wanted, native=native))


@pytest.mark.parametrize("pair", list(combinations(VECTOR["shares"], 2)))
def test_any_two_published_shares_give_the_published_account(pair: tuple[str, str]) -> None:
    found = escrow.recovered_seed(pair)
    assert found.seed == SEED
    assert found.udf == "MARP-HH6B-D2JW-WLQ6-RWPQ-2SLS-AI2V"
    assert found.suite is Suite.S448


@pytest.mark.parametrize("suite", Suite)
def test_sheets_give_the_account_again_in_its_suite(host: Host, suite: Suite) -> None:
    record = account(host, suite=suite)
    sheets = escrow.make_sheets(host, record, OPTIONS, 2, 3)
    for chosen in combinations(sheets, 2):
        found = escrow.recovered_seed([sheet.code for sheet in chosen])
        assert (found.udf, found.suite) == (record.udf, suite)
    escrow.erase_seed(host, record)
    with pytest.raises(NotSupported, match="is not here"):
        escrow.make_sheets(host, record, OPTIONS, 2, 3)


def test_a_native_account_cannot_be_escrowed(host: Host) -> None:
    record = account(host, native=True)
    with pytest.raises(NotSupported, match="is not here"):
        escrow.make_sheets(host, record, OPTIONS, 2, 3)


@pytest.mark.parametrize(("threshold", "count"), [(0, 3), (4, 3), (2, 16), (1, 0)])
def test_impossible_numbers_are_refused(host: Host, threshold: int, count: int) -> None:
    with pytest.raises(UsageError):
        escrow.make_sheets(host, account(host), OPTIONS, threshold, count)


def test_keys_that_no_share_brings_back_are_named(host: Host) -> None:
    record = account(host)
    with DeviceManager(host, OPTIONS) as devices:
        device = devices.create(ProfileRequest(tokens=cheap_vault(host.home, OPTIONS), label="laptop"))
    named = escrow.not_covered(host, record)
    assert [line.split(" (")[0] for line in named] == [f"{key.role} of laptop" for key in device.keys]


SHARES = VECTOR["shares"]
OTHER = [share.text for share in split(b"\xc8" + Seed.generate(Specifier.PROFILE_ACCOUNT).data, 2, 3)]
DEVICE = [share.text for share in split(b"\xc8" + Seed.generate(Specifier.PROFILE_DEVICE).data, 2, 3)]
ALICE = "MARP-HH6B-D2JW-WLQ6-RWPQ-2SLS-AI2V"


@pytest.mark.parametrize(
    ("texts", "error"),
    [
        ([], UsageError),
        ([ALICE], UsageError),
        (SHARES[:1], ShareError),
        ([SHARES[0], SHARES[0]], ShareError),
        ([ALICE, SHARES[0], OTHER[1]], ShareError),
        ([f"{ALICE} {OTHER[0]}", f"{ALICE} {OTHER[1]}"], ShareError),
        ([f"{ALICE} {SHARES[0]}", f"MAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAA {SHARES[1]}"], ShareError),
        (DEVICE[:2], ShareError),
        ([SHARES[0], "not a share!"], InvalidName),
        ([SHARES[0], "NDTL-GUGD-IBJR-4ENF-M4E3-7YJY-OCLR"], InvalidName),
    ],
)
def test_wrong_mixed_and_too_few_shares_are_errors(texts: list[str], error: type[Exception]) -> None:
    with pytest.raises(error):
        escrow.recovered_seed(texts)


def test_one_changed_share_of_three_is_named_and_not_used() -> None:
    changed = SHARES[1][:-9] + ("A" if SHARES[1][-9] != "A" else "B") + SHARES[1][-8:]
    found = escrow.recovered_seed([ALICE, SHARES[0], changed, SHARES[2]])
    assert found.seed == SEED
    assert found.wrong == (2,)


def test_a_saved_profile_must_be_the_recovered_accounts(host: Host, tmp_path: Path) -> None:
    record = account(host, seed=SEED)
    directory = host.home / "accounts" / record.udf
    found = escrow.recovered_seed(SHARES[:2])
    assert saved_profile(directory, found).address == "alice@example.com"
    assert saved_profile(directory / "profile.dare", found).version == 1
    with pytest.raises(IntegrityError, match="the shares give"):
        saved_profile(directory, escrow.recovered_seed(OTHER[:2]))
    with pytest.raises(KeyNotFound):
        saved_profile(tmp_path, found)
    with pytest.raises(FileNotFoundError):
        saved_profile(tmp_path / "nothing", found)


def test_sheets_are_written_for_their_owner_alone(host: Host, tmp_path: Path) -> None:
    sheets = escrow.make_sheets(host, account(host), OPTIONS, 2, 3)
    written = write_sheets(sheets, tmp_path / "sheets")
    assert [path.name for path in written] == [
        f"share-{i}.{kind}" for i in (1, 2, 3) for kind in ("pdf", "png")
    ]
    assert {path.stat().st_mode & 0o777 for path in written} == {0o600}
    assert png_of(sheets[0].code).startswith(b"\x89PNG\r\n")
    assert len(terminal(sheets[0].code).splitlines()) > 15
    assert sheets[0].share not in repr(sheets[0])


def test_a_sheet_is_a_whole_pdf_with_the_share_in_it(host: Host) -> None:
    sheet = escrow.make_sheets(host, account(host), OPTIONS, 2, 3)[0]
    page = pdf(sheet)
    start = int(page.rsplit(b"startxref\n", 1)[1].split()[0])
    offsets = re.findall(rb"^(\d{10}) 00000 n", page[start:], re.MULTILINE)
    for number, offset in enumerate(offsets, start=1):
        assert page[int(offset) :].startswith(b"%d 0 obj\n" % number)
    shown = b"".join(re.findall(rb"\(([^)]*)\) Tj", page)).replace(b" ", b"")
    assert sheet.udf.encode() in shown
    assert sheet.share.encode() in shown
    length = int(re.search(rb"/Length (\d+)", page).group(1))  # type: ignore[union-attr]  # it is there
    assert page.split(b"stream\n", 1)[1][length:].startswith(b"\nendstream")


def vault(path: Path) -> TokenURI:
    path.mkdir(mode=0o700)
    return cheap_vault(path, OPTIONS)[0]


def test_tokens_keep_shares_in_place_of_paper(host: Host, tmp_path: Path) -> None:
    record = account(host, suite=Suite.S25519)
    sheets = escrow.make_sheets(host, record, OPTIONS, 2, 3)
    tokens = [vault(tmp_path / name) for name in ("drawer", "bank")]
    [left] = provision(sheets, tokens, OPTIONS)
    assert left == sheets[2]
    for texts in (
        [share_on(token, OPTIONS) for token in tokens],
        [share_on(tokens[1], OPTIONS, record.udf), left.code],
    ):
        assert escrow.recovered_seed(texts).udf == record.udf
    with pytest.raises(KeyNotFound):
        share_on(tokens[0], OPTIONS, "MARP-HH6B-D2JW-WLQ6-RWPQ-2SLS-AI2V")
    boxes = [path.read_bytes() for path in tmp_path.rglob("*.box")]
    assert not any(sheet.share.encode() in box for sheet in sheets for box in boxes)


def test_shares_go_to_as_many_tokens_or_to_none(host: Host, tmp_path: Path) -> None:
    record = account(host, suite=Suite.S25519)
    sheets = escrow.make_sheets(host, record, OPTIONS, 2, 2)
    drawer = vault(tmp_path / "drawer")
    for wrong in ([drawer, drawer], [drawer, vault(tmp_path / "b"), vault(tmp_path / "c")]):
        with pytest.raises(UsageError):
            provision(sheets, wrong, OPTIONS)
    absent = TokenURI.make("software", vault=str(tmp_path / "absent" / "keys"))
    with pytest.raises(MeshError):
        provision(sheets, [drawer, absent], OPTIONS)
    with pytest.raises(KeyNotFound):
        share_on(drawer, OPTIONS)


def test_killed_while_it_is_escrowed_the_seed_is_here_or_the_shares_give_it(
    host: Host, tmp_path: Path
) -> None:
    record = account(host, suite=Suite.S25519)
    keepers = [Host(tmp_path / name).home for name in ("first", "second")]
    tokens = [uri for home in keepers for uri in cheap_vault(home, OPTIONS)]

    def command() -> None:
        escrow_to(host, record, tokens)

    found = set()
    for _ in killed_everywhere([host.home, *keepers], command):
        here = AccountDirectory(host.home, record.udf).seed(OPTIONS)
        if here is None:
            shares = [share_on(token, OPTIONS) for token in tokens]
            assert escrow.recovered_seed(shares).udf == record.udf
        else:
            assert escrow.root_udf(here, record.suite) == record.udf
        found.add(here is None)
    assert found == {True, False}


def escrow_to(host: Host, record: ProfileRecord, tokens: list[TokenURI]) -> None:
    """The steps of `account escrow --to`, in its order."""
    sheets = escrow.make_sheets(host, record, OPTIONS, 2, 2)
    assert provision(sheets, tokens, OPTIONS) == []
    escrow.erase_seed(host, record)
    escrow.state_roles(host, record, OPTIONS)


def test_killed_while_sheets_are_written_the_seed_is_here_or_the_sheets_give_it(
    host: Host, tmp_path: Path
) -> None:
    """Each file is whole or absent, and the seed goes only after the last; a repetition replaces them all."""
    record = account(host, suite=Suite.S25519)
    out = Host(tmp_path / "sheets").home

    def command() -> None:
        write_sheets(escrow.make_sheets(host, record, OPTIONS, 2, 3), out)
        escrow.erase_seed(host, record)
        escrow.state_roles(host, record, OPTIONS)

    found = set()
    for _ in killed_everywhere([host.home, out], command):
        here = AccountDirectory(host.home, record.udf).has_seed
        shares = [shares_in(path) for path in sorted(out.glob("share-*.pdf"))]
        assert all(path.read_bytes().endswith(b"IEND\xaeB`\x82") for path in out.glob("share-*.png"))
        if len(shares) >= 2:
            assert escrow.recovered_seed(shares[-2:]).udf == record.udf
        assert here or len(shares) == len(list(out.glob("*.png"))) == 3
        found.add((here, len(shares)))
    assert found >= {(True, 0), (True, 1), (True, 2), (True, 3), (False, 3)}


def shares_in(path: Path) -> str:
    """What a person would type from a sheet: the account's name and the share. The page must be whole."""
    page = path.read_bytes()
    assert page.endswith(b"%%EOF\n")
    lines = [line.decode() for line in re.findall(rb"\(([^)]*)\) Tj", page)]
    share = "".join(lines[lines.index("") + 1 :])
    name = re.search(r"M[A-Z2-7]{3}(-[A-Z2-7]{4})+", " ".join(lines))
    assert name is not None
    return f"{name.group()} {share}"
