"""The vendor library, loaded when it is first needed and not before."""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from meshhw.errors import DriverUnavailable

Handle = Any
"""An ESYS_TR: the vendor library has no types."""
Structure = Any
"""A TPM structure of the vendor library."""


@cache
def tss() -> ModuleType:
    """`tpm2_pytss`. Raises DriverUnavailable with the reason."""
    os.environ.setdefault("TSS2_LOG", "all+NONE")  # the C library would print every fault that we handle
    try:
        import_module("tpm2_pytss.utils")
        return import_module("tpm2_pytss")
    except (ImportError, OSError) as error:
        raise DriverUnavailable(
            f"the TPM library cannot be loaded: {error}",
            hint="sudo apt-get install build-essential python3-dev pkg-config libtss2-dev"
            " libtss2-tcti-device0 && pip install 'meshhw[tpm]'",
        ) from error
