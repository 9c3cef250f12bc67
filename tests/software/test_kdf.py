"""Argon2id: two libraries that agree, and the bounds."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from meshhw_software import kdf
from meshhw_software.kdf import Cost, derive

from meshhw.errors import IntegrityError, UsageError

CHEAP = Cost(kdf.MEMORY_KIB[0], kdf.ITERATIONS[0])


@settings(max_examples=5)
@given(passphrase=st.text(max_size=40), salt=st.binary(min_size=16, max_size=16))
def test_openssl_and_libsodium_agree(passphrase: str, salt: bytes) -> None:
    secret = passphrase.encode()
    assert kdf._by_cryptography(secret, salt, CHEAP) == kdf._by_sodium(secret, salt, CHEAP)


def test_the_default_costs_what_it_should() -> None:
    assert Cost() == Cost(memory_kib=128 * 1024, iterations=4, lanes=1)
    Cost().check()


@pytest.mark.parametrize(
    "cost",
    [
        Cost(19_455, 3, 1),
        Cost(65_536, 1, 1),
        Cost(65_536, 3, 0),
        Cost(65_536, 3, 9),
        Cost(1_048_577, 3, 1),
        Cost(65_536, 17, 1),
        Cost(1_048_576, 5, 1),
    ],
)
def test_parameters_out_of_bounds_are_refused(cost: Cost) -> None:
    with pytest.raises(IntegrityError, match="bounds"):
        derive("p", bytes(16), cost)


def test_a_salt_of_another_length_and_an_endless_passphrase_are_refused() -> None:
    with pytest.raises(IntegrityError):
        derive("p", bytes(15), CHEAP)
    with pytest.raises(UsageError):
        derive("p" * 2000, bytes(16), CHEAP)


def test_a_vault_of_several_lanes_is_opened_too() -> None:
    lanes = Cost(kdf.MEMORY_KIB[0], kdf.ITERATIONS[0], 4)
    assert derive("p", bytes(16), lanes) != derive("p", bytes(16), CHEAP)
    assert derive("p", bytes(16), lanes) == kdf._by_cryptography(b"p", bytes(16), lanes)


LITTLE_MEMORY = """
import resource
from meshhw_software import kdf
from meshhw.errors import StateError
cost = kdf.Cost(262_144, 2, {lanes})
kdf.derive("p", bytes(16), kdf.Cost(19_456, 2, {lanes}))
resource.setrlimit(resource.RLIMIT_AS, (128 << 20, resource.RLIM_INFINITY))
try:
    kdf.derive("p", bytes(16), cost)
except StateError as error:
    print(error.message)
"""


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_vault_that_takes_more_memory_than_there_is_says_so(lanes: int) -> None:
    program = LITTLE_MEMORY.format(lanes=lanes)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("opening the vault takes 256 MiB"), done.stderr
