"""The public areas that new objects are made with (TPM 2.0 Library part 1, sections 27 and 30)."""

from __future__ import annotations

from functools import cache

from meshhw.algorithms import Algorithm, Family
from meshhw.errors import NotSupported
from meshhw.keystore.tpm_public import MADE_INSIDE, Attributes
from meshhw_tpm.tss import Structure, tss

HASH_NAMES = {Algorithm.P256: "SHA256", Algorithm.P384: "SHA384"}
_CURVES = {Algorithm.P256: "NIST_P256", Algorithm.P384: "NIST_P384"}


@cache
def storage_parent() -> Structure:
    """The storage primary that key files with parent TPM_RH_OWNER are made under, the same everywhere.

    An ECC P-256 key, AES-128-CFB, no unique value: with the owner's seed it is determined.
    """
    t = tss()
    attributes = MADE_INSIDE | Attributes.USER_WITH_AUTH | Attributes.NO_DA
    return _sized(
        t.TPMT_PUBLIC(
            type=t.TPM2_ALG.ECC,
            nameAlg=t.TPM2_ALG.SHA256,
            objectAttributes=int(attributes | Attributes.RESTRICTED | Attributes.DECRYPT),
            parameters=t.TPMU_PUBLIC_PARMS(eccDetail=_ecc(Algorithm.P256, aes128cfb(t.TPMT_SYM_DEF_OBJECT))),
        )
    )


def key(algorithm: Algorithm, attributes: Attributes, policy: bytes = b"") -> Structure:
    """An unrestricted key without a fixed scheme. Raises NotSupported for algorithms that no TPM has."""
    t = tss()
    area = t.TPMT_PUBLIC(nameAlg=t.TPM2_ALG.SHA256, objectAttributes=int(attributes), authPolicy=policy)
    if algorithm.family is Family.RSA:
        area.type = t.TPM2_ALG.RSA
        area.parameters = t.TPMU_PUBLIC_PARMS(rsaDetail=_rsa(algorithm))
    elif algorithm in _CURVES:
        area.type = t.TPM2_ALG.ECC
        area.parameters = t.TPMU_PUBLIC_PARMS(eccDetail=_ecc(algorithm, no_symmetric()))
    else:
        raise NotSupported(f"TPMs have no {algorithm} keys", hint="use P-256, P-384 or RSA")
    return _sized(area)


def sealed(attributes: Attributes, policy: bytes = b"") -> Structure:
    """A data object."""
    t = tss()
    return _sized(
        t.TPMT_PUBLIC(
            type=t.TPM2_ALG.KEYEDHASH,
            nameAlg=t.TPM2_ALG.SHA256,
            objectAttributes=int(attributes),
            authPolicy=policy,
            parameters=t.TPMU_PUBLIC_PARMS(
                keyedHashDetail=t.TPMS_KEYEDHASH_PARMS(scheme=t.TPMT_KEYEDHASH_SCHEME(scheme=t.TPM2_ALG.NULL))
            ),
        )
    )


def attestation_key() -> Structure:
    """A restricted ECDSA P-256 key, which signs nothing but what the TPM itself made."""
    t = tss()
    attributes = MADE_INSIDE | Attributes.USER_WITH_AUTH | Attributes.NO_DA
    detail = _ecc(Algorithm.P256, no_symmetric())
    detail.scheme = t.TPMT_ECC_SCHEME(
        scheme=t.TPM2_ALG.ECDSA,
        details=t.TPMU_ASYM_SCHEME(ecdsa=t.TPMS_SCHEME_HASH(hashAlg=t.TPM2_ALG.SHA256)),
    )
    return _sized(
        t.TPMT_PUBLIC(
            type=t.TPM2_ALG.ECC,
            nameAlg=t.TPM2_ALG.SHA256,
            objectAttributes=int(attributes | Attributes.RESTRICTED | Attributes.SIGN),
            parameters=t.TPMU_PUBLIC_PARMS(eccDetail=detail),
        )
    )


def aes128cfb(kind: Structure) -> Structure:
    """AES-128-CFB as a TPMT_SYM_DEF or TPMT_SYM_DEF_OBJECT."""
    t = tss()
    return kind(
        algorithm=t.TPM2_ALG.AES,
        keyBits=t.TPMU_SYM_KEY_BITS(aes=128),
        mode=t.TPMU_SYM_MODE(aes=t.TPM2_ALG.CFB),
    )


def no_symmetric() -> Structure:
    """No symmetric algorithm, for everything but parents."""
    t = tss()
    return t.TPMT_SYM_DEF_OBJECT(algorithm=t.TPM2_ALG.NULL)


def _ecc(algorithm: Algorithm, symmetric: Structure) -> Structure:
    t = tss()
    return t.TPMS_ECC_PARMS(
        symmetric=symmetric,
        scheme=t.TPMT_ECC_SCHEME(scheme=t.TPM2_ALG.NULL),
        curveID=getattr(t.TPM2_ECC, _CURVES[algorithm]),
        kdf=t.TPMT_KDF_SCHEME(scheme=t.TPM2_ALG.NULL),
    )


def _rsa(algorithm: Algorithm) -> Structure:
    t = tss()
    return t.TPMS_RSA_PARMS(
        symmetric=no_symmetric(),
        scheme=t.TPMT_RSA_SCHEME(scheme=t.TPM2_ALG.NULL),
        keyBits=algorithm.field_length * 8,
        exponent=0,
    )


def _sized(area: Structure) -> Structure:
    return tss().TPM2B_PUBLIC(publicArea=area)
