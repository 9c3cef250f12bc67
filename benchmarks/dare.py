"""Envelopes and archives against age (pyrage), appends against themselves at a hundred times the length."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyrage

from benchmarks.harness import Figure
from meshhw.algorithms import Algorithm, PrivateKey
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.local import LocalKey
from meshhw.dare.prepare import Outline
from meshhw.dare.read import read_stream
from meshhw.dare.sequence_write import SequenceWriter, create
from meshhw.dare.signing import Signer
from meshhw.dare.write import write_stream

MEBIBYTES = 256
_KEY = LocalKey(PrivateKey(Algorithm.X25519, os.urandom(32)))
_SIGNER = LocalKey(PrivateKey(Algorithm.ED25519, os.urandom(32)))


def encrypt(plain: Path, envelope: Path, signers: list[Signer]) -> None:
    """One envelope of a file."""
    outline = Outline(readers=[RecipientKey(_KEY.public)], signers=signers)
    with plain.open("rb", buffering=0) as source, envelope.open("wb", buffering=0) as target:
        write_stream(source, target, outline, length=plain.stat().st_size)


def decrypt(envelope: Path, plain: Path) -> None:
    """And back."""
    with envelope.open("rb", buffering=0) as source, plain.open("wb", buffering=0) as target:
        read_stream(source, target.write, KeyRing([_KEY]))


def append(path: Path, count: int) -> None:
    """That many small entries with one flush."""
    with SequenceWriter(path) as writer:
        for _ in range(count):
            writer.append(b"an entry of the usual length, more or less" * 2)


def figures() -> Iterator[Figure]:
    """256 MiB through envelopes and age, then appends to a short and a long sequence."""
    with tempfile.TemporaryDirectory() as kept:
        directory = Path(kept)
        yield from _envelopes(directory)
        yield from _appends(directory)


def _envelopes(directory: Path) -> Iterator[Figure]:
    plain, out = directory / "plain", directory / "out"
    plain.write_bytes(os.urandom(MEBIBYTES << 20))
    identity = pyrage.x25519.Identity.generate()
    age = directory / "age"

    def age_encrypt() -> None:
        pyrage.encrypt_file(str(plain), str(age), [identity.to_public()])

    def age_decrypt() -> None:
        pyrage.decrypt_file(str(age), str(out), [identity])

    for name, signers, limit in (("unsigned", [], 0.5), ("signed", [_SIGNER], 1.0)):
        envelope = directory / name
        what = f"{MEBIBYTES} MiB, {name}"
        yield Figure(
            f"encrypt {what}",
            lambda to=envelope, by=signers: encrypt(plain, to, by),
            age_encrypt,
            "age (pyrage)",
            limit=limit,
            rounds=7,
        )
        yield Figure(
            f"decrypt {what}",
            lambda of=envelope: decrypt(of, out),
            age_decrypt,
            "age (pyrage)",
            limit=limit,
            rounds=7,
        )
    for path in (plain, out, age, directory / "signed", directory / "unsigned"):
        path.unlink()


def _appends(directory: Path) -> Iterator[Figure]:
    short, long = directory / "short", directory / "long"
    for path, count in ((short, 1_000), (long, 100_000)):
        create(path)
        append(path, count)
    yield Figure(
        "append 1,000 entries at 100,000",
        lambda: append(long, 1_000),
        lambda: append(short, 1_000),
        "at 1,000",
        limit=1.2,
        rounds=9,
    )
