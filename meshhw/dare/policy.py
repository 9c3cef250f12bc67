"""Who the frames of a sequence are for: kept in its first frame, so that whoever appends need not know."""

from __future__ import annotations

from collections.abc import Sequence

from meshhw.dare.exchange import RecipientKey
from meshhw.dare.header import spelled
from meshhw.dare.keys import public_from_jose, public_to_jose
from meshhw.dare.sequence import SequenceFile
from meshhw.errors import FormatError
from meshhw.jsonbcd import Value


def session_policy(readers: Sequence[RecipientKey]) -> dict[str, Value]:
    """The policy of a sequence that is encrypted to these keys, once a session; empty for none."""
    if not readers:
        return {}
    return {
        "Encryption": "Session",
        "EncryptKeys": [spelled(public_to_jose(reader.public)) for reader in readers],
    }


def readers_of(sequence: SequenceFile) -> list[RecipientKey]:
    """The keys that a sequence of ours is encrypted to. Raises FormatError."""
    if not sequence.is_ours:
        raise FormatError("only sequences that this program made are appended to")
    keys = (sequence.first.header.policy or {}).get("EncryptKeys", [])
    if not isinstance(keys, list):
        raise FormatError("the sequence's policy is damaged")
    return [RecipientKey(public_from_jose(key)) for key in keys]
