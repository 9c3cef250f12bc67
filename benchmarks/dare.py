"""Envelopes against age: in process (pyrage), as processes (age), against the raw cipher and digest."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyrage
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.harness import Amount, Figure
from meshhw.algorithms import Algorithm, PrivateKey
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.keyfile import write_public
from meshhw.dare.keys import private_to_jose
from meshhw.dare.local import LocalKey
from meshhw.dare.prepare import Outline
from meshhw.dare.read import read_stream
from meshhw.dare.signing import Signer
from meshhw.dare.write import write_stream
from meshhw.jsonbcd import to_json

MEBIBYTES = int(os.environ.get("MESHHW_BENCH_MIB", "1024"))
LARGE = int(os.environ.get("MESHHW_BENCH_LARGE_MIB", "4096"))
PRIVATE = PrivateKey(Algorithm.X25519, os.urandom(32))
_KEY = LocalKey(PRIVATE)
_SIGNER = LocalKey(PrivateKey(Algorithm.ED25519, os.urandom(32)))
_SERIAL = 1 / 0.85
MESHHW = str(Path(sys.executable).with_name("meshhw"))


def encrypt(plain: Path, envelope: Path, signers: list[Signer]) -> None:
    """One envelope of a file."""
    outline = Outline(readers=[RecipientKey(_KEY.public)], signers=signers)
    with plain.open("rb", buffering=0) as source, envelope.open("wb", buffering=0) as target:
        write_stream(source, target, outline, length=plain.stat().st_size)


def decrypt(envelope: Path, plain: Path) -> None:
    """And back."""
    with envelope.open("rb", buffering=0) as source, plain.open("wb", buffering=0) as target:
        read_stream(source, target.write, KeyRing([_KEY]))


def cipher_and_digest(plain: Path) -> None:
    """The raw work of a signed envelope, one after the other and without a file written: AES-256-GCM over
    the segments, SHA-256 over what comes out."""
    cipher, digest = AESGCM(bytes(32)), hashlib.sha256()
    with plain.open("rb", buffering=0) as source:
        for number, segment in enumerate(iter(lambda: source.read(1 << 16), b"")):
            digest.update(cipher.encrypt(number.to_bytes(12, "big"), segment, None))


def figures() -> Iterator[Figure | Amount]:
    """1 GiB through envelopes and age, then the memory at 16 MiB and 4 GiB."""
    with tempfile.TemporaryDirectory() as kept:
        directory = Path(kept)
        plain = directory / "plain"
        with plain.open("wb") as file:
            for _ in range(MEBIBYTES):
                file.write(os.urandom(1 << 20))
        yield from _in_process(directory, plain)
        yield from _on_the_command_line(directory, plain)
        plain.unlink()
        yield from _memory(directory)


def _in_process(directory: Path, plain: Path) -> Iterator[Figure]:
    out, age = directory / "out", directory / "age"
    identity = pyrage.x25519.Identity.generate()

    def age_encrypt() -> None:
        pyrage.encrypt_file(str(plain), str(age), [identity.to_public()])

    def age_decrypt() -> None:
        pyrage.decrypt_file(str(age), str(out), [identity])

    for name, signers, limit in (("unsigned", [], 0.5), ("signed", [_SIGNER], 1.0)):
        envelope = directory / name
        what = f"{MEBIBYTES} MiB, {name}"
        ours = (lambda to=envelope, by=signers: encrypt(plain, to, by), lambda of=envelope: decrypt(of, out))
        yield Figure(f"encrypt {what}", ours[0], age_encrypt, "age (pyrage)", limit, rounds=5)
        yield Figure(f"decrypt {what}", ours[1], age_decrypt, "age (pyrage)", limit, rounds=5)
    serially = "AES-256-GCM and SHA-256, serially, nothing written"
    for what, run in (
        ("encrypt", lambda: encrypt(plain, directory / "signed", [_SIGNER])),
        ("decrypt", lambda: decrypt(directory / "signed", out)),
    ):
        yield Figure(
            f"{what} {MEBIBYTES} MiB, signed",
            run,
            lambda: cipher_and_digest(plain),
            serially,
            _SERIAL,
            rounds=5,
        )
    for path in (out, age, directory / "signed", directory / "unsigned"):
        path.unlink(missing_ok=True)


def _on_the_command_line(directory: Path, plain: Path) -> Iterator[Figure]:
    keys = KeyFiles(directory)
    ours, theirs, out = directory / "cli.dare", directory / "cli.age", directory / "cli.out"

    def run(*command: str) -> None:
        subprocess.run([str(part) for part in command], check=True, capture_output=True)

    what = f"{MEBIBYTES} MiB, unsigned, a process"
    yield Figure(
        f"encrypt {what}",
        lambda: run(MESHHW, "dare", "encode", str(plain), str(ours), "--encrypt", str(keys.public)),
        lambda: run("age", "-r", keys.recipient, "-o", str(theirs), str(plain)),
        "age (Debian's, in Go)",
        1 / 1.5,
        rounds=5,
    )
    yield Figure(
        f"decrypt {what}",
        lambda: run(MESHHW, "dare", "decode", str(ours), str(out), "--key", str(keys.private)),
        lambda: run("age", "-d", "-i", str(keys.identity), "-o", str(out), str(theirs)),
        "age (Debian's, in Go)",
        1 / 1.5,
        rounds=5,
    )
    for path in (ours, theirs, out):
        path.unlink()


class KeyFiles:
    """Keys for both command lines, in files."""

    def __init__(self, directory: Path) -> None:
        self.public, self.private = directory / "public.pem", directory / "private.json"
        self.identity = directory / "identity.txt"
        self.public.write_bytes(write_public(_KEY.public))
        self.private.write_bytes(to_json(private_to_jose(PRIVATE)))
        self.private.chmod(0o600)
        identity = pyrage.x25519.Identity.generate()
        self.identity.write_text(f"{identity}\n")
        self.recipient = str(identity.to_public())


_ROUND_TRIP = """
import sys
from pathlib import Path
from benchmarks import dare
plain, size, signed = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "signed"
dare.encrypt(plain, plain.with_name("envelope"), [dare._SIGNER] if signed else [])
dare.decrypt(plain.with_name("envelope"), plain.with_name("out"))
assert plain.with_name("out").stat().st_size == size
print(Path("/proc/self/status").read_text())
"""


def _memory(directory: Path) -> Iterator[Amount]:
    for mebibytes in (16, LARGE):
        for mode in ("unsigned", "signed"):
            yield Amount(
                f"peak memory of encrypting and decrypting {mebibytes} MiB, {mode}",
                lambda size=mebibytes << 20, how=mode: _peak(directory / "sparse", size, how),
                "MiB",
                80,
            )


def _peak(plain: Path, size: int, mode: str) -> float:
    with plain.open("wb") as file:
        file.truncate(size)
    peak = peak_of("-c", _ROUND_TRIP, plain, str(size), mode)
    for name in ("envelope", "out"):
        plain.with_name(name).unlink()
    return peak


def peak_of(*arguments: str | Path) -> float:
    """The most memory that Python has had, in MiB, running what prints /proc/self/status at its end."""
    command = [sys.executable, *map(str, arguments)]
    status = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1024
