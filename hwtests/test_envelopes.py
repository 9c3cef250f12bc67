"""Envelopes whose private keys are in tokens: every emulated token decrypts and signs what it says it can."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from meshhw.algorithms import Algorithm, Operation
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.prepare import Outline
from meshhw.dare.read import open_envelope, read_stream, verify_envelope
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_read import SequenceReader
from meshhw.dare.sequence_write import SequenceWriter, create
from meshhw.dare.write import seal, write_stream
from meshhw.errors import DecryptionFailed
from meshhw.keystore.api import Agrees, Generates, Key, KeySpec, Signs, Token
from meshhw.lab.fixtures_any import EmulatedToken

TEXT = b"read by whoever holds the token"


def keys_that(token: Token, operation: Operation) -> list[Key]:
    """A fresh key of every algorithm with which the token makes keys and does this."""
    if not isinstance(token, Generates):
        pytest.skip("the token makes no keys")
    able = token.capabilities()
    made = [
        token.generate(KeySpec(algorithm, f"envelope {algorithm}", frozenset((operation,))))
        for algorithm in (a for a in Algorithm if not a.value.startswith("RSA"))
        if able.can(algorithm, Operation.GENERATE, operation)
    ]
    if not made:
        pytest.skip(f"the token does not {operation.value}")
    return made


def test_decryption_in_the_token(any_token: EmulatedToken) -> None:
    token = any_token.open()
    try:
        for key in keys_that(token, Operation.AGREE):
            assert isinstance(key, Agrees)
            envelope = seal(TEXT, Outline(readers=[RecipientKey(key.public)]))
            assert open_envelope(envelope, KeyRing([key])).payload == TEXT
            members = json.loads(json.dumps(envelope.members))
            wrapped = members["recipients"][0]["wmk"]
            members["recipients"][0]["wmk"] = ("B" if wrapped[0] == "A" else "A") + wrapped[1:]
            with pytest.raises(DecryptionFailed):
                open_envelope(type(envelope)(members, envelope.body, None), KeyRing([key]))
    finally:
        token.close()


def test_signatures_of_the_token(any_token: EmulatedToken) -> None:
    token = any_token.open()
    try:
        for key in keys_that(token, Operation.SIGN):
            assert isinstance(key, Signs)
            envelope = seal(TEXT, Outline(signers=[key]))
            assert verify_envelope(envelope).signers == (key.public,)
    finally:
        token.close()


def test_a_thousand_entries_and_a_large_file(any_token: EmulatedToken, tmp_path: Path) -> None:
    token = any_token.open()
    try:
        key = keys_that(token, Operation.AGREE)[0]
        readers = [RecipientKey(key.public)]
        create(tmp_path / "s")
        with SequenceWriter(tmp_path / "s", readers) as writer:
            for number in range(1000):
                writer.append(b"entry %d" % number)
        with SequenceFile(tmp_path / "s") as sequence:
            reader = SequenceReader(sequence, KeyRing([key]))
            assert reader.open(1000).payload == b"entry 999"
            assert reader.open(1).payload == b"entry 0"
        plain, kept, out = bytes(5_000_000), io.BytesIO(), io.BytesIO()
        write_stream(io.BytesIO(plain), kept, Outline(readers=readers), length=len(plain))
        read_stream(io.BytesIO(kept.getvalue()), out.write, KeyRing([key]))
        assert out.getvalue() == plain
    finally:
        token.close()
