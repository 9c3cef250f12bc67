"""Keys as the Mesh writes them, public, private and shared (schema digest section 1)."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from msgspec import field

from meshhw.schema.core import MeshObject, Tagged


class Key(MeshObject):
    """A public or private key; always tagged with its concrete class."""


class PublicKeyECDH(Key):
    """A public key on an elliptic curve."""

    crv: str | None = field(default=None, name="crv")
    public: bytes | None = None
    """The octets: RFC 8032, RFC 7748 (X448 with its parity octet) or SEC 1 uncompressed."""
    kid: str | None = field(default=None, name="kid")


class PrivateKeyECDH(Key):
    """A private key on an elliptic curve. Travels only inside encrypted envelopes."""

    crv: str | None = field(default=None, name="crv")
    """With the suffix `z` the private octets are an integer, never hashed nor clamped."""
    public: bytes | None = None
    private: bytes | None = None
    kid: str | None = field(default=None, name="kid")


class PublicKeyRSA(Key):
    """An RSA public key: modulus and exponent, big-endian."""

    kid: str | None = field(default=None, name="kid")
    n: bytes | None = field(default=None, name="n")
    e: bytes | None = field(default=None, name="e")


class PrivateKeyRSA(PublicKeyRSA):
    """An RSA private key with its factors (RFC 8017 section 3.2)."""

    d: bytes | None = field(default=None, name="d")
    p: bytes | None = field(default=None, name="p")
    q: bytes | None = field(default=None, name="q")
    dp: bytes | None = field(default=None, name="dp")
    dq: bytes | None = field(default=None, name="dq")
    qi: bytes | None = field(default=None, name="qi")


class PrivateKeyUDF(Key):
    """A secret seed from which keys are derived."""

    private_value: str | None = None
    """The seed, a UDF of type 200 (`Z...`)."""
    key_type: str | None = None
    algorithm_sign: str | None = None
    algorithm_encrypt: str | None = None
    algorithm_authenticate: str | None = None


class KeyAgreement(MeshObject):
    """The result of an agreement that another party made."""


class KeyAgreementECDH(KeyAgreement):
    """A partial result on an elliptic curve."""

    curve: str | None = None
    result: bytes | None = None
    """The partial result as a point: 33 or 57 octets of u and parity, or SEC 1."""


class KeyData(MeshObject):
    """A key with its fingerprint, validity and certificates."""

    ALIASES: ClassVar[dict[str, str]] = {"UDF": "Udf"}

    udf: str | None = None
    x509_certificate: bytes | None = None
    x509_chain: tuple[bytes, ...] = ()
    x509_csr: bytes | None = field(default=None, name="X509CSR")
    not_before: datetime | None = None
    not_on_or_after: datetime | None = None
    public_parameters: Tagged[Key] | None = None
    private_parameters: Tagged[Key] | None = None
    mode: str | None = None
    """Extension R3, R4: how the key works, `direct`, `tweaked`, `dual` or `sealed`; absent: as published."""
    beside: Tagged[Key] | None = None
    """Extension R4, with `dual` alone: the public key that must have signed beside this one."""
    attestation: bytes | None = None
    """Extension R6: what a TPM states of how the key was made; a card's statement is the X509Certificate."""
    attestation_format: str | None = None
    """Of what format the attestation is that these members hold (docs/formats.md); absent: there is none."""


class KeyShare(Key):
    """One share of a threshold key, and the service that holds the other."""

    public_primary: Tagged[Key] | None = None
    share: Tagged[Key] | None = None
    service_id: str | None = None
    service_address: str | None = None


class CompositePrivate(Key):
    """A composed key as it is stored: the token's key, an additive part, a service's part."""

    device_key_udf: str | None = None
    private_salt: Tagged[Key] | None = None
    service_share: Tagged[Key] | None = None
