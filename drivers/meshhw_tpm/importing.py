"""Private keys from outside, wrapped for the TPM's storage primary (TPM 2.0 Library part 1, section 23.3).

The wrapping is made here, so that the clear key never travels to the TPM. The imported object has no policy,
and without one nobody can ever duplicate it to another place.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from meshhw.algorithms import Algorithm, Family, PrivateKey, PublicKey, SecretForm
from meshhw.errors import NotSupported, UsageError
from meshhw.pubkeys import from_cryptography
from meshhw_tpm import templates
from meshhw_tpm.context import Context
from meshhw_tpm.keyfile import KeyFile
from meshhw_tpm.objects import Terms
from meshhw_tpm.policy import policy_digest
from meshhw_tpm.tss import Structure

_CURVES: dict[Algorithm, ec.EllipticCurve] = {Algorithm.P256: ec.SECP256R1(), Algorithm.P384: ec.SECP384R1()}


@dataclass(frozen=True, slots=True)
class Material:
    """A key pair as a TPM takes it: the scalar of a curve's key, or one prime of an RSA key."""

    public: PublicKey
    secret: bytes = field(repr=False)
    modulus: bytes = b""


def material(private: PrivateKey) -> Material:
    """Check a private key and find its public one. Raises NotSupported, UsageError."""
    if private.algorithm in _CURVES:
        return _curve_material(private)
    if private.algorithm.family is Family.RSA:
        return _rsa_material(private)
    raise NotSupported(f"TPMs have no {private.algorithm} keys", hint="use P-256, P-384 or RSA")


def import_key(context: Context, key: Material, terms: Terms) -> KeyFile:
    """Import below the storage primary."""
    t = context.tss
    public = templates.key(key.public.algorithm, terms.attributes, policy_digest(terms.policy))
    _set_unique(context, public, key)
    parent, *_ = context.esapi.read_public(context.primary)
    _, duplicate, seed = t.utils.wrap(parent.publicArea, public, _sensitive(context, key, terms.auth))
    private = context.esapi.import_(context.primary, b"", public, duplicate, seed, templates.no_symmetric())
    return terms.key_file(bytes(public.marshal()), bytes(private.marshal()))


def _curve_material(private: PrivateKey) -> Material:
    size = private.algorithm.field_length
    if len(private.octets) != size:
        raise UsageError(f"a private key of {private.algorithm} has {size} octets, not {len(private.octets)}")
    scalar = int.from_bytes(private.octets, "little" if private.form is SecretForm.SCALAR else "big")
    try:
        pair = ec.derive_private_key(scalar, _CURVES[private.algorithm])
    except ValueError as error:
        raise UsageError(
            f"this is no private key of {private.algorithm}: the scalar is out of range"
        ) from error
    return Material(from_cryptography(pair.public_key()), scalar.to_bytes(size, "big"))


def _rsa_material(private: PrivateKey) -> Material:
    try:
        pair = serialization.load_der_private_key(private.octets, None)
    except (ValueError, TypeError) as error:
        raise UsageError("this is no RSA private key in DER") from error
    if not isinstance(pair, rsa.RSAPrivateKey) or pair.key_size != private.algorithm.field_length * 8:
        raise UsageError(f"this is no {private.algorithm} private key")
    numbers = pair.private_numbers()
    if numbers.public_numbers.e != 65537:
        raise NotSupported("TPMs take RSA keys with the exponent 65537 alone")
    size = private.algorithm.field_length
    modulus = numbers.public_numbers.n.to_bytes(size, "big")
    return Material(from_cryptography(pair.public_key()), numbers.p.to_bytes(size // 2, "big"), modulus)


def _set_unique(context: Context, public: Structure, key: Material) -> None:
    t = context.tss
    if key.modulus:
        public.publicArea.unique = t.TPMU_PUBLIC_ID(rsa=key.modulus)
        return
    size = key.public.algorithm.field_length
    x, y = key.public.octets[1 : 1 + size], key.public.octets[1 + size :]
    public.publicArea.unique = t.TPMU_PUBLIC_ID(ecc=t.TPMS_ECC_POINT(x=x, y=y))


def _sensitive(context: Context, key: Material, auth: bytes) -> Structure:
    t = context.tss
    kind = t.TPM2_ALG.RSA if key.modulus else t.TPM2_ALG.ECC
    secret = (
        t.TPMU_SENSITIVE_COMPOSITE(rsa=key.secret)
        if key.modulus
        else t.TPMU_SENSITIVE_COMPOSITE(ecc=key.secret)
    )
    return t.TPM2B_SENSITIVE(t.TPMT_SENSITIVE(sensitiveType=kind, authValue=auth, sensitive=secret))
