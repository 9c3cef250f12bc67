"""What a device remembers of its synchronisations, when the file is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshhw.errors import FormatError
from meshhw.managers.host import now
from meshhw.managers.sync.memory import remember, remembering


@pytest.mark.parametrize(
    "octets",
    [
        b"\xff\xfe",
        b'{"version":1,"left":{"\xff":"2026-01-01T00:00:00Z"}}',
        b"{",
        b"[]",
        b'{"version":"\xed\xa0\x80"}',
    ],
)
def test_a_damaged_memory_is_told_and_may_be_removed(tmp_path: Path, octets: bytes) -> None:
    path = tmp_path / "sync.json"
    path.write_bytes(octets)
    path.chmod(0o600)
    with pytest.raises(FormatError, match="is damaged") as told, remembering(tmp_path):
        pass
    assert told.value.hint is not None
    assert "remove it" in told.value.hint
    assert path.read_bytes() == octets
    path.unlink()
    with remembering(tmp_path) as (memory, found):
        memory.left["alice"] = now()
        remember(memory, found)
    with remembering(tmp_path) as (memory, _):
        assert list(memory.left) == ["alice"]
