"""The lab's software TPMs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from meshhw.keystore.uri import TokenURI
from meshhw.lab.faults import SLOW_SECONDS, Fault
from meshhw.lab.part import LabToken, Order, impossible
from meshhw.lab.pkcs11_token import new_pin
from meshhw.lab.swtpm import SoftwareTpm
from meshhw.lab.tpm_proxy import Delay
from meshhw.lab.tpm_proxy import Fault as ProxyFault

VARIABLE = "MESHHW_TPM_TCTI"
TOOLS_VARIABLE = "TPM2TOOLS_TCTI"
"""What tpm2-tools and others read, which know one TPM."""


class TpmPart:
    """swtpm processes behind their proxies."""

    def __init__(self, order: Order, directory: Path) -> None:
        """Start what was ordered. Raises DriverUnavailable."""
        self._running = ExitStack()
        self._held: dict[str, _Tpm] = {}
        self._told: list[LabToken] = []
        with ExitStack() as undo:
            undo.callback(self.close)
            for number in range(1, order.tpm + 1):
                tpm = self._running.enter_context(SoftwareTpm(directory / f"tpm-{number}"))
                self._held[f"tpm-{number}"] = _Tpm(tpm)
                self._told.append(_told(f"tpm-{number}", tpm.tcti))
            undo.pop_all()

    @property
    def tokens(self) -> Sequence[LabToken]:
        """The TPMs. A TPM has no PIN of its own: the one told here becomes that of the keys made with it."""
        return self._told

    @property
    def env(self) -> Mapping[str, str]:
        """The addresses; for other programs that of the first TPM."""
        addresses = [held.tpm.tcti for held in self._held.values()]
        if not addresses:
            return {}
        return {VARIABLE: " ".join(addresses), TOOLS_VARIABLE: addresses[0]}

    def fault(self, name: str, fault: Fault) -> None:
        """Let a fault befall a TPM. Raises NotSupported."""
        action = _ACTIONS.get(fault)
        if action is None:
            raise impossible("tpm", fault)
        action(self._held[name])

    def close(self) -> None:
        """End the daemons."""
        self._running.close()


class _Tpm:
    """A TPM, and what was done to it."""

    def __init__(self, tpm: SoftwareTpm) -> None:
        self.tpm = tpm
        self._gone = False
        self._replaced = False
        self._filled: list[int] = []

    def pull(self) -> None:
        self.tpm.kill()
        self._gone = True

    def put_back(self) -> None:
        if self._replaced:
            self.tpm.put_back()
        elif self._gone:
            self.tpm.restart()
        self._gone = self._replaced = False

    def swap(self) -> None:
        if not self._replaced:
            self.tpm.replace()
        self._gone, self._replaced = False, True

    def fill(self) -> None:
        self._filled += self.tpm.fill()

    def slow(self) -> None:
        self.tpm.proxy.inject(ProxyFault(Delay(SLOW_SECONDS)))

    def heal(self) -> None:
        self.tpm.resume()
        self.tpm.proxy.clear_faults()
        self.put_back()
        self.tpm.flush(self._filled)
        self._filled = []
        self.tpm.unlock()


_ACTIONS: dict[Fault, Callable[[_Tpm], None]] = {
    Fault.PULL: _Tpm.pull,
    Fault.RETURN: _Tpm.put_back,
    Fault.SWAP: _Tpm.swap,
    Fault.LOCK: lambda held: held.tpm.lock(),
    Fault.HANG: lambda held: held.tpm.hang(),
    Fault.SLOW: _Tpm.slow,
    Fault.FULL: _Tpm.fill,
    Fault.CLEAR: lambda held: held.tpm.clear(),
    Fault.NONE: _Tpm.heal,
}


def _told(name: str, tcti: str) -> LabToken:
    uri = str(TokenURI.make("tpm2", tcti=tcti))
    return LabToken(name, "tpm", uri, "tpm2:", f"{new_pin()}\n")
