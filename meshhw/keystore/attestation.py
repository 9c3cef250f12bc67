"""What a token says of how a key came to be and is used, and what is checked of it (rule R6).

Verification is by format, with `cryptography` and `struct` alone, so that a peer without the vendor's
library can check it. A verifier for a format is registered by `verifies`; `verify` dispatches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

from meshhw.algorithms import PublicKey
from meshhw.errors import NotSupported


@dataclass(frozen=True, slots=True)
class Attestation:
    """A token's statement over one of its keys. `chain` is DER certificates, the statement's signer first."""

    format: str
    statement: bytes
    chain: tuple[bytes, ...] = ()
    signature: bytes = b""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a verified attestation proves; None where the format does not say."""

    public: PublicKey
    issuer: str
    generated_inside: bool | None = None
    pin_policy: str | None = None
    touch_policy: str | None = None
    serial: str | None = None
    firmware: str | None = None


Verifier = Callable[[Attestation, Sequence[bytes]], Facts]

# format -> module of this package that has `verify(attestation, roots) -> Facts`
FORMATS = {
    "yubikey-piv": "meshhw.keystore.attestation_piv",
    "piv": "meshhw.keystore.attestation_card",
    "tpm2-certify": "meshhw.keystore.attestation_tpm",
    "fido2": "meshhw.keystore.attestation_fido2",
}


def verify(attestation: Attestation, roots: Sequence[bytes]) -> Facts:
    """Check an attestation up to one of `roots` (DER certificates) and say what it proves.

    Raises NotSupported for an unknown format, SignatureInvalid where the chain or the statement fails.
    """
    module = FORMATS.get(attestation.format)
    if module is None:
        raise NotSupported(f"attestations of format {attestation.format!r} cannot be verified")
    verifier: Verifier = import_module(module).verify
    return verifier(attestation, roots)
