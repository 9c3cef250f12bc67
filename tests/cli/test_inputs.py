"""Files that a command is to read and cannot: one line that names the file, a hint, and exit status 1."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from itertools import product
from pathlib import Path

import click
import pytest
from meshhw_software.driver import SoftwareDriver
from meshhw_software.kdf import ITERATIONS, MEMORY_KIB, Cost

from meshhw.algorithms import Algorithm, PrivateKey
from meshhw.dare.keys import private_to_jose, public_to_jose
from meshhw.dare.local import LocalKey
from meshhw.jsonbcd import to_json
from meshhw.keystore.api import OpenOptions, Seals
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.uri import TokenURI
from tests.cli.test_json import VERBS, call
from tests.privileges import modes_count

PASSPHRASE = "a passphrase of the vault"
FILE = "FILE"
"""Where the words of a call have the file that cannot be read."""

CALLS = {
    "dare encode": "FILE out",
    "dare encode --encrypt": "letter out --encrypt FILE",
    "dare decode": "FILE out",
    "dare decode --key": "envelope out --key FILE",
    "dare decode --response": "envelope out --response FILE",
    "dare verify": "FILE",
    "dare verify --signer": "envelope --signer FILE",
    "dare verify --detached": "detached --detached FILE",
    "dare verify --proof": "sequence --proof FILE",
    "dare info": "FILE",
    "dare rewrap": "FILE out --encrypt public.json",
    "dare rewrap --encrypt": "envelope out --encrypt FILE",
    "dare rewrap --key": "envelope out --encrypt public.json --key FILE",
    "dare rewrap --signer": "envelope out --encrypt public.json --key private.json --signer FILE",
    "dare append": "sequence FILE",
    "dare append --encrypt": "other letter --encrypt FILE",
    "dare list": "FILE",
    "dare list --key": "sequence --names --key FILE",
    "dare prove": "FILE 0",
    "dare archive --encrypt": "directory out --encrypt FILE",
    "dare archive --key": "directory archive --update --key FILE",
    "dare extract": "FILE out",
    "dare extract --key": "archive out --key FILE",
    "dare extract --signer": "archive out --signer FILE",
    "device complete": "FILE",
    "device create --from-seed": "--on software: --from-seed @FILE",
    "device verify": "FILE",
    "device request --pin": "alice@example.com --pin @FILE --out out",
    "key attest --root": "maker --root FILE",
    "key import": "FILE --on software:",
    "key sign": "maker FILE",
    "account connect": "FILE --out out",
    "account policy --trust": "--trust FILE",
    "account recover": "@FILE --on software:",
    "account recover --from": "@shares --on software: --from FILE",
    "account admin add": "FILE",
    "contact import": "FILE",
    "password add": "example.com alice @FILE",
    "network add": "home @FILE",
    "threshold device --add": "team --add FILE",
    "threshold request": "FILE --out out",
    "threshold respond": "FILE --out out",
    "threshold sign": "team FILE",
    "udf digest": "FILE",
    "udf key": "FILE",
    "udf split": "@FILE -t 2 -n 3",
    "udf recover": "@FILE",
}
MADE_OR_WRITTEN = {"--out", "--report", "--publish", "--png", "--socket"}
"""Options whose files and directories a command makes."""
MADE = {"device export", "contact export", "account group export"}
"""Verbs whose file is what they write."""
DIRECTORIES = {"device claimed", "account claim", "account sync", "dare archive"}
"""Verbs that are given a directory; `dare archive` is below, the others' share is tested in tests/sync."""
OF_MANY = {"threshold rewrap", "threshold refresh", "threshold replace"}
"""Verbs that go on with other files and tell of each; tests/threshold_manager/test_succession.py."""


def a_loop(path: Path) -> None:
    path.symlink_to(path)


def below_a_file(path: Path) -> None:
    path.parent.write_text("no directory")


def nothing(_path: Path) -> None:
    return


KINDS: dict[str, tuple[str, Callable[[Path], object], int]] = {
    "missing": ("nothing-here", nothing, errno.ENOENT),
    "a directory": ("a-directory", Path.mkdir, errno.EISDIR),
    "beneath a file": ("a-file/beneath", below_a_file, errno.ENOTDIR),
    "a loop of links": ("loop", a_loop, errno.ELOOP),
    "closed to this user": ("closed", lambda path: path.touch(0o000), errno.EACCES),
}


EXCEPT = {("account recover --from", "a directory")}  # what was saved may be one


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with a file of each kind that commands read, and a home with a key, an account, a team."""
    place = tmp_path_factory.mktemp("inputs")
    private = PrivateKey(Algorithm.X448, bytes(range(56)))
    (place / "private.json").write_bytes(to_json(private_to_jose(private)))
    (place / "public.json").write_bytes(to_json(public_to_jose(LocalKey(private).public)))
    (place / "letter").write_text("something to read")
    (place / "directory").mkdir()
    (place / "directory" / "letter").write_text("something to read")
    (place / "pins").write_text(f"{PASSPHRASE}\nnew={PASSPHRASE}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("MESHHW_HOME", str(place / "home"))
        patch.setenv("MESHHW_PKCS11_MODULES", "")
        patch.setenv("MESHHW_PIN_SOURCE", f"file:{place}/pins")
        make_vault()
        for words in PREPARED:
            assert call(words.split()) == 0, words
        with redirect_stdout(StringIO()) as told:
            assert call(["account", "escrow", "--json"]) == 0
        (place / "shares").write_text("\n".join(one["code"] for one in json.loads(told.getvalue())["shares"]))
        yield place


def make_vault() -> None:
    """One whose passphrase is as quickly checked as is still allowed."""
    token = SoftwareDriver(Cost(MEMORY_KIB[0], ITERATIONS[0])).open(
        TokenURI.make("software"), OpenOptions(Scripted({PinKind.VAULT: PASSPHRASE}))
    )
    assert isinstance(token, Seals)
    token.seal(b"it is made when something is first put into it", b"")
    token.close()


PREPARED = (
    "dare encode letter envelope --encrypt public.json",
    "dare append sequence letter",
    "dare archive directory archive",
    "key generate --on software: --algorithm Ed25519 --label maker",
    "dare encode letter detached --sign maker --detached",
    "device create --on software: --suite 25519",
    "account create alice@example.com --on software: --suite 25519",
    "threshold provision team --threshold 1 --on software: --use sign",
)


@pytest.mark.parametrize(("name", "kind"), [pair for pair in product(CALLS, KINDS) if pair not in EXCEPT])
def test_a_file_that_cannot_be_read_is_told_by_its_name(
    name: str, kind: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    below, make, code = KINDS[kind]
    path = tmp_path / below
    make(path)
    before = contents(place)
    verb = [word for word in name.split() if not word.startswith("--")]
    words = [word.replace(FILE, str(path)) for word in CALLS[name].split()]
    with modes_count():
        status = call([*verb, *words])
    told = capsys.readouterr()
    assert (status, told.out) == (1, ""), told.err
    *_, line, hint = told.err.strip().split("\n")
    assert line == f"meshhw: {path}: {os.strerror(code)}"
    assert hint.startswith("hint: ")
    assert contents(place) == before


def contents(place: Path) -> dict[Path, bytes]:
    """Every file beneath but those of the home, which a use of a key is written down in."""
    return {path: path.read_bytes() for path in place.rglob("*") if path.is_file() and not under_home(path)}


def under_home(path: Path) -> bool:
    return "home" in path.parts


@pytest.mark.parametrize("kind", ["missing", "beneath a file", "a loop of links"])
def test_a_directory_that_cannot_be_archived(
    kind: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    below, make, code = KINDS[kind]
    make(tmp_path / below)
    assert call(["dare", "archive", str(tmp_path / below), "out"]) == 1
    told = capsys.readouterr().err.strip().split("\n")
    assert told[-2] == f"meshhw: {tmp_path / below}: {os.strerror(code)}"
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    "words", ["udf split @binary -t 2 -n 3", "udf recover @binary", "udf split - -t 2 -n 3"]
)
def test_a_secret_that_is_no_text(words: str, place: Path) -> None:
    secret = b"\xf5secret\xff"
    (place / "binary").write_bytes(secret)
    command = [sys.executable, "-m", "meshhw", *words.split()]
    told = subprocess.run(command, cwd=place, input=secret, capture_output=True, check=False)
    assert told.returncode == 2
    name, what = "stdin" if " - " in words else "binary", "share" if "recover" in words else "secret"
    assert told.stderr.decode().startswith(f"meshhw: {name} is not the text of a {what}\nhint: ")
    assert b"secret\xff" not in told.stdout + told.stderr


def test_every_file_that_a_command_reads_is_among_them() -> None:
    """By the command tree itself: a parameter that names a file is read here, or is one that is written."""
    left = set()
    for words, command in VERBS.items():
        for parameter in command.params:
            named = f"{' '.join(words)} {option_of(parameter)}".strip()
            if is_file(parameter) and named not in CALLS and not is_known(" ".join(words), parameter):
                left.add(named)
    assert left == set()


def is_file(parameter: click.Parameter) -> bool:
    """Whether it is a path, or a word that may name a file."""
    if parameter.name in ("home", "pin_source"):
        return False
    metavar = parameter.metavar or ""
    words = ("FILE", "SHARE", "SECRET", "PASSWORD", "RECIPIENT", "PRIVATE", "PUBLIC")
    return "Path" in type(parameter.type).__name__ or any(word in metavar for word in words)


def option_of(parameter: click.Parameter) -> str:
    return parameter.opts[0] if isinstance(parameter, click.Option) else ""


def is_known(verb: str, parameter: click.Parameter) -> bool:
    return option_of(parameter) in MADE_OR_WRITTEN or verb in MADE | DIRECTORIES | OF_MANY
