"""tpm2-pkcs11: a software TPM behind another project's PKCS#11 module.

The module needs a resource manager, since it keeps every key loaded that it has used: tpm2-abrmd, on a
message bus of the lab's own. Both are found by the environment, when the module is initialised. A process has
one session bus and keeps it, so it can have one such lab; a second is refused.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from meshhw_pkcs11 import cryptoki

from meshhw.errors import DriverUnavailable, StateError
from meshhw.lab.pkcs11_token import Pkcs11Token, first_module, initialise, new_pin
from meshhw.lab.process import Daemon, find_program
from meshhw.lab.swtpm import SoftwareTpm

MODULES = (
    "/usr/lib/x86_64-linux-gnu/libtpm2_pkcs11.so.1",
    "/usr/lib/x86_64-linux-gnu/pkcs11/libtpm2_pkcs11.so.1",
    "/usr/lib/aarch64-linux-gnu/libtpm2_pkcs11.so.1",
    "/usr/lib/aarch64-linux-gnu/pkcs11/libtpm2_pkcs11.so.1",
    "/usr/lib64/libtpm2_pkcs11.so.1",
)
_BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
  </policy>
</busconfig>
"""


class Tpm2Pkcs11:
    """One token. Use it as a context manager; raises DriverUnavailable where a part is not installed."""

    _used = False

    def __init__(self, label: str) -> None:
        """Start the TPM, the bus and the manager, and make a token."""
        module = first_module(MODULES)
        if module is None:
            raise DriverUnavailable("tpm2-pkcs11 is not installed", hint="apt-get install libtpm2-pkcs11-1")
        if Tpm2Pkcs11._used:
            raise StateError("this process had a tpm2-pkcs11 lab already", hint="use another process")
        self.module_path = module
        with ExitStack() as running:
            temporary = tempfile.TemporaryDirectory(prefix="meshhw-tp11-")
            self.directory = Path(running.enter_context(temporary))
            self.tpm = running.enter_context(SoftwareTpm(self.directory / "tpm"))
            (self.directory / "store").mkdir(mode=0o700)
            self._start_bus(running)
            self._start_manager(running)
            with _environment(self._addresses):  # read once, when the module is initialised
                self.token = self._initialised(label)
            self._running = running.pop_all()

    @property
    def env(self) -> dict[str, str]:
        """What another process needs to see the token and no other one."""
        return {**self._addresses, "MESHHW_PKCS11_MODULES": self.module_path}

    @property
    def _addresses(self) -> dict[str, str]:
        return {
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={self._socket}",
            "TPM2_PKCS11_STORE": str(self.directory / "store"),
            "TPM2_PKCS11_TCTI": "tabrmd:bus_type=session",
            "TPM2_PKCS11_LOG_LEVEL": "0",
        }

    def close(self) -> None:
        """End the daemons. The module stays loaded, as modules do."""
        self._running.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def _socket(self) -> Path:
        return self.directory / "bus"

    def _start_bus(self, running: ExitStack) -> None:
        configuration = self.directory / "bus.conf"
        configuration.write_text(_BUS.format(socket=self._socket))
        program = find_program("dbus-daemon", "dbus-daemon")
        command = [program, f"--config-file={configuration}", "--nofork", "--nopidfile"]
        running.enter_context(Daemon(command, self.directory / "bus.log")).wait_until(self._socket.exists)

    def _start_manager(self, running: ExitStack) -> None:
        program = find_program("tpm2-abrmd", "tpm2-abrmd")
        command = [
            program,
            "--session",
            "--allow-root",
            "--flush-all",
            "--max-transients=100",
            f"--tcti={self.tpm.tcti}",
        ]
        log = self.directory / "abrmd.log"
        running.enter_context(Daemon(command, log, self.env)).wait_until(self._manager_answers)

    def _manager_answers(self) -> bool:
        ask = [find_program("dbus-send", "dbus-bin"), "--session", "--print-reply=literal"]
        ask += ["--dest=org.freedesktop.DBus", "/", "org.freedesktop.DBus.NameHasOwner"]
        ask += ["string:com.intel.tss2.Tabrmd"]
        done = subprocess.run(ask, env=os.environ | self.env, capture_output=True, text=True, check=False)
        return "true" in done.stdout

    def _initialised(self, label: str) -> Pkcs11Token:
        Tpm2Pkcs11._used = True
        module = cryptoki.load(self.module_path)
        token = Pkcs11Token("tpm2-pkcs11", label, self.module_path, new_pin(), new_pin(), self.env)
        initialise(module, module.slots()[-1], token)
        return token


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Have these variables in this process for the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
