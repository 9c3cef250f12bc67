"""How many commands a TPM is sent."""

from __future__ import annotations

from typing import Any

from meshhw.keystore.tally import Tally
from meshhw_tpm.tss import Structure

_SILENT = ("tr_", "trsess_", "close")
"""Methods that only change what the library knows of an object or a session begin with these."""
_ASKS = "tr_from_tpmpublic"
"""But this one has the TPM tell an object's public area."""


class Counted:
    """An ESAPI context whose commands are counted: one for each method that sends any.

    What the library sends anew for a TPM that wants to be asked later (TPM_RC_RETRY) counts once.
    """

    def __init__(self, esapi: Structure, commands: Tally) -> None:
        self._esapi = esapi
        self._commands = commands

    def __getattr__(self, method: str) -> Any:
        if method == _ASKS or not method.startswith(_SILENT):
            self._commands.note()
        return getattr(self._esapi, method)
