"""What the TPM says of how a key is kept, and what it answers to the command that would let the key out."""

from __future__ import annotations

from meshhw.keystore.api import Protection
from meshhw.keystore.tpm_public import Attributes
from meshhw_tpm import errors
from meshhw_tpm.connection import Connection
from meshhw_tpm.context import Context
from meshhw_tpm.source import Source
from meshhw_tpm.templates import no_symmetric

_TOLD = {
    "fixedTPM": Attributes.FIXED_TPM,
    "fixedParent": Attributes.FIXED_PARENT,
    "sensitiveDataOrigin": Attributes.SENSITIVE_DATA_ORIGIN,
    "userWithAuth": Attributes.USER_WITH_AUTH,
    "noDA": Attributes.NO_DA,
}


def ask(connection: Connection, source: Source) -> Protection:
    """Read the attributes and try TPM2_Duplicate, the only way a private part ever leaves a TPM."""
    code = connection.run(lambda context: _duplicate(context, source))
    answers = {name: str(source.area.has(flag)).lower() for name, flag in _TOLD.items()}
    answers["TPM2_Duplicate"] = "done" if code is None else _name(code)
    return Protection(
        extractable=code is None,
        generated_inside=source.area.has(_TOLD["sensitiveDataOrigin"]),
        answers=answers,
    )


def _duplicate(context: Context, source: Source) -> int | None:
    with source.opened(context) as handle:
        try:
            nowhere = context.tss.ESYS_TR.RH_NULL
            context.esapi.duplicate(handle, nowhere, b"", no_symmetric(), session1=context.password())
        except context.tss.TSS2_Exception as error:
            code = errors.tpm_code(int(error.rc))
            if code is None or code in errors.STALE:
                raise
            return code
    return None


def _name(code: int) -> str:
    known = errors.TABLE.get(code)
    return known.name if known else f"TPM_RC 0x{code:x}"
