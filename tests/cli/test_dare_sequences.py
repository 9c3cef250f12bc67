"""`meshhw dare append, list, prove, archive, extract` and the check of whole sequences."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from meshhw.algorithms import Algorithm, PrivateKey
from meshhw.dare.archive import make_archive
from meshhw.dare.exchange import RecipientKey
from meshhw.dare.heads import head_of, prove_frame, sign_head
from meshhw.dare.keys import private_to_jose, public_to_jose
from meshhw.dare.local import LocalKey
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_write import SequenceWriter, create
from meshhw.jsonbcd import to_json

PUBLISHED = Path(__file__).parents[1] / "vectors" / "files"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    private = PrivateKey(Algorithm.X25519, bytes(range(32)))
    (tmp_path / "private.json").write_bytes(to_json(private_to_jose(private)))
    (tmp_path / "public.json").write_bytes(to_json(public_to_jose(LocalKey(private).public)))
    (tmp_path / "one").write_bytes(b"one")
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "sub" / "file").write_bytes(b"content")
    return tmp_path


def test_append_list_prove_verify(meshhw: Any, files: Path) -> None:
    for number in (1, 2, 3):
        extra = ["--encrypt", f"{files}/public.json"] if number == 1 else []
        done = meshhw("dare", "append", f"{files}/log", f"{files}/one", *extra)
        assert done.stdout == f"{number}\n", done.stderr
    rows = json.loads(meshhw("dare", "list", f"{files}/log", "--json").stdout)
    assert [row["form"] for row in rows] == ["clear", "A256GCM-S", "A256GCM-S", "A256GCM-S"]
    done = meshhw("dare", "prove", f"{files}/log", "2", "--out", f"{files}/proof")
    assert done.returncode == 0
    checked = meshhw("dare", "verify", f"{files}/log", "--proof", f"{files}/proof", "--json")
    assert json.loads(checked.stdout)["frames"] == 4
    (files / "proof").write_text((files / "proof").read_text().replace('"Index":2', '"Index":1'))
    assert meshhw("dare", "verify", f"{files}/log", "--proof", f"{files}/proof").returncode == 6
    assert meshhw("dare", "prove", f"{files}/log", "9").returncode == 2


def test_one_frame_is_taken_out(meshhw: Any, files: Path) -> None:
    for text in ("first", "second"):
        (files / "text").write_text(text)
        meshhw("dare", "append", f"{files}/log", f"{files}/text", "--encrypt", f"{files}/public.json")
    key = ("--key", f"{files}/private.json")
    done = meshhw("dare", "decode", f"{files}/log", f"{files}/out", "--index", "2", *key)
    assert done.returncode == 0, done.stderr
    assert (files / "out").read_text() == "second"
    assert meshhw("dare", "decode", f"{files}/log", "-", "--index", "1", *key).stdout == "first"
    assert meshhw("dare", "decode", f"{files}/log", f"{files}/out", "--index", "1").returncode == 3
    for index in ("3", "-1"):
        assert (
            meshhw("dare", "decode", f"{files}/log", f"{files}/no", f"--index={index}", *key).returncode == 2
        )
    without = meshhw("dare", "decode", f"{files}/log", f"{files}/no", *key)
    assert (without.returncode, "--index says which frame" in without.stderr) == (2, True)
    assert meshhw("dare", "decode", f"{files}/text", f"{files}/no", "--index", "0").returncode == 2
    octets = bytearray((files / "log").read_bytes())
    octets[octets.rindex(b'{"PayloadDigest"') - 3] ^= 1
    (files / "log").write_bytes(octets)
    assert meshhw("dare", "decode", f"{files}/log", f"{files}/no", "--index", "2", *key).returncode == 6
    assert (files / "out").read_text() == "second"
    assert not (files / "no").exists()


def test_a_torn_tail_is_listed_but_not_verified(meshhw: Any, files: Path) -> None:
    meshhw("dare", "append", f"{files}/log", f"{files}/one")
    octets = (files / "log").read_bytes()
    (files / "log").write_bytes(octets[:-1])
    done = meshhw("dare", "list", f"{files}/log", "--json")
    assert done.returncode == 0
    assert "ends inside a frame" in done.stderr
    assert len(json.loads(done.stdout)) == 1
    assert meshhw("dare", "verify", f"{files}/log").returncode == 6
    mended = meshhw("dare", "append", f"{files}/log", f"{files}/one")
    assert "torn tail" in mended.stderr
    assert meshhw("dare", "verify", f"{files}/log").returncode == 0


@pytest.mark.parametrize("name", ["Test1Merkle", "Test1Chain", "TestBasicBookMark.dcon"])
def test_published_sequences_are_listed_and_judged(meshhw: Any, name: str) -> None:
    rows = json.loads(meshhw("dare", "list", str(PUBLISHED / name), "--json").stdout)
    assert rows[0]["index"] == 0
    digests = json.loads(meshhw("dare", "verify", str(PUBLISHED / name), "--json").stdout)["digests"]
    assert "wrong" not in digests


def test_archive_and_extract(meshhw: Any, files: Path) -> None:
    archive = f"{files}/archive"
    done = meshhw("dare", "archive", f"{files}/tree", archive, "--encrypt", f"{files}/public.json")
    assert done.returncode == 0, done.stderr
    names = meshhw("dare", "list", archive, "--names", "--key", f"{files}/private.json", "--json")
    assert [row["name"] for row in json.loads(names.stdout)] == ["sub", "sub/file"]
    hidden = meshhw("dare", "list", archive)
    assert "sub" not in hidden.stdout
    out = meshhw(
        "dare", "extract", archive, f"{files}/out", "sub/file", "--key", f"{files}/private.json", "--json"
    )
    assert json.loads(out.stdout)["extracted"] == 1
    assert (files / "out" / "sub" / "file").read_bytes() == b"content"
    assert meshhw("dare", "extract", archive, f"{files}/out2").returncode == 3
    (files / "tree" / "new").write_bytes(b"new")
    update = meshhw("dare", "archive", f"{files}/tree", archive, "--update", "--key", f"{files}/private.json")
    assert update.stdout == "entries written: 1\n", update.stderr
    assert meshhw("dare", "verify", archive).returncode == 0
    again = meshhw("dare", "archive", f"{files}/tree", archive, "--encrypt", f"{files}/public.json")
    assert again.returncode == 1


def test_only_what_the_wanted_signer_has_signed_comes_out(meshhw: Any, files: Path) -> None:
    signer, other = (LocalKey(PrivateKey(Algorithm.ED25519, bytes([n]) * 32)) for n in (1, 2))
    for name, key in (("signer", signer), ("other", other)):
        (files / name).write_bytes(to_json(public_to_jose(key.public)))
    (files / "tree" / "sub" / "second").write_bytes(b"more")
    reader = RecipientKey(LocalKey(PrivateKey(Algorithm.X25519, bytes(range(32)))).public)
    make_archive(files / "tree", files / "signed", [reader], [signer])
    make_archive(files / "tree", files / "unsigned", [reader])

    def extract(archive: str, *wanted: str) -> int:
        out = files / f"out-{archive}-{'-'.join(wanted)}"
        named = [argument for name in wanted for argument in ("--signer", f"{files}/{name}")]
        what = [f"{files}/{archive}", f"{out}", "sub/file", "--key", f"{files}/private.json"]
        status: int = meshhw("dare", "extract", *what, *named).returncode
        assert (out / "sub" / "file").exists() == (status == 0)
        return status

    assert [extract("signed", *wanted) for wanted in (["signer"], ["other"], ["signer", "other"])] == [
        0,
        6,
        6,
    ]
    assert extract("unsigned", "signer") == 6
    for name, status in (("signer", 0), ("other", 6)):
        verified = meshhw("dare", "verify", f"{files}/signed", "--signer", f"{files}/{name}")
        assert verified.returncode == status
    with SequenceFile(files / "signed", keeps_positions=False) as sequence:
        second = next(f for f in sequence.frames(2) if f.body_length == len(b"more") + 16)
        at = second.span.records[1][0]
    octets = (files / "signed").read_bytes()
    (files / "changed").write_bytes(octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :])
    assert extract("changed") == 0  # another file than the one that was asked for
    assert extract("changed", "signer") == 6


def test_a_proof_is_checked_against_a_signed_head(meshhw: Any, files: Path) -> None:
    signer, other = (LocalKey(PrivateKey(Algorithm.ED25519, bytes([n]) * 32)) for n in (1, 2))
    for name, key in (("signer", signer), ("other", other)):
        (files / name).write_bytes(to_json(public_to_jose(key.public)))
    create(files / "log")
    with SequenceWriter(files / "log") as writer:
        for number in range(5):
            if number == 3:
                (files / "earlier").write_bytes(sign_head(head_of(writer), [signer]).octets())
            writer.append(b"%d" % number)
        (files / "head").write_bytes(sign_head(head_of(writer), [signer]).octets())
        (files / "proof").write_bytes(prove_frame(writer, 2).octets())

    def verify(head: str, *wanted: str) -> int:
        named = [argument for name in wanted for argument in ("--signer", f"{files}/{name}")]
        status: int = meshhw(
            "dare", "verify", f"{files}/{head}", "--proof", f"{files}/proof", *named
        ).returncode
        return status

    assert [verify("head"), verify("head", "signer"), verify("head", "other")] == [0, 0, 6]
    assert verify("earlier", "signer") == 6  # it leads to another head than this one
    assert verify("log") == 0
    shutil.copy(files / "log", files / "diverged")
    for name, text in (("log", b"one"), ("diverged", b"another")):
        with SequenceWriter(files / name) as writer:
            writer.append(text)
            (files / "proof").write_bytes(prove_frame(writer, 2).octets())
    assert verify("log") == 6  # of the same sequence, but of a head that it never had


@pytest.mark.parametrize("verb", ["archive", "extract"])
def test_a_bar_is_drawn_where_stderr_is_a_terminal(files: Path, verb: str) -> None:
    (files / "tree" / "large").write_bytes(bytes(9 << 20))
    archive = [f"{files}/tree", f"{files}/archive", "--encrypt", f"{files}/public.json"]
    extract = [f"{files}/archive", f"{files}/out", "--key", f"{files}/private.json"]
    shown = _shown(files, "archive", *archive)
    if verb == "extract":
        shown = _shown(files, "extract", *extract)
        assert (files / "out" / "large").stat().st_size == 9 << 20
    assert b"archive" in shown
    assert b"100%" in shown


def _shown(files: Path, *args: str) -> bytes:
    """What a person sees: stderr is a terminal of its own, stdout is not."""
    leader, follower = pty.openpty()
    env = os.environ | {"MESHHW_HOME": str(files / "home"), "TERM": "xterm", "COLUMNS": "80"}
    command = [sys.executable, "-m", "meshhw", "dare", *args]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=follower, timeout=60, check=False)
    os.close(follower)
    seen = b""
    with suppress(OSError):  # the terminal is gone with its last writer
        while part := os.read(leader, 1 << 16):
            seen += part
    os.close(leader)
    assert done.returncode == 0, seen
    return seen


def test_a_sequence_that_was_put_back_is_noticed(meshhw: Any, files: Path) -> None:
    """Whatever read or wrote it here last, a shorter or another sequence in its place is refused."""
    log = files / "log"
    for _ in range(3):
        meshhw("dare", "append", f"{log}", f"{files}/one")
    old = log.read_bytes()
    assert meshhw("dare", "append", f"{log}", f"{files}/one", "--sync").returncode == 0
    new = log.read_bytes()
    log.write_bytes(old)
    for command in (("verify", f"{log}"), ("append", f"{log}", f"{files}/one")):
        done = meshhw("dare", *command)
        assert done.returncode == 6
        assert "took frames away" in done.stderr
    assert log.read_bytes() == old
    assert meshhw("dare", "verify", f"{log}", "--older").returncode == 0
    elsewhere = {"MESHHW_HOME": f"{files}/another home"}
    for name in ("private.json", "one"):
        assert meshhw("dare", "append", f"{log}", f"{files}/{name}", env=elsewhere).returncode == 0
    done = meshhw("dare", "verify", f"{log}")
    assert done.returncode == 6
    assert "diverged" in done.stderr
    log.write_bytes(new)
    assert meshhw("dare", "verify", f"{log}").returncode == 0
    log.write_bytes(old)
    assert meshhw("dare", "append", f"{log}", f"{files}/one", "--older").returncode == 0
    assert meshhw("dare", "verify", f"{log}").returncode == 0


def test_an_archive_that_was_put_back_is_noticed(meshhw: Any, files: Path) -> None:
    archive, key = files / "archive", ("--key", f"{files}/private.json")
    meshhw("dare", "archive", f"{files}/tree", f"{archive}", "--encrypt", f"{files}/public.json")
    old = archive.read_bytes()
    (files / "tree" / "new").write_bytes(b"new")
    update = ("dare", "archive", f"{files}/tree", f"{archive}", "--update", "--sync", *key)
    assert meshhw(*update).returncode == 0
    archive.write_bytes(old)
    extract = ("dare", "extract", f"{archive}", f"{files}/out", *key)
    assert meshhw(*extract).returncode == 6
    assert not (files / "out").exists()
    assert meshhw(*update).returncode == 6
    assert archive.read_bytes() == old
    assert meshhw(*extract, "--older").returncode == 0


def test_a_published_sequence_with_wrong_digests_is_not_verified(meshhw: Any, files: Path) -> None:
    octets = bytearray((PUBLISHED / "Test1Merkle").read_bytes())
    at = octets.index(bytes(range(40, 60)))
    octets[at] ^= 1
    (files / "changed").write_bytes(octets)
    done = meshhw("dare", "verify", f"{files}/changed")
    assert done.returncode == 6
    assert "other digests" in done.stderr
