"""What one TPM can do, asked of it (TPM2_GetCapability, TPM2_TestParms)."""

from __future__ import annotations

from meshhw.algorithms import Algorithm, Family, Operation, Tier
from meshhw.errors import NotSupported
from meshhw.keystore.api import Capabilities
from meshhw.keystore.tpm_public import CURVES
from meshhw_tpm.context import Context

_CURVE_OPERATIONS = (
    Operation.GENERATE,
    Operation.IMPORT,
    Operation.SIGN,
    Operation.SIGN_DIGEST,
    Operation.AGREE,
    Operation.AGREE_POINT,
    Operation.ATTEST,
)
_RSA_OPERATIONS = (
    Operation.GENERATE,
    Operation.IMPORT,
    Operation.SIGN,
    Operation.DECRYPT,
    Operation.ATTEST,
)
_RSA = tuple(algorithm for algorithm in Algorithm if algorithm.family is Family.RSA)


def ask(context: Context) -> Capabilities:
    """The matrix of this TPM; everything that it does is native."""
    _, data = context.esapi.get_capability(context.tss.TPM2_CAP.ECC_CURVES, 1, 64)
    curves = [CURVES[int(curve)] for curve in data.data.eccCurves if int(curve) in CURVES]
    sizes = [algorithm for algorithm in _RSA if _takes_rsa(context, algorithm.field_length * 8)]
    matrix = {(algorithm, operation): Tier.NATIVE for algorithm in curves for operation in _CURVE_OPERATIONS}
    matrix |= {(algorithm, operation): Tier.NATIVE for algorithm in sizes for operation in _RSA_OPERATIONS}
    return Capabilities(matrix, seals=True)


def _takes_rsa(context: Context, bits: int) -> bool:
    t = context.tss
    parameters = t.TPMS_RSA_PARMS(
        symmetric=t.TPMT_SYM_DEF_OBJECT(algorithm=t.TPM2_ALG.NULL),
        scheme=t.TPMT_RSA_SCHEME(scheme=t.TPM2_ALG.NULL),
        keyBits=bits,
        exponent=0,
    )
    wanted = t.TPMT_PUBLIC_PARMS(type=t.TPM2_ALG.RSA, parameters=t.TPMU_PUBLIC_PARMS(rsaDetail=parameters))
    try:
        context.esapi.test_parms(wanted)
    except t.TSS2_Exception as error:
        if error.fmt1:  # TPM_RC_VALUE and its like: this size is not had
            return False
        raise
    return True


def require(found: Capabilities, algorithm: Algorithm) -> None:
    """Raise NotSupported unless keys of this algorithm can be made."""
    if not found.can(algorithm, Operation.GENERATE):
        able = ", ".join(found.algorithms())
        raise NotSupported(f"this TPM has no {algorithm} keys", hint=f"it has {able}")
