"""A vault's disk that is taken away, exchanged for another, or full."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from meshhw_software.token import VaultToken

from meshhw.algorithms import Algorithm
from meshhw.errors import KeyNotFound, TokenMismatch, TokenRemoved
from meshhw.keystore.api import KeySpec, Signs
from meshhw.keystore.interaction import PinKind, Scripted

OpenVault = Callable[..., VaultToken]
ED25519 = KeySpec(Algorithm.ED25519)


@pytest.fixture
def away(open_vault: OpenVault, home: Path) -> tuple[VaultToken, Signs, Scripted]:
    """A vault that was used and whose directory was then taken away, and whom it asks."""
    person = Scripted({PinKind.VAULT: "correct horse"})
    token = open_vault(asked=person)
    key = token.generate(ED25519)
    assert isinstance(key, Signs)
    token.store_data("a", b"1")
    (home / "vault").rename(home / "away")
    person.asked.clear()
    return token, key, person


def test_nothing_is_made_in_the_place_of_a_vault_that_was_taken_away(
    away: tuple[VaultToken, Signs, Scripted], home: Path
) -> None:
    token, key, person = away
    for use in (
        lambda: key.sign(b"m"),
        token.keys,
        lambda: token.generate(ED25519),
        lambda: token.store_data("b", b"2"),
        lambda: token.load_data("a"),
        lambda: token.delete_data("a"),
        lambda: token.seal(b"secret", b""),
    ):
        with pytest.raises(TokenRemoved) as told:
            use()
        assert told.value.exit_status == 3
        assert "bring its disk back" in told.value.hint
    assert person.asked == []
    assert not (home / "vault").exists()
    (home / "away").rename(home / "vault")
    assert len(key.sign(b"m")) == 64
    assert token.load_data("a") == b"1"


def test_another_vault_in_its_place_is_neither_asked_nor_written(
    away: tuple[VaultToken, Signs, Scripted], open_vault: OpenVault, home: Path
) -> None:
    token, key, person = away
    other = open_vault(passphrase="another one").generate(ED25519)
    before = sorted((home / "vault").rglob("*"))
    for use in (lambda: key.sign(b"m"), token.keys, lambda: token.generate(ED25519)):
        with pytest.raises(TokenMismatch):
            use()
    with pytest.raises(TokenMismatch):
        token.key(other.uri)
    assert person.asked == []
    assert sorted((home / "vault").rglob("*")) == before


def test_a_vault_that_its_owner_erased_may_be_made_anew(open_vault: OpenVault) -> None:
    token = open_vault()
    first = token.generate(ED25519)
    token.reset()
    second = token.generate(ED25519)
    (held,) = token.keys()
    assert held.uri == second.uri
    with pytest.raises(KeyNotFound):
        token.key(first.uri)


SMALL_DISK = """
mount -t tmpfs -o size=64k none "$DISK" && chmod 700 "$DISK" || exit 99
meshhw() { "$PYTHON" -m meshhw "$@" --pin-source env:PASSPHRASE; }
key=$(meshhw key generate --on "$VAULT" --algorithm Ed25519 | tail -n 1)
echo text > "$DISK/message"
dd if=/dev/zero of="$DISK/ballast" bs=1k 2>/dev/null
before=$(ls -AR "$DISK")
meshhw key generate --on "$VAULT" --algorithm Ed25519
echo "status $?"
[ "$before" = "$(ls -AR "$DISK")" ] && echo "nothing is left"
rm "$DISK/ballast"
meshhw key sign "$key" "$DISK/message" --out "$DISK/signature" && wc -c < "$DISK/signature"
meshhw key generate --on "$VAULT" --algorithm Ed25519 >/dev/null
echo "status $?"
"""


@pytest.mark.parametrize("what", ["vault", "home"])
def test_a_disk_without_room_leaves_nothing_half_written(what: str, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir(mode=0o700)
    home = disk if what == "home" else tmp_path / "home"
    vault = "software:" if what == "home" else f"software:vault={disk}/vault"
    settings = {"DISK": disk, "VAULT": vault, "MESHHW_HOME": home, "PYTHON": sys.executable}
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", SMALL_DISK],
        env=os.environ | {name: str(value) for name, value in settings.items()} | {"PASSPHRASE": "correct"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip(f"no disk of one's own can be mounted here: {done.stderr.strip()}")
    assert done.stdout.split("\n") == ["status 1", "nothing is left", "64", "status 0", ""], done.stderr
    assert "cannot be written: No space left on device" in done.stderr
    assert "hint: make room on the disk and repeat" in done.stderr
    assert "Traceback" not in done.stderr
