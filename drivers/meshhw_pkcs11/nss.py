"""Whether NSS is to be used in its FIPS mode: its database says so, where `modutil -fips true` writes it."""

from __future__ import annotations

import re
from pathlib import Path

_DIRECTORY = re.compile(r"configdir=(?:'(?:sql:)?([^']*)'|\"(?:sql:)?([^\"]*)\"|(?:sql:)?(\S+))")
_FLAGS = re.compile(r"\bflags=(\S+)", re.IGNORECASE)
_LIMIT = 65536


def in_fips_mode(reserved: str) -> bool:
    """Whether softokn, started with these parameters, has a database in FIPS mode.

    The database's list of modules (`pkcs11.txt`) names NSS's own one with the flags `internal` and `FIPS`.
    A module that is not NSS has no `configdir`.
    """
    place = _DIRECTORY.search(reserved)
    if place is None:
        return False
    directory = next(filter(None, place.groups()), "")
    try:
        with Path(directory, "pkcs11.txt").open(errors="replace") as file:
            lines = file.read(_LIMIT).splitlines()
    except OSError:
        return False
    return any(_says_fips(line) for line in lines if line.startswith("NSS="))


def _says_fips(line: str) -> bool:
    flags = {flag.lower() for found in _FLAGS.findall(line) for flag in found.split(",")}
    return {"internal", "fips"} <= flags
