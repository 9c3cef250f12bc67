"""One key over tokens of every kind: FROST shares sealed five ways, decryption shares in unlike chips."""

from __future__ import annotations

import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hwtests.threshold_lab import PASSPHRASE, PAYLOAD, Lab
from meshhw.algorithms import Algorithm, Suite, Tier
from meshhw.dare.keyfile import write_public
from meshhw.errors import KeyNotFound
from meshhw.keystore import registry
from meshhw.keystore.api import Generates, KeySpec
from meshhw.keystore.interaction import PinKind, PinRequest
from meshhw.keystore.uri import KeyURI, TokenURI
from meshhw.managers.threshold.descriptor import Loaded
from meshhw.managers.threshold.provision import Request
from meshhw.managers.threshold.renew import refresh
from meshhw.managers.threshold.signing import ThresholdSigner
from meshhw.managers.threshold.state import old_shares

if TYPE_CHECKING:
    from meshhw.lab.ctap.token import VirtualCtapToken
    from meshhw.lab.fixtures_piv import InsertCard
    from meshhw.lab.pkcs11_token import Pkcs11Token
    from meshhw.lab.swtpm import SoftwareTpm


class Mixed(Lab):
    """Tokens of several kinds, and the secrets of each."""

    def __init__(self, home: Path, softhsm: list[Pkcs11Token], pins: dict[str, str]) -> None:
        self.by_scheme = pins
        super().__init__(home, softhsm)

    def pin(self, request: PinRequest) -> str:
        if request.kind is PinKind.VAULT:
            return PASSPHRASE
        if request.kind is PinKind.MANAGEMENT:
            return "010203040506070801020304050607080102030405060708"
        return self.by_scheme.get(request.token.scheme) or super().pin(request)


def with_sealing_key(lab: Lab, card: TokenURI) -> None:
    """A key in the card's slot 9d, to which shares are sealed."""
    token = registry.open_token(card, lab.options)
    assert isinstance(token, Generates)
    token.generate(KeySpec(Algorithm.P256, place="9d"))
    token.close()


def only_signers(loaded: Loaded, indices: tuple[int, ...]) -> Loaded:
    key = loaded.key("signing")
    left = tuple(holder for holder in key.holders if holder.index in indices)
    changed = msgspec.structs.replace(loaded.value, signing=msgspec.structs.replace(key, holders=left))
    return Loaded(changed, loaded.signer)


def test_a_quorum_of_five_kinds_of_tokens_signs(
    tmp_path: Path,
    insert_card: InsertCard,
    ctap_card: VirtualCtapToken,
    swtpm_token: SoftwareTpm,
    softhsm_token: Pkcs11Token,
) -> None:
    card = insert_card("5.7")
    lab = Mixed(tmp_path / "home", [softhsm_token], {"yubikey": "123456"})
    with_sealing_key(lab, card.uri)
    places = [card.uri, swtpm_token.uri, ctap_card.uri, softhsm_token.uri, lab.vault]
    loaded = lab.provision(Request(3, places, Suite.S25519, encrypts=False))
    key = loaded.key("signing")
    assert {holder.tier for holder in key.holders} == {Tier.SEALED}
    demands = {(1, 2, 3): "1 PIN, 1 touch", (3, 4, 5): "2 PINs, 1 touch"}
    for quorum, demand in demands.items():
        said: list[str] = []
        signer = ThresholdSigner(only_signers(loaded, quorum), lab.store, lab.options, said.append)
        signature = signer.sign(PAYLOAD)
        assert said[0].startswith(f"team asks 3 of 3 to sign; {demand}: ")
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, PAYLOAD)
        verified_by_openssl(tmp_path, signer, signature)
    ctap_card.pull()
    card.pull()
    signature = ThresholdSigner(loaded, lab.store, lab.options).sign(PAYLOAD)
    Ed25519PublicKey.from_public_bytes(key.public).verify(signature, PAYLOAD)


def verified_by_openssl(folder: Path, signer: ThresholdSigner, signature: bytes) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    files = {"public.pem": write_public(signer.public), "message": PAYLOAD, "signature": signature}
    for name, octets in files.items():
        (folder / name).write_bytes(octets)
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "public.pem", "-rawin", "-in", "message"]
    done = subprocess.run([*command, "-sigfile", "signature"], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout


def test_shares_in_a_card_that_cannot_delete_are_overwritten(
    tmp_path: Path, insert_card: InsertCard, swtpm_token: SoftwareTpm
) -> None:
    card = insert_card("5.4")
    lab = Mixed(tmp_path / "home", [], {"yubikey": "123456"})
    with_sealing_key(lab, card.uri)
    places = [card.uri, swtpm_token.uri, lab.vault]
    first = lab.provision(Request(2, places, Suite.P256, signs=False, renewable=True))
    assert [holder.tier for holder in first.key("decryption").holders] == [
        Tier.NATIVE,
        Tier.NATIVE,
        Tier.SOFTWARE,
    ]
    envelope = lab.envelope(first)
    new = refresh(lab.store, lab.host, lab.options)
    assert old_shares(new, lab.store) == []
    for pair in combinations((1, 2, 3), 2):
        assert lab.decrypts(new, pair, envelope)
    old = KeyURI.parse(first.key("decryption").holder(1).key or "")
    token = registry.open_token(old.token, lab.options)
    with pytest.raises(KeyNotFound):
        token.key(old)
    token.close()
