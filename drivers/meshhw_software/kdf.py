"""From a passphrase to the vault's key-encrypting key: Argon2id (RFC 9106), one derivation per unlock.

The parameters stand in the vault's header, so they are bounded when read: below, so that nobody weakens a
vault by editing it; above, so that a file cannot take all memory or an hour.
"""

from __future__ import annotations

import secrets
import unicodedata
from dataclasses import dataclass

from meshhw.errors import IntegrityError, StateError, UsageError

SALT_OCTETS = 16
KEY_OCTETS = 32
MEMORY_KIB = range(19_456, 1_048_576 + 1)
ITERATIONS = range(2, 16 + 1)
LANES = range(1, 8 + 1)
MOST_WORK = 4 * 1_048_576
"""Memory in KiB times iterations; about half a minute of one core."""
LONGEST_PASSPHRASE = 1024


@dataclass(frozen=True, slots=True)
class Cost:
    """What a derivation costs: `memory_kib` KiB are filled `iterations` times in `lanes` lanes.

    The default takes about a quarter of a second. One lane, so that libsodium can compute it, which needs 0.6
    of OpenSSL's time: as many guesses of an attacker cost their owner less.
    """

    memory_kib: int = 131_072
    iterations: int = 4
    lanes: int = 1

    def check(self) -> None:
        """Raises IntegrityError for parameters outside the bounds."""
        within = self.memory_kib in MEMORY_KIB and self.iterations in ITERATIONS and self.lanes in LANES
        if not within or self.memory_kib * self.iterations > MOST_WORK:
            raise IntegrityError(
                f"the vault's Argon2id parameters are out of bounds ({self.memory_kib} KiB, "
                f"{self.iterations} iterations, {self.lanes} lanes)",
                hint="the vault's header was changed; restore it from a backup",
            )


def new_salt() -> bytes:
    """A fresh random salt."""
    return secrets.token_bytes(SALT_OCTETS)


def derive(passphrase: str, salt: bytes, cost: Cost) -> bytes:
    """The 32-octet key of a passphrase (in Unicode form C, UTF-8).

    Raises IntegrityError, UsageError, StateError where there is not enough memory.
    """
    cost.check()
    if len(salt) != SALT_OCTETS:
        raise IntegrityError(f"the vault's salt has {len(salt)} octets, not {SALT_OCTETS}")
    if len(passphrase) > LONGEST_PASSPHRASE:
        raise UsageError(f"a passphrase has at most {LONGEST_PASSPHRASE} characters")
    secret = unicodedata.normalize("NFC", passphrase).encode()
    by = _by_sodium if cost.lanes == 1 else _by_cryptography
    try:
        return by(secret, salt, cost)
    except (MemoryError, RuntimeError) as error:  # what the two libraries raise, and for nothing else
        raise StateError(
            f"opening the vault takes {cost.memory_kib // 1024} MiB of memory, which are not to be had",
            hint="end other programs, or raise the limit (`ulimit -v`)",
        ) from error


def _by_cryptography(secret: bytes, salt: bytes, cost: Cost) -> bytes:
    """With as many lanes as there are. Raises IntegrityError where OpenSSL is older than 3.2."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    try:
        argon2id = Argon2id(
            salt=salt,
            length=KEY_OCTETS,
            iterations=cost.iterations,
            lanes=cost.lanes,
            memory_cost=cost.memory_kib,
        )
    except UnsupportedAlgorithm as error:
        raise IntegrityError(
            f"this vault uses Argon2id with {cost.lanes} lanes, which needs OpenSSL 3.2",
            hint="pip install --upgrade cryptography (its wheels bring a newer OpenSSL)",
        ) from error
    return argon2id.derive(secret)


def _by_sodium(secret: bytes, salt: bytes, cost: Cost) -> bytes:
    """With one lane, the only number that libsodium knows."""
    from nacl.pwhash import argon2id

    memory = cost.memory_kib * 1024
    return argon2id.kdf(KEY_OCTETS, secret, salt, opslimit=cost.iterations, memlimit=memory)
