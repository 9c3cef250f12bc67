"""Files that are damaged, changed, swapped, of a newer version, or open to others."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meshhw_software import header
from meshhw_software.header import KeyHeader
from meshhw_software.token import VaultToken

from meshhw.algorithms import Algorithm
from meshhw.errors import (
    DecryptionFailed,
    FormatError,
    InsecurePermissions,
    IntegrityError,
    MeshError,
    NewerVersion,
    PinIncorrect,
    StateError,
)
from meshhw.keystore import box
from meshhw.keystore.api import KeySpec, Signs
from meshhw.keystore.interaction import Scripted

OpenVault = Callable[..., VaultToken]
CHECKSUM = 32


@pytest.fixture
def signer(open_vault: OpenVault) -> Signs:
    key = open_vault().generate(KeySpec(Algorithm.ED25519, label="mail"))
    assert isinstance(key, Signs)
    return key


def key_file(home: Path) -> Path:
    (path,) = (home / "vault" / "keys").glob("*.box")
    return path


def mended(data: bytes) -> bytes:
    """The same octets under a checksum that fits, as a person would write them."""
    return data[:-CHECKSUM] + hashlib.sha256(data[:-CHECKSUM]).digest()


def test_a_flipped_bit_anywhere_in_a_key_file_is_noticed(
    open_vault: OpenVault, home: Path, signer: Signs
) -> None:
    path = key_file(home)
    whole = path.read_bytes()
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        with pytest.raises(IntegrityError, match=path.name):
            signer.sign(b"m")
        with pytest.raises(IntegrityError):
            open_vault(asked=Scripted()).keys()
    path.write_bytes(whole)
    assert len(signer.sign(b"m")) == 64


def test_a_changed_key_file_with_a_mended_checksum_does_not_open(
    open_vault: OpenVault, home: Path, signer: Signs
) -> None:
    path = key_file(home)
    whole = path.read_bytes()
    vault = open_vault()
    vault.unseal(vault.seal(b"", b""), b"")  # unlocked: from here on a header is proved when it is read
    for position in range(len(whole) - CHECKSUM):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(mended(bytes(flipped)))
        with pytest.raises(MeshError):
            vault.keys()
        with pytest.raises(MeshError):
            signer.sign(b"m")


def test_a_key_file_cut_anywhere_is_noticed(home: Path, signer: Signs) -> None:
    path = key_file(home)
    whole = path.read_bytes()
    for length in range(len(whole)):
        for data in (whole[:length], mended(whole[:length])):
            path.write_bytes(data)
            with pytest.raises(IntegrityError):
                signer.sign(b"m")


def test_a_flipped_bit_anywhere_in_the_vaults_head_is_noticed(
    open_vault: OpenVault, home: Path, signer: Signs
) -> None:
    path = home / "vault" / "vault.box"
    whole = path.read_bytes()
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        with pytest.raises(IntegrityError, match=r"vault\.box"):
            open_vault()


def test_weakened_parameters_are_refused_before_anybody_is_asked(
    open_vault: OpenVault, home: Path, signer: Signs
) -> None:
    path = home / "vault" / "vault.box"
    whole = path.read_bytes()
    nobody = Scripted()
    for before, after in (
        (b'"memory_kib":19456', b'"memory_kib":8'),
        (b'"memory_kib":19456', b'"memory_kib":99999999'),
        (b'"memory_kib":19456,"iterations":2', b'"memory_kib":1048576,"iterations":16'),
        (b'"iterations":2', b'"iterations":1'),
        (b'"lanes":1', b'"lanes":0'),
    ):
        assert before in whole
        path.write_bytes(mended(whole.replace(before, after)))
        with pytest.raises(IntegrityError, match="bounds"):
            open_vault(asked=nobody).seal(b"s", b"p")
    assert nobody.asked == []
    path.write_bytes(mended(whole.replace(b'"iterations":2', b'"iterations":3')))
    with pytest.raises(PinIncorrect):  # other parameters give another key: no better than a wrong passphrase
        open_vault().seal(b"s", b"p")


@pytest.mark.parametrize("name", ["vault.box", "keys"])
def test_a_newer_version_is_left_alone(open_vault: OpenVault, home: Path, signer: Signs, name: str) -> None:
    path = home / "vault" / name
    path = key_file(home) if path.is_dir() else path
    newer = mended(path.read_bytes().replace(b"meshhw-box/1\n", b"meshhw-box/2\n"))
    path.write_bytes(newer)
    with pytest.raises(NewerVersion) as caught:
        open_vault().keys()
    assert "upgrade" in caught.value.hint
    assert path.read_bytes() == newer


def test_a_key_file_of_another_vault_is_refused(
    open_vault: OpenVault, home: Path, signer: Signs, tmp_path: Path
) -> None:
    uri = f"software:vault={tmp_path}/other"
    open_vault(uri).generate(KeySpec(Algorithm.ED25519))
    (foreign,) = (tmp_path / "other" / "keys").glob("*.box")
    shutil.copy(foreign, home / "vault" / "keys")
    with pytest.raises(IntegrityError, match="another vault"):
        open_vault().keys()


def test_two_key_files_cannot_change_places(open_vault: OpenVault, home: Path, signer: Signs) -> None:
    open_vault().generate(KeySpec(Algorithm.ED25519))
    one, two = sorted((home / "vault" / "keys").glob("*.box"))
    two.write_bytes(one.read_bytes())
    with pytest.raises(IntegrityError, match="another key's name"):
        open_vault().keys()


def test_another_public_key_in_the_header_is_found_out(
    open_vault: OpenVault, home: Path, signer: Signs
) -> None:
    """Somebody who can write the file, but has no passphrase, makes the list show a key of his own."""
    path = key_file(home)
    parsed = box.parse(path.read_bytes(), "k")
    head = header.expect(KeyHeader, parsed.header, "k")
    theirs = open_vault("software:vault=" + str(home / "x")).generate(KeySpec(Algorithm.ED25519)).public
    line = header.encode(msgspec.structs.replace(head, public=theirs.octets))
    path.write_bytes(mended(path.read_bytes().replace(parsed.header, line)))
    (shown,) = open_vault(asked=Scripted()).keys()
    assert shown.public == theirs
    (used,) = open_vault().keys()
    assert isinstance(used, Signs)
    with pytest.raises(DecryptionFailed):
        used.sign(b"m")


def test_files_of_other_names_are_not_keys(open_vault: OpenVault, home: Path, signer: Signs) -> None:
    (home / "vault" / "keys" / "notes.box").write_bytes(b"mine")
    assert len(open_vault().keys()) == 1


def test_a_missing_head_is_told(open_vault: OpenVault, home: Path, signer: Signs) -> None:
    (home / "vault" / "vault.box").unlink()
    with pytest.raises(StateError, match=r"no vault\.box") as caught:
        open_vault()
    assert "backup" in caught.value.hint


@pytest.mark.parametrize("place", ["", "vault", "vault/keys", "vault/vault.box", "vault/keys/*.box"])
def test_open_permissions_are_refused_with_the_cure(
    open_vault: OpenVault, home: Path, signer: Signs, place: str
) -> None:
    (path,) = home.glob(place) if place else (home,)
    path.chmod(0o755 if path.is_dir() else 0o644)
    with pytest.raises(InsecurePermissions) as caught:
        open_vault().keys()
    assert caught.value.hint.startswith("chmod 7" if path.is_dir() else "chmod 6")


def test_a_sealed_blob_opens_for_its_purpose_only_and_only_unchanged(
    open_vault: OpenVault, tmp_path: Path
) -> None:
    vault = open_vault()
    blob = vault.seal(b"the share", b"purpose")
    assert vault.unseal(blob, b"purpose") == b"the share"
    other = open_vault(f"software:vault={tmp_path}/other")
    other.seal(b"", b"")
    for opener, purpose in ((vault, b"another"), (other, b"purpose")):
        with pytest.raises(DecryptionFailed):
            opener.unseal(blob, purpose)
    for position in range(len(blob)):
        flipped = bytearray(blob)
        flipped[position] ^= 0x20
        for data in (bytes(flipped), mended(bytes(flipped)), blob[:position]):
            if data != blob:
                with pytest.raises(MeshError):
                    vault.unseal(data, b"purpose")


@given(st.binary(max_size=300))
def test_any_octets_are_a_box_or_a_clear_error(data: bytes) -> None:
    for candidate in (
        data,
        box.MAGIC + b"1\n" + data,
        mended(box.MAGIC + b"1\n{}\n" + data + bytes(CHECKSUM)),
    ):
        try:
            parsed = box.parse(candidate, "it")
        except (IntegrityError, NewerVersion):
            continue
        with pytest.raises(DecryptionFailed):
            parsed.open(bytes(32))


@given(st.binary(max_size=200))
def test_any_octets_are_a_header_or_a_clear_error(data: bytes) -> None:
    with pytest.raises(FormatError):
        header.decode(data, "it")


@given(key=st.binary(min_size=32, max_size=32), body=st.binary(max_size=200), line=st.text(max_size=50))
def test_a_box_gives_back_what_was_put_in(key: bytes, body: bytes, line: str) -> None:
    head = line.replace("\n", " ").encode()
    parsed = box.parse(box.pack(key, head, body), "it")
    assert parsed.header == head
    assert parsed.open(key) == body
