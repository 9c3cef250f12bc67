"""A maker of software TPMs: gives each an endorsement certificate, from an authority of the lab's own."""

from __future__ import annotations

import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from meshhw.errors import TokenFault
from meshhw.lab.process import find_program

_ROOT, _ISSUER = "swtpm-localca-rootca-cert.pem", "issuercert.pem"


def endorse(state: Path, authority: Path) -> None:
    """Manufacture a TPM in the empty directory `state`, with certificates from the authority (made if new).

    Raises DriverUnavailable without swtpm-tools, TokenFault.
    """
    program = find_program("swtpm_setup", "swtpm-tools")
    authority.mkdir(mode=0o700, parents=True, exist_ok=True)
    local = _written(
        authority / "localca.conf",
        statedir=authority,
        signingkey=authority / "signkey.pem",
        issuercert=authority / _ISSUER,
        certserial=authority / "certserial",
    )
    options = authority / "localca.options"
    options.write_text("--platform-manufacturer Lab\n--platform-version 1\n--platform-model Lab\n")
    setup = _written(
        authority / "setup.conf",
        create_certs_tool=Path(find_program("swtpm_localca", "swtpm-tools")),
        create_certs_tool_config=local,
        create_certs_tool_options=options,
    )
    command = [program, "--tpm2", "--tpmstate", str(state), "--create-ek-cert", "--overwrite"]
    command += ["--config", str(setup), "--logfile", str(authority / "setup.log")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise TokenFault("swtpm_setup could not make a TPM", hint=f"see {authority / 'setup.log'}")


def certificates(authority: Path) -> tuple[bytes, bytes]:
    """The issuer's and the root's certificate (DER)."""
    issuer, root = (
        x509.load_pem_x509_certificate((authority / name).read_bytes()).public_bytes(Encoding.DER)
        for name in (_ISSUER, _ROOT)
    )
    return issuer, root


def _written(path: Path, **settings: Path) -> Path:
    path.write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
    return path
