"""Is this attestation key in the same TPM as that endorsement key? (TPM 2.0 Library part 1, section 24.)

The asker encrypts a secret to the endorsement key, bound to the attestation key's name (`make_challenge`);
only a TPM that holds both returns it (TPM2_ActivateCredential). Whoever gets his secret back may trust the
attestation key as far as he trusts the endorsement key's certificate.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from meshhw.algorithms import Algorithm
from meshhw.errors import NotSupported, SignatureInvalid
from meshhw.keystore.attestation_tpm import anchored
from meshhw.keystore.tpm_public import PublicArea
from meshhw.pubkeys import to_cryptography

try:
    from cryptography.hazmat.decrepit.ciphers.modes import CFB
except ImportError:  # before cryptography 47
    from cryptography.hazmat.primitives.ciphers.modes import CFB

_SECRET = 32
_IDENTITY = b"IDENTITY\0"


@dataclass(frozen=True, slots=True)
class Challenge:
    """What is sent (`blob` a TPM2B_ID_OBJECT, `seed` a TPM2B_ENCRYPTED_SECRET) and what must come back."""

    blob: bytes
    seed: bytes
    expected: bytes = field(repr=False)

    def answered(self, answer: bytes) -> bool:
        """Whether the TPM holds both keys."""
        return hmac.compare_digest(answer, self.expected)


def check_endorsement(endorsement: PublicArea, chain: Sequence[bytes], roots: Sequence[bytes]) -> str:
    """Whose TPM the endorsement key is in: the issuer's name, from a chain up to one of the maker's roots.

    `chain` is DER certificates, the endorsement key's first. Raises SignatureInvalid, FormatError.
    """
    certificate = anchored(chain, roots)
    key = certificate.public_key()
    if endorsement.public is None or to_cryptography(endorsement.public) != key:
        raise SignatureInvalid("the endorsement certificate is of another key")
    return certificate.issuer.rfc4514_string()


def make_challenge(endorsement: PublicArea, attestation_name: bytes) -> Challenge:
    """A fresh challenge (part 3, TPM2_MakeCredential, in software).

    Raises NotSupported for endorsement keys other than RSA-2048 and P-256 with SHA-256 and AES-128.
    """
    secret = secrets.token_bytes(_SECRET)
    seed, encrypted_seed = _seed(endorsement)
    key = _kdfa(seed, b"STORAGE\0", attestation_name, 128)
    encryptor = Cipher(algorithms.AES(key), CFB(bytes(16))).encryptor()
    identity = encryptor.update(_sized(secret)) + encryptor.finalize()
    mac_key = _kdfa(seed, b"INTEGRITY\0", b"", 256)
    mac = hmac.digest(mac_key, identity + attestation_name, "sha256")
    return Challenge(_sized(_sized(mac) + identity), _sized(encrypted_seed), secret)


def _seed(endorsement: PublicArea) -> tuple[bytes, bytes]:
    """A seed and its form that only the endorsement key opens (part 1, annexes B.10.4 and C.6.1)."""
    if endorsement.public is None:
        raise NotSupported("an endorsement key of this kind cannot be challenged")
    key = to_cryptography(endorsement.public)
    if isinstance(key, rsa.RSAPublicKey):
        seed = secrets.token_bytes(32)
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), _IDENTITY)
        return seed, key.encrypt(seed, oaep)
    if endorsement.public.algorithm is not Algorithm.P256 or not isinstance(key, ec.EllipticCurvePublicKey):
        raise NotSupported("an endorsement key of this kind cannot be challenged")
    ephemeral = ec.generate_private_key(ec.SECP256R1())
    mine, theirs = ephemeral.public_key().public_numbers(), key.public_numbers()
    shared = ephemeral.exchange(ec.ECDH(), key)
    info = shared + _IDENTITY + _coordinate(mine.x) + _coordinate(theirs.x)
    seed = hashlib.sha256(struct.pack(">I", 1) + info).digest()  # KDFe, part 1 section 11.4.10.3
    return seed, _sized(_coordinate(mine.x)) + _sized(_coordinate(mine.y))


def _kdfa(key: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    """KDFa with SHA-256 for at most 256 bits (part 1, section 11.4.10.2)."""
    message = struct.pack(">I", 1) + label + context + struct.pack(">I", bits)
    return hmac.digest(key, message, "sha256")[: bits // 8]


def _coordinate(number: int) -> bytes:
    return number.to_bytes(32, "big")


def _sized(octets: bytes) -> bytes:
    return struct.pack(">H", len(octets)) + octets
