"""How many C_* calls an operation costs, counted by the fault module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from meshhw_pkcs11 import modules

from meshhw.algorithms import Algorithm
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_read import SequenceReader
from meshhw.dare.sequence_write import SequenceWriter, create
from meshhw.errors import OperationTimeout
from meshhw.keystore.api import KeySpec
from meshhw.lab import shim
from meshhw.lab.pkcs11_token import Pkcs11Token
from meshhw.lab.shim import Control, Trouble

Troubled = tuple[Pkcs11Token, Trouble]


def control(token: Pkcs11Token) -> Control:
    return Control(shim.control_of(Path(modules.at(token.module_path).path)))


@pytest.mark.parametrize("algorithm", [Algorithm.P256, Algorithm.P384, Algorithm.ED25519, Algorithm.ED448])
def test_a_warm_signature_takes_three_calls(troubled_softhsm: Troubled, algorithm: Algorithm) -> None:
    token: Any = troubled_softhsm[0].open()
    key = token.generate(KeySpec(algorithm))
    key.sign(b"warm")
    with control(troubled_softhsm[0]).counted() as calls:
        for _ in range(10):
            key.sign(b"message")
    assert sum(calls.values()) <= 30, calls
    token.close()


def test_a_warm_signature_takes_three_calls_of_nss(troubled_nss: Troubled) -> None:
    token: Any = troubled_nss[0].open()
    key = token.generate(KeySpec(Algorithm.P256))
    key.sign(b"warm")
    with control(troubled_nss[0]).counted() as calls:
        key.sign(b"message")
    assert sum(calls.values()) <= 3, calls
    token.close()


@pytest.mark.parametrize("algorithm", [Algorithm.P256, Algorithm.X25519, Algorithm.X448])
def test_a_warm_agreement_takes_six_calls_and_leaves_nothing(
    troubled_softhsm: Troubled, algorithm: Algorithm
) -> None:
    token: Any = troubled_softhsm[0].open()
    key, other = token.generate(KeySpec(algorithm)), token.generate(KeySpec(algorithm))
    assert key.agree(other.public) == other.agree(key.public)
    with control(troubled_softhsm[0]).counted() as calls:
        key.agree(other.public)
    assert sum(calls.values()) <= 6, calls
    assert calls["C_DestroyObject"] == calls["C_DeriveKey"] == 1
    token.close()


def test_the_driver_counts_what_the_module_counts(troubled_softhsm: Troubled) -> None:
    token: Any = troubled_softhsm[0].open()
    key = token.generate(KeySpec(Algorithm.P256))
    key.sign(b"warm")
    with control(troubled_softhsm[0]).counted() as calls:
        told = token.count_calls(lambda: (key.sign(b"message"), token.keys()))
    assert told == sum(calls.values()) > 3
    with pytest.raises(ZeroDivisionError):
        token.count_calls(lambda: 1 // 0)
    with control(troubled_softhsm[0]).counted() as calls:
        key.sign(b"message")  # the module's own functions are in their places again
    assert token.count_calls(lambda: None) == 0
    assert sum(calls.values()) == 3
    token.close()


def test_calls_of_a_read_only_list_are_counted(softhsm_token: Pkcs11Token) -> None:
    """SoftHSM's own list lies in memory that is closed to writing after it was loaded."""
    token: Any = softhsm_token.open()
    key = token.generate(KeySpec(Algorithm.P256))
    key.sign(b"warm")
    told = [token.count_calls(lambda: key.sign(b"message")) for _ in range(2)]
    assert told == [3, 3]
    token.close()


def test_a_module_that_hangs_while_it_is_counted_keeps_its_deadline(troubled_softhsm: Troubled) -> None:
    lab, trouble = troubled_softhsm
    token: Any = lab.open(deadline=2.0)
    key = token.generate(KeySpec(Algorithm.P256))
    key.sign(b"warm")
    trouble.hang("C_Sign")
    with pytest.raises(OperationTimeout):
        token.count_calls(lambda: key.sign(b"message"))
    trouble.clear()
    token.close()
    again: Any = lab.open()
    assert again.count_calls(lambda: again.key(key.uri).sign(b"message")) > 3
    again.close()


def test_a_cold_signature(troubled_softhsm: Troubled) -> None:
    first: Any = troubled_softhsm[0].open()
    made = first.generate(KeySpec(Algorithm.P256, label="cold"))
    first.close()
    with control(troubled_softhsm[0]).counted() as calls:
        token: Any = troubled_softhsm[0].open()
        token.key(made.uri).sign(b"message")
        token.close()
    slots = calls.pop("C_GetSlotInfo")
    assert calls.pop("C_GetTokenInfo") <= slots + 2
    assert calls.pop("C_Login") == calls.pop("C_Logout") == 1
    assert calls.pop("C_OpenSession") == calls.pop("C_CloseSession") == 1
    assert sum(calls.values()) <= 40, calls
    token.close()


def test_a_thousand_entries_of_a_session_take_one_agreement(
    troubled_softhsm: Troubled, tmp_path: Path
) -> None:
    token: Any = troubled_softhsm[0].open()
    key = token.generate(KeySpec(Algorithm.X25519))
    create(tmp_path / "s")
    readers = [RecipientKey(key.public)]
    with control(troubled_softhsm[0]).counted() as written, SequenceWriter(tmp_path / "s", readers) as writer:
        for number in range(1000):
            writer.append(b"entry %d" % number)
    assert not any(written.values()), written
    with control(troubled_softhsm[0]).counted() as read, SequenceFile(tmp_path / "s") as sequence:
        reader = SequenceReader(sequence, KeyRing([key]))
        for number in range(1000):
            assert reader.open(number + 1).payload == b"entry %d" % number
    assert read["C_DeriveKey"] == 1, read
    assert sum(read.values()) <= 10, read
    token.close()
