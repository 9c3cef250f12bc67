"""Other programs read our TPM keys, and we read theirs: tpm2-tools, OpenSSL's TPM provider, tpm2-pytss."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from meshhw.algorithms import Algorithm, PublicKey
from meshhw.conformance import independent
from meshhw.errors import IntegrityError
from meshhw.keystore.api import Generates, Key, KeySpec, PinPolicy, Signs
from meshhw.lab.swtpm import SoftwareTpm
from meshhw.pubkeys import to_cryptography

P = TypeVar("P")
MESSAGE = b"what is signed"
PARENT = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|decrypt|noda"
OPENSSL = ("-provider", "tpm2", "-provider", "base", "-provider", "default", "-propquery", "?provider=tpm2")


def power(thing: object, protocol: type[P]) -> P:
    assert isinstance(thing, protocol)
    return thing


@dataclass
class Shell:
    """Runs other programs against the lab's TPM, in a directory of their own."""

    tpm: SoftwareTpm
    directory: Path

    def run(self, *command: str) -> None:
        environment = os.environ | dict(self.tpm.env) | {"TPM2OPENSSL_TCTI": self.tpm.tcti}
        done = subprocess.run(
            command, cwd=self.directory, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        if command[0].startswith("tpm2_"):  # without a resource manager they leave their objects loaded
            subprocess.run(["tpm2_flushcontext", "-t"], env=environment, check=True)

    def path(self, name: str) -> Path:
        return self.directory / name


@pytest.fixture
def shell(swtpm_token: SoftwareTpm, tmp_path: Path) -> Shell:
    (tmp_path / "message").write_bytes(MESSAGE)
    return Shell(swtpm_token, tmp_path)


@pytest.fixture
def tools(shell: Shell) -> Shell:
    if shutil.which("tpm2_load") is None:
        pytest.skip("tpm2-tools is not installed (apt-get install tpm2-tools)")
    return shell


@pytest.fixture
def openssl(shell: Shell) -> Shell:
    modules = Path("/usr/lib").glob("*/ossl-modules/tpm2.so")
    if shutil.which("openssl") is None or not list(modules):
        pytest.skip("OpenSSL's TPM provider is not installed (apt-get install openssl tpm2-openssl)")
    return shell


def ours(tpm: SoftwareTpm, home: Path, **spec: object) -> tuple[Key, Path]:
    """A key of ours and its file; the token is closed again."""
    token = tpm.open()
    made = power(token, Generates).generate(
        KeySpec(Algorithm.P256, "Alice's key", **spec)  # type: ignore[arg-type]  # passed through
    )
    token.close()
    (path,) = home.rglob("*.pem")
    return made, path


def use(tpm: SoftwareTpm, path: Path) -> PublicKey:
    """Sign with the key file of another program; its public key."""
    path.chmod(0o600)
    token = tpm.open()
    key = token.key(token.info().uri.key(file=str(path)))
    independent.check_signature(key.public, MESSAGE, power(key, Signs).sign(MESSAGE))
    token.close()
    return key.public


def check_der(key: Key, signature: bytes) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    public = to_cryptography(key.public)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(signature, MESSAGE, ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize("pin", [PinPolicy.NEVER, PinPolicy.ONCE])
def test_tpm2_tools_load_and_use_our_key(
    tools: Shell, swtpm_token: SoftwareTpm, tpm_home: Path, pin: PinPolicy
) -> None:
    key, path = ours(swtpm_token, tpm_home, pin_policy=pin)
    auth = ("-p", swtpm_token.pin) if pin is PinPolicy.ONCE else ()
    tools.run("tpm2_load", "-r", str(path), "-c", "key.ctx")
    tools.run(
        "tpm2_sign", "-c", "key.ctx", *auth, "-g", "sha256", "-f", "plain", "-o", "signature", "message"
    )
    check_der(key, tools.path("signature").read_bytes())


@pytest.mark.parametrize("auth", ["", "a word"])
def test_we_load_and_use_a_key_of_tpm2_tools(tools: Shell, swtpm_token: SoftwareTpm, auth: str) -> None:
    tools.run("tpm2_createprimary", "-C", "o", "-G", "ecc256:aes128cfb", "-a", PARENT, "-c", "parent.ctx")
    create = ["tpm2_create", "-C", "parent.ctx", "-G", "ecc256", "-u", "key.pub", "-r", "key.priv"]
    tools.run(*create, *(("-p", auth) if auth else ()))
    # -p marks a key without an authorisation value in release 5.4, against its manual
    marked = () if auth else ("-p",)
    tools.run("tpm2_encodeobject", "-C", "o", "-u", "key.pub", "-r", "key.priv", *marked, "-o", "theirs.pem")
    swtpm_token.pin = auth
    use(swtpm_token, tools.path("theirs.pem"))


def test_we_use_a_persistent_key_of_tpm2_tools(tools: Shell, swtpm_token: SoftwareTpm) -> None:
    tools.run("tpm2_createprimary", "-C", "o", "-G", "ecc256:aes128cfb", "-a", PARENT, "-c", "parent.ctx")
    tools.run(
        *("tpm2_create", "-C", "parent.ctx", "-G", "ecc256:ecdsa-sha256", "-u", "key.pub", "-r", "key.priv"),
        *("-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign|noda"),
    )
    tools.run("tpm2_load", "-C", "parent.ctx", "-u", "key.pub", "-r", "key.priv", "-c", "key.ctx")
    tools.run("tpm2_evictcontrol", "-c", "key.ctx", "0x81000042")
    (key,) = swtpm_token.open().keys()
    assert str(key.uri).endswith(";handle=0x81000042")
    independent.check_signature(key.public, MESSAGE, power(key, Signs).sign(MESSAGE))


def test_openssl_signs_with_our_key(openssl: Shell, swtpm_token: SoftwareTpm, tpm_home: Path) -> None:
    key, path = ours(swtpm_token, tpm_home)
    openssl.run(
        *("openssl", "pkeyutl", *OPENSSL, "-sign", "-rawin", "-digest", "sha256"),
        *("-inkey", str(path), "-in", "message", "-out", "signature"),
    )
    check_der(key, openssl.path("signature").read_bytes())


@pytest.mark.parametrize("auth", ["", "a word"])
def test_we_use_a_key_of_openssl(openssl: Shell, swtpm_token: SoftwareTpm, auth: str) -> None:
    marked = ("-pkeyopt", f"user-auth:{auth}") if auth else ()
    openssl.run(
        *("openssl", "genpkey", *OPENSSL, "-algorithm", "EC", "-pkeyopt", "group:P-256", *marked),
        *("-out", "theirs.pem"),
    )
    swtpm_token.pin = auth
    use(swtpm_token, openssl.path("theirs.pem"))


def test_pytss_reads_our_key_and_we_read_its(
    swtpm_token: SoftwareTpm, tpm_home: Path, tmp_path: Path
) -> None:
    from tpm2_pytss import ESAPI
    from tpm2_pytss.tsskey import TSSPrivKey

    key, path = ours(swtpm_token, tpm_home)
    theirs = TSSPrivKey.from_pem(path.read_bytes())
    assert bytes(theirs.public.get_name()).hex()[4:24] == path.stem
    with ESAPI(swtpm_token.direct) as esapi:
        esapi.flush_context(theirs.load(esapi))
        made = TSSPrivKey.create_ecc(esapi)
    (tmp_path / "pytss.pem").write_bytes(made.to_pem())
    assert use(swtpm_token, tmp_path / "pytss.pem").algorithm is key.algorithm


def test_a_key_of_another_tpm_is_refused(swtpm_token: SoftwareTpm, tpm_home: Path, tmp_path: Path) -> None:
    _, path = ours(swtpm_token, tpm_home)
    foreign = tmp_path / "foreign.pem"
    foreign.write_bytes(path.read_bytes())
    swtpm_token.replace()
    with pytest.raises(IntegrityError) as refused:
        use(swtpm_token, foreign)
    assert refused.value.exit_status == 6
