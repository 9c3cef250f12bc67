"""NSS softokn tokens: a database each, behind a copy each of the module, so that one process can use several.

NSS takes its configuration as a parameter of C_Initialize. It is handed on as p11-kit writes it down for any
program: a `.module` file with `x-init-reserved` (pkcs11.conf(5)), which the PKCS#11 driver reads too.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from meshhw.errors import DriverUnavailable
from meshhw.lab.pkcs11_token import Pkcs11Token, first_module, new_pin

MODULES = (
    "/usr/lib/x86_64-linux-gnu/libsoftokn3.so",
    "/usr/lib/aarch64-linux-gnu/libsoftokn3.so",
    "/usr/lib/x86_64-linux-gnu/nss/libsoftokn3.so",
    "/usr/lib64/libsoftokn3.so",
)
FIPS_PIN = "-Fips"
"""What makes a PIN of digits one that FIPS mode takes: letters of both cases and a sign."""


def copy_check(source: Path, module: Path) -> None:
    """NSS's signature over its own file, without which it refuses FIPS mode. Raises DriverUnavailable."""
    signature = source.with_suffix(".chk")
    if not signature.exists():
        raise DriverUnavailable(f"NSS was installed without {signature.name}, so it has no FIPS mode")
    shutil.copyfile(signature, module.with_suffix(".chk"))


class NSS:
    """One NSS token. Use it as a context manager; raises DriverUnavailable without NSS and its tools."""

    def __init__(
        self, label: str, directory: Path | None = None, *, pin: str = "", fips: bool = False
    ) -> None:
        """Keep the database below `directory`; None makes a private temporary one that goes at the end.

        In FIPS mode a token imports nothing and lets no secret out, agreed ones neither.
        """
        source, certutil = first_module(MODULES), shutil.which("certutil")
        if source is None or certutil is None:
            raise DriverUnavailable("NSS is not installed", hint="apt-get install libnss3 libnss3-tools")
        self._temporary = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="meshhw-nss-"))
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.configuration = self.directory / "nss.module"
        module = self.directory / "libsoftokn3.so"
        shutil.copyfile(source, module)
        if fips:
            copy_check(Path(source), module)
        path = str(self.configuration)
        env = {"MESHHW_PKCS11_MODULES": path}
        self.token = Pkcs11Token("nss", label, path, pin or new_pin() + FIPS_PIN * fips, "", env)
        self._make_database(certutil)
        if fips:
            self._switch()
        self.configuration.write_text(f"module: {module}\nx-init-reserved: {self._parameters()}\n")

    def close(self) -> None:
        """Remove what is temporary. The module stays loaded, as modules do."""
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _make_database(self, certutil: str) -> None:
        """certutil reads the PIN from a file, which nobody else can and which goes at once."""
        pin_file = self.directory / "pin"
        pin_file.touch(mode=0o600)
        try:
            pin_file.write_text(self.token.pin + "\n")
            arguments = [certutil, "-N", "-d", f"sql:{self.directory}", "-f", str(pin_file)]
            done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        finally:
            pin_file.unlink()
        if done.returncode:
            raise DriverUnavailable(f"certutil made no database: {done.stderr.strip()}")

    def _switch(self) -> None:
        """The database into FIPS mode, as any user of NSS does it."""
        arguments = ["modutil", "-fips", "true", "-dbdir", f"sql:{self.directory}", "-force"]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DriverUnavailable(f"modutil did not set FIPS mode: {done.stderr.strip()}")

    def _parameters(self) -> str:
        return (
            f"configdir='sql:{self.directory}' certPrefix='' keyPrefix='' secmod='secmod.db' "
            f"flags=readWrite dbTokenDescription='{self.token.label}' "
            f"FIPSTokenDescription='{self.token.label}'"
        )
