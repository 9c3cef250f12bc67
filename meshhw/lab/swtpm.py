"""Software TPMs: swtpm processes with a private state, behind a proxy that counts and disturbs.

A TPM here can be restarted, cleared, replaced by another one at the same address, hung and killed, as the
real ones are by firmware updates, owners, repairs and bad luck.
"""

from __future__ import annotations

import secrets
import socket
import struct
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from meshhw.errors import TokenFault
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.registry import open_token
from meshhw.keystore.uri import TokenURI
from meshhw.lab import tpm_wire
from meshhw.lab.ports import free_pair
from meshhw.lab.process import Daemon, find_program
from meshhw.lab.tpm_maker import endorse
from meshhw.lab.tpm_proxy import TpmProxy

if TYPE_CHECKING:
    from meshhw.keystore.api import Token

TRANSIENT_SLOTS = 3  # of libtpms
DEFAULT_TRIES, DEFAULT_RECOVERY = 3, 1000
START_TRIES = 5


class SoftwareTpm:
    """One swtpm. Use it as a context manager; `tcti` is the address through the proxy, `direct` without.

    Raises DriverUnavailable where swtpm is not installed.
    """

    def __init__(self, directory: Path | None = None, *, endorsed: bool = False) -> None:
        """Keep the state below `directory`; None makes a private temporary one that goes with the TPM.

        `endorsed` gives it an endorsement certificate, which takes a second (see `authority`).
        """
        self._temporary = None if directory else tempfile.TemporaryDirectory(prefix="meshhw-tpm-")
        self.directory = directory or Path(self._temporary.name if self._temporary else "")
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.pin = f"{secrets.randbelow(10**8):08d}"
        self._program = find_program("swtpm", "swtpm")
        self._generation = 0
        if endorsed:
            self.state.mkdir(mode=0o700, exist_ok=True)
            endorse(self.state, self.authority)
        self._port, self._daemon = self._first_start()
        self.proxy = TpmProxy(self._port)

    @property
    def tcti(self) -> str:
        """The TCTI configuration that clients use; it stays the same over restart and replacement."""
        return f"swtpm:host=127.0.0.1,port={self.proxy.port}"

    @property
    def direct(self) -> str:
        """The TCTI configuration past the proxy, for measurements."""
        return f"swtpm:host=127.0.0.1,port={self._port}"

    @property
    def uri(self) -> TokenURI:
        """Its name for the key store."""
        return TokenURI.make("tpm2", tcti=self.tcti)

    @property
    def env(self) -> Mapping[str, str]:
        """What another process needs to see this TPM and no other, tpm2-tools included."""
        return {"MESHHW_TPM_TCTI": self.tcti, "TPM2TOOLS_TCTI": self.tcti}

    def options(self, **changes: object) -> OpenOptions:
        """Options whose interaction knows the PIN; keywords are those of OpenOptions."""
        person = Scripted({PinKind.USER: self.pin, PinKind.SO: self.pin})
        return OpenOptions(**({"interaction": person} | changes))  # type: ignore[arg-type]  # keywords pass through

    def open(self, **changes: object) -> Token:
        """The opened token, through the registry as any caller gets it."""
        return open_token(self.uri, self.options(**changes))

    @property
    def pid(self) -> int:
        """The process id of the daemon that runs now."""
        return self._daemon.pid

    @property
    def authority(self) -> Path:
        """Where the authority that endorsed it keeps its certificates (`tpm_maker.certificates`)."""
        return self.directory / "authority"

    @property
    def state(self) -> Path:
        """The directory of the TPM that is in place now."""
        return self.directory / f"tpm{self._generation}"

    def restart(self) -> None:
        """Power off and on: what is transient is gone, seeds and persistent objects stay."""
        self._daemon.stop()
        self._daemon = self._start(self._port)

    def kill(self) -> None:
        """End the daemon as a crash would; `restart` brings it back."""
        self._daemon.kill()

    def hang(self) -> None:
        """Stop answering, at the level of the process."""
        self._daemon.suspend()

    def resume(self) -> None:
        """Go on answering."""
        self._daemon.resume()

    def replace(self) -> None:
        """Another TPM at the same address, as after a new main board."""
        self._daemon.stop()
        self._generation += 1
        self._daemon = self._start(self._port)

    def put_back(self) -> None:
        """The TPM that was there before `replace`. Raises TokenFault if there was none."""
        if self._generation == 0:
            raise TokenFault("this TPM was not replaced")
        self._daemon.stop()
        self._generation -= 1
        self._daemon = self._start(self._port)

    def clear(self) -> None:
        """TPM2_Clear: the owner's keys are gone for ever, the address and the maker are the same."""
        self._send(tpm_wire.clear())

    def lock(self) -> None:
        """Dictionary-attack lock-out, as somebody's wrong tries would bring it."""
        self._send(tpm_wire.dictionary_attack_parameters(0, DEFAULT_RECOVERY))

    def nearly_lock(self) -> None:
        """Leave one try until lock-out, as somebody's wrong tries would."""
        failed, _ = self._tries()
        self._send(tpm_wire.dictionary_attack_parameters(failed + 1, DEFAULT_RECOVERY))

    def tries_left(self) -> int:
        """How many wrong tries it takes to lock it now."""
        failed, limit = self._tries()
        return max(0, limit - failed)

    def unlock(self) -> None:
        """End the lock-out that `lock` made, or its nearness."""
        self._send(tpm_wire.dictionary_attack_parameters(DEFAULT_TRIES, DEFAULT_RECOVERY))

    def own(self, password: str) -> None:
        """Give the owner's hierarchy a password, as some administrators do."""
        self._send(tpm_wire.owner_password(password.encode()))

    def fill(self) -> list[int]:
        """Take every free transient slot, as a program that does not flush would; the handles taken."""
        taken: list[int] = []
        with suppress(TokenFault):  # the answer of a full TPM is TPM_RC_OBJECT_MEMORY
            for _ in range(TRANSIENT_SLOTS + 1):
                taken.append(int.from_bytes(self._send(tpm_wire.hash_sequence_start())[:4], "big"))
        return taken

    def loaded(self) -> int:
        """How many transient slots are taken now."""
        answer = self._send(tpm_wire.transient_handles())
        return int.from_bytes(answer[5:9], "big")  # moreData, the capability, then the list's count

    def flush(self, handles: list[int]) -> None:
        """Give slots back that `fill` took."""
        for handle in handles:
            self._send(tpm_wire.flush_context(handle))

    def close(self) -> None:
        """End the daemon and the proxy. Closing twice is fine."""
        self.proxy.close()
        self._daemon.stop()
        if self._temporary is not None:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _tries(self) -> tuple[int, int]:
        """Wrong tries so far, and how many lock the TPM."""
        answer = self._send(tpm_wire.failed_tries())
        _, failed, _, limit = struct.unpack(">IIII", answer[9:25])  # two pairs of property and value
        return failed, limit

    def _send(self, message: bytes) -> bytes:
        return tpm_wire.transact(("127.0.0.1", self._port), message)

    def _first_start(self) -> tuple[int, Daemon]:
        """Start on ports that are free; another program may take them before swtpm does, so try again."""
        for _ in range(START_TRIES - 1):
            port = free_pair()
            with suppress(TokenFault):
                return port, self._start(port)
        port = free_pair()
        return port, self._start(port)

    def _start(self, port: int) -> Daemon:
        self.state.mkdir(mode=0o700, exist_ok=True)
        arguments = [self._program, "socket", "--tpm2", "--tpmstate", f"dir={self.state},mode=0600"]
        arguments += ["--server", f"type=tcp,port={port}", "--ctrl", f"type=tcp,port={port + 1}"]
        arguments += ["--flags", "not-need-init,startup-clear"]
        daemon = Daemon(arguments, self.directory / "swtpm.log")
        daemon.wait_until(lambda: _listens(port))
        return daemon


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
