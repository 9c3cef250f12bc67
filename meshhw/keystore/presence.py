"""Proof that a person touched an authenticator for one digest: a FIDO2 assertion, verified offline.

The authenticator signs authenticator data || SHA-256("meshhw/presence/1" || digest), for the relying party
`RP_ID`, which no web site can have. The digest is what is confirmed; the flags say touched, and verified.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from meshhw.algorithms import PublicKey
from meshhw.errors import FormatError, SignatureInvalid, UsageError
from meshhw.keystore import cbor

RP_ID = "meshhw"
RP_ID_HASH = hashlib.sha256(RP_ID.encode()).digest()
_CONTEXT = b"meshhw/presence/1"
_DIGESTS = (32, 48, 64)


@dataclass(frozen=True, slots=True)
class PresenceProof:
    """An assertion: which credential, what the authenticator said, and its signature."""

    credential: bytes
    authenticator_data: bytes
    signature: bytes

    def encode(self) -> bytes:
        """The proof as octets: a CBOR array of version, credential, data and signature."""
        return cbor.encode([1, self.credential, self.authenticator_data, self.signature])

    @classmethod
    def decode(cls, octets: bytes) -> PresenceProof:
        """Raises FormatError."""
        match cbor.decode(octets):
            case [1, bytes(credential), bytes(data), bytes(signature)]:
                return cls(credential, data, signature)
        raise FormatError("this is no proof of presence")


@dataclass(frozen=True, slots=True)
class Presence:
    """What a proof proves. `counter` grows with each proof of an authenticator that counts, else it is 0."""

    counter: int
    verified: bool


def client_data_hash(digest: bytes) -> bytes:
    """What stands for the digest in the assertion. Raises UsageError for a digest of no known length."""
    if len(digest) not in _DIGESTS:
        raise UsageError(f"a digest has 32, 48 or 64 octets, not {len(digest)}")
    return hashlib.sha256(_CONTEXT + digest).digest()


def verify_presence(
    public: PublicKey, digest: bytes, proof: PresenceProof, *, need_verified: bool = False
) -> Presence:
    """Check that `digest` was confirmed by a touch with that key; with `need_verified`, by PIN or body too.

    Raises SignatureInvalid, FormatError.
    """
    from meshhw.keystore.webauthn import check_signature, parse_authenticator_data  # brings `cryptography`

    data = parse_authenticator_data(proof.authenticator_data)
    check_signature(public, proof.authenticator_data + client_data_hash(digest), proof.signature)
    if not hmac.compare_digest(data.rp_id_hash, RP_ID_HASH):
        raise SignatureInvalid("the assertion was made for somebody else")
    if not data.present or (need_verified and not data.verified):
        raise SignatureInvalid(
            "nobody touched the authenticator" if not data.present else "the person was not verified",
            hint="repeat the confirmation, with touch and PIN",
        )
    return Presence(data.counter, data.verified)
