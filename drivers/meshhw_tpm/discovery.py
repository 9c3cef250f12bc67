"""Where TPMs may be: the addresses (TCTI configurations) that are tried, in order."""

from __future__ import annotations

import os
from pathlib import Path

from meshhw.keystore.uri import TokenURI

VARIABLES = ("MESHHW_TPM_TCTI", "TPM2TOOLS_TCTI", "TSS2_TCTI")
"""The first one that is set replaces the search; several addresses are separated by blanks."""
DEVICES = ("/dev/tpmrm0", "/dev/tpmrm1")


def candidates() -> tuple[str, ...]:
    """The addresses that the environment names, else the resource managers of the kernel that exist."""
    for variable in VARIABLES:
        named = os.environ.get(variable, "").split()
        if named:
            return tuple(named)
    return tuple(f"device:{device}" for device in DEVICES if Path(device).exists())


def addresses(uri: TokenURI) -> tuple[str, ...]:
    """Where the TPM of this URI may be: at its own address alone, if it has one."""
    own = uri.get("tcti")
    return (own,) if own else candidates()
