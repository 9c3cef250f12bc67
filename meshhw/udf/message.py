"""Identifiers and witnesses of messages, PINs, connections and publications (mesh-schema; all SHA-2-512).

A PIN is a bearer secret of type A. What is sent or stored is a salted form; what proves knowledge of it is
a witness, to be compared with `hmac.compare_digest`.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from meshhw.algorithms import PublicKey
from meshhw.errors import InvalidName
from meshhw.udf.digest import content_digest, content_digest_octets, mac_name
from meshhw.udf.form import ALPHABET, DEFAULT_BITS, UDF, Kind, decode_base32, encode_base32, group
from meshhw.udf.key import Era, key_info

PIN_OCTETS = 14
_ENVELOPE = "application/mmm/envelopeid"
_RESPONSE = "application/mmm/responseid"
_WITNESS_UDF_OCTETS = 64


def envelope_id(message_id: str) -> str:
    """The EnvelopeId of the message with this identifier. Raises InvalidName."""
    return _message_digest(message_id, _ENVELOPE)


def response_id(message_id: str) -> str:
    """The MessageId that a response to this message has. Raises InvalidName."""
    return _message_digest(message_id, _RESPONSE)


def _message_digest(message_id: str, content_type: str) -> str:
    """Any Base32 text may identify a message (a connection's witness does), so the kind is not checked."""
    octets = message_octets(message_id)
    sha3 = Kind.DIGEST_SHA3.value <= octets[0] <= Kind.DIGEST_SHA3.value + 4
    return content_digest(octets[1:], content_type, kind=Kind.DIGEST_SHA3 if sha3 else Kind.DIGEST_SHA2)


def message_octets(message_id: str) -> bytes:
    """The octets of a message identifier, type octet first. Raises InvalidName."""
    letters = message_id.replace("-", "").upper()
    if not 4 <= len(letters) <= 128 or not set(letters) <= set(ALPHABET):
        raise InvalidName("this is not a message identifier")
    return decode_base32(letters)


def new_pin() -> UDF:
    """A fresh PIN of 120 bits, its type octet counted."""
    return UDF.make(Kind.AUTHENTICATOR, secrets.token_bytes(PIN_OCTETS))


@dataclass(frozen=True, slots=True)
class SaltedPin:
    """A PIN bound to one action ("Device" or "Contact"); what the account keeps of it."""

    udf: UDF
    name: str = ""
    """As it is written: 140 bits, of which the last four are in no octet of `udf`."""

    @classmethod
    def of(cls, pin: UDF, action: str) -> SaltedPin:
        """Salt a PIN. Raises InvalidName if it is none."""
        if pin.kind is not Kind.AUTHENTICATOR:
            raise InvalidName("this UDF is not a PIN (type A)")
        name = mac_name(hmac.digest(pin.data, action.encode(), "sha512"))
        return cls(UDF.parse(name), name)

    def pin_id(self, account: str) -> str:
        """The identifier of the message that tells the account of the PIN."""
        return mac_name(hmac.digest(self.udf.data, account.lower().encode(), "sha512"))

    def witness(self, account: str, client_nonce: bytes, payload_digest: bytes) -> bytes:
        """64 octets that prove knowledge of the PIN to whoever knows the salted form."""
        message = account.lower().encode() + client_nonce + payload_digest
        return hmac.digest(self.udf.data, message, "sha512")


def connection_witness(
    account: PublicKey, server_nonce: bytes, device: PublicKey, client_nonce: bytes
) -> str:
    """What both sides show to their users when a device asks to be connected: the two profile keys, each
    with the other side's nonce. It is also the MessageId of the acknowledgement.
    """
    both = b"".join(
        hashlib.sha512(_profile_octets(key) + nonce).digest()
        for key, nonce in ((account, server_nonce), (device, client_nonce))
    )
    return group(encode_base32(hashlib.sha512(both).digest())[: DEFAULT_BITS // 5])


def claim_authenticators(key: UDF, claimant: str) -> tuple[str, str]:
    """How a claimant proves to the service and to the device that it knows a publication's key.

    Raises InvalidName if the UDF is not a symmetric key (type E).
    """
    if key.kind is not Kind.SYMMETRIC:
        raise InvalidName("a publication is claimed with its symmetric key (type E)")
    return _claim(key.data, "service", claimant), _claim(key.data, "device", claimant)


def _claim(key: bytes, side: str, claimant: str) -> str:
    info = f"mmm/key/authenticate/{side}".encode()
    derived = HKDF(SHA512(), 32, salt=None, info=info).derive(key)
    return mac_name(hmac.digest(derived, claimant.encode(), "sha512"))


def _profile_octets(key: PublicKey) -> bytes:
    return content_digest_octets(key_info(key), Era.CURRENT.value)[:_WITNESS_UDF_OCTETS]
