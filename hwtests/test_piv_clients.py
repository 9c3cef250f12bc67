"""The virtual PIV card judged by the clients people use: ykman, yubico-piv-tool, OpenSC and ykcs11."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from meshhw.lab.fixtures_piv import InsertCard
from meshhw.lab.piv.card import PivCard
from meshhw.lab.piv.token import VirtualPivToken

YUBICO_SLOT = 2
"""The first slot of the reader whose name Yubico's tools accept."""
MANAGEMENT = "010203040506070801020304050607080102030405060708"
OPENSC = "/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so"
YKCS11 = "/usr/lib/x86_64-linux-gnu/libykcs11.so"

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a client; `pkill` is an idle program, since ykman would end other users of a card with it."""
    idle = tmp_path / "bin" / "pkill"
    idle.parent.mkdir()
    idle.write_text("#!/bin/sh\nexit 1\n")
    idle.chmod(0o755)

    def call(*argv: str, fails: bool = False) -> str:
        if shutil.which(argv[0]) is None:
            pytest.skip(f"{argv[0]} is not installed")
        done = subprocess.run(
            argv,
            cwd=tmp_path,
            env=os.environ | {"PATH": f"{idle.parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    return call


# ykman takes a reader of any name when the card says that it is contactless; it then speaks short APDUs.
def ykman(run: Run, token: VirtualPivToken, *argv: str, fails: bool = False) -> str:
    return run(sys.executable, "-m", "ykman._cli", "-r", token.reader.name, "piv", *argv, fails=fails)


def piv_tool(run: Run, token: VirtualPivToken, *argv: str, fails: bool = False) -> str:
    return run("yubico-piv-tool", "-r", token.reader.name, *argv, fails=fails)


def pkcs11(run: Run, module: str, *argv: str) -> str:
    if not Path(module).exists():
        pytest.skip(f"{module} is not installed")
    return run("pkcs11-tool", "--module", module, *argv)


@pytest.mark.parametrize("personality", ["4.3", "5.4", "5.7"])
def test_ykman_generates_certifies_and_attests(insert_card: InsertCard, run: Run, personality: str) -> None:
    token = insert_card(PivCard(personality, contactless=True))
    assert f"PIV version:              {personality}" in ykman(run, token, "info")
    generated = ykman(run, token, "keys", "generate", "-a", "ECCP256", "-m", MANAGEMENT, "9a", "public.pem")
    assert generated.startswith("Private key generated in slot 9A (AUTHENTICATION)")
    ykman(
        run,
        token,
        *("certificates", "generate", "-s", "CN=lab", "-P", "123456", "-m", MANAGEMENT, "9a", "public.pem"),
    )
    attested = x509.load_pem_x509_certificate(ykman(run, token, "keys", "attest", "9a", "-").encode())
    assert attested.public_key() == token.card.lasting.keys[0x9A].private.public_key()
    assert re.search(r"Subject DN: +CN=lab", ykman(run, token, "info"))


@pytest.mark.parametrize("algorithm", ["ED25519", "X25519", "ECCP384", "RSA2048"])
def test_ykman_knows_the_keys_of_firmware_5_7(insert_card: InsertCard, run: Run, algorithm: str) -> None:
    token = insert_card(PivCard("5.7", contactless=True))
    ykman(
        run,
        token,
        *("keys", "generate", "-a", algorithm, "--touch-policy", "CACHED", "-m", MANAGEMENT, "82", "-"),
    )
    told = ykman(run, token, "keys", "info", "82")
    assert re.search(rf"Algorithm: +{algorithm}\n", told)
    assert re.search(r"Touch required for use: +CACHED", told)
    ykman(run, token, "keys", "move", "-m", MANAGEMENT, "82", "83")
    ykman(run, token, "keys", "delete", "-m", MANAGEMENT, "83")
    assert set(token.card.lasting.keys) == {0xF9}


def test_ykman_changes_pins_and_the_management_key(insert_card: InsertCard, run: Run) -> None:
    piv_card = insert_card(PivCard("5.7", contactless=True))
    ykman(run, piv_card, "access", "change-pin", "-P", "123456", "-n", "654321")
    ykman(run, piv_card, "access", "change-puk", "-p", "12345678", "-n", "87654321")
    ykman(
        run,
        piv_card,
        "access",
        "change-management-key",
        "-m",
        MANAGEMENT,
        "-P",
        "654321",
        "-a",
        "AES256",
        "-g",
        "-p",
    )
    told = ykman(run, piv_card, "info")
    assert "Management key algorithm: AES256" in told
    assert "Management key is stored on the YubiKey, protected by PIN." in told
    ykman(run, piv_card, "access", "change-pin", "-P", "111111", "-n", "222222", fails=True)
    assert piv_card.card.lasting.pin.left == 2
    ykman(run, piv_card, "reset", "-f")
    assert piv_card.card.lasting.pin.value == b"123456\xff\xff"


def test_yubico_piv_tool_uses_the_card(insert_card: InsertCard, run: Run, tmp_path: Path) -> None:
    token = insert_card("5.4", slot=YUBICO_SLOT)
    assert "Version:\t5.4.3" in piv_tool(run, token, "-a", "status")
    piv_tool(run, token, "-a", "generate", "-s", "9d", "-A", "ECCP256", "-o", "public.pem")
    attested = piv_tool(run, token, "-a", "attest", "-s", "9d")
    (tmp_path / "leaf.pem").write_text(attested)
    piv_tool(run, token, "-a", "import-certificate", "-s", "9d", "-i", "leaf.pem")
    signed = piv_tool(
        run,
        token,
        *("-a", "verify-pin", "-P", "123456", "-a", "test-signature", "-s", "9d", "-i", "leaf.pem"),
    )
    assert "Successful ECDSA verification." in signed
    agreed = piv_tool(
        run, token, *("-a", "verify-pin", "-P", "123456", "-a", "test-decipher", "-s", "9d", "-i", "leaf.pem")
    )
    assert "Successfully performed ECDH exchange with card." in agreed
    refused = piv_tool(run, token, "-a", "verify-pin", "-P", "000000", fails=True)
    assert "2 tries left" in refused


def test_opensc_agrees(insert_card: InsertCard, run: Run, tmp_path: Path) -> None:
    token = insert_card("5.4", slot=YUBICO_SLOT)
    piv_tool(run, token, "-a", "generate", "-s", "9d", "-A", "ECCP256", "-o", "public.pem")
    (tmp_path / "leaf.pem").write_text(piv_tool(run, token, "-a", "attest", "-s", "9d"))
    piv_tool(run, token, "-a", "import-certificate", "-s", "9d", "-i", "leaf.pem")
    assert "login required" in pkcs11(run, OPENSC, "-L")
    peer = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "peer.der").write_bytes(
        peer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    pkcs11(
        run,
        OPENSC,
        *("--login", "--pin", "123456", "--derive", "-m", "ECDH1-DERIVE", "--id", "03"),
        *("-i", "peer.der", "-o", "secret"),
    )
    ours = token.card.lasting.keys[0x9D].private.public_key()
    assert isinstance(ours, ec.EllipticCurvePublicKey)
    assert (tmp_path / "secret").read_bytes() == peer.exchange(ec.ECDH(), ours)


def test_ykcs11_generates_and_signs(insert_card: InsertCard, run: Run, tmp_path: Path) -> None:
    token = insert_card("5.4", slot=YUBICO_SLOT)
    assert f"YubiKey PIV #{token.card.serial}" in pkcs11(run, YKCS11, "-L")
    so = ("--login", "--login-type", "so", "--so-pin", MANAGEMENT)
    made = pkcs11(run, YKCS11, *so, "--keypairgen", "--id", "1", "--key-type", "EC:prime256v1")
    assert "never extractable, local" in made
    (tmp_path / "digest").write_bytes(b"d" * 32)
    pkcs11(
        run,
        YKCS11,
        *(
            "--login",
            "--pin",
            "123456",
            "--sign",
            "-m",
            "ECDSA",
            "--id",
            "1",
            "-i",
            "digest",
            "-o",
            "signature",
        ),
        *("--signature-format", "openssl"),
    )
    public = token.card.lasting.keys[0x9A].private.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify((tmp_path / "signature").read_bytes(), b"d" * 32, ec.ECDSA(Prehashed(hashes.SHA256())))
