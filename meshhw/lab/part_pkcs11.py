"""The lab's PKCS#11 tokens: each module behind the fault module, so that faults reach every program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from meshhw_pkcs11 import cryptoki, modules

from meshhw.errors import DriverUnavailable
from meshhw.keystore.uri import TokenURI
from meshhw.lab import shim
from meshhw.lab.faults import SLOW_SECONDS, Fault
from meshhw.lab.nss import NSS
from meshhw.lab.opencryptoki import OpenCryptoki
from meshhw.lab.part import LabToken, Order, impossible
from meshhw.lab.pkcs11_token import Pkcs11Token, erase
from meshhw.lab.shim import State, Trouble
from meshhw.lab.softhsm import SoftHSM
from meshhw.lab.tpm2_pkcs11 import Tpm2Pkcs11

VARIABLE = modules.VARIABLE


class Pkcs11Part:
    """PKCS#11 tokens of four modules. Without a C compiler they run, but no fault can befall them."""

    def __init__(self, order: Order, directory: Path) -> None:
        """Start what was ordered. Raises DriverUnavailable."""
        self._running = ExitStack()
        self._held: dict[str, Pkcs11Token] = {}
        self._controls: dict[str, Path] = {}
        self._modules: list[str] = []
        self._env: dict[str, str] = {}
        with ExitStack() as undo:
            undo.callback(self.close)
            self._start_softhsm(order.softhsm, directory / "softhsm")
            for number in range(1, order.nss + 1):
                self._start_nss(f"nss-{number}", directory / f"nss-{number}")
            if order.opencryptoki:
                self._start_opencryptoki(directory / "opencryptoki")
            if order.tpm2_pkcs11:
                self._start_tpm2_pkcs11(directory / "tpm2-pkcs11")
            undo.pop_all()

    @property
    def tokens(self) -> Sequence[LabToken]:
        """The tokens, in the order in which they were started."""
        return [_told(token) for token in self._held.values()]

    @property
    def env(self) -> Mapping[str, str]:
        """The modules, and what SoftHSM and tpm2-pkcs11 read."""
        return {**self._env, VARIABLE: ":".join(self._modules)}

    def fault(self, name: str, fault: Fault) -> None:
        """Let a fault befall a token. Raises NotSupported, DriverUnavailable without the fault module."""
        token = self._held[name]
        if fault is Fault.CLEAR:
            if token.family in ("nss", "tpm2-pkcs11"):
                raise impossible(token.family, fault)
            erase(cryptoki.load(token.module_path), token)
            return
        if fault not in _ACTIONS:
            raise impossible(token.family, fault)
        if name not in self._controls:
            shim.compiled()  # raises what it raised when the lab was started
        _ACTIONS[fault](shim.Control(self._controls[name]).trouble(token.label))

    def close(self) -> None:
        """End the daemons; the directory is the keeper's to remove."""
        self._running.close()

    def _start_softhsm(self, count: int, directory: Path) -> None:
        if not count:
            return
        lab = self._running.enter_context(SoftHSM(directory))
        self._env["SOFTHSM2_CONF"] = lab.env["SOFTHSM2_CONF"]
        path, control = _shimmed(lab.module_path, directory, "softhsm")
        self._modules.append(path)
        for number in range(1, count + 1):
            self._keep(lab.add(f"softhsm-{number}"), control)

    def _start_nss(self, label: str, directory: Path) -> None:
        lab = self._running.enter_context(NSS(label, directory))
        spec = modules.at(lab.token.module_path)
        path, control = _shimmed(spec.path, directory, label)
        lab.configuration.write_text(f"module: {path}\nx-init-reserved: {spec.reserved}\n")
        self._modules.append(str(lab.configuration))
        self._keep(lab.token, control)

    def _start_opencryptoki(self, directory: Path) -> None:
        directory.mkdir(mode=0o700)
        lab = self._running.enter_context(OpenCryptoki("opencryptoki-1", directory))
        path, control = _shimmed(lab.module_path, directory, "opencryptoki")
        self._modules.append(path)
        self._keep(lab.token, control)

    def _start_tpm2_pkcs11(self, directory: Path) -> None:
        directory.mkdir(mode=0o700)
        lab = self._running.enter_context(Tpm2Pkcs11("tpm2-pkcs11-1"))
        path, control = _shimmed(lab.module_path, directory, "tpm2-pkcs11")
        self._env.update({name: value for name, value in lab.env.items() if name != VARIABLE})
        self._modules.append(path)
        self._keep(lab.token, control)

    def _keep(self, token: Pkcs11Token, control: Path | None) -> None:
        self._held[token.label] = token
        if control is not None:
            self._controls[token.label] = control


_ACTIONS: dict[Fault, Callable[[Trouble], None]] = {
    Fault.PULL: Trouble.pull,
    Fault.RETURN: Trouble.put_back,
    Fault.SWAP: Trouble.swap,
    Fault.LOCK: lambda trouble: trouble.be(State.LOCKED),
    Fault.FULL: lambda trouble: trouble.be(State.FULL),
    Fault.BUSY: lambda trouble: trouble.be(State.BUSY),
    Fault.HANG: lambda trouble: trouble.hang(),
    Fault.SLOW: lambda trouble: trouble.delay(SLOW_SECONDS),
    Fault.NONE: Trouble.clear,
}


def _shimmed(module: str, directory: Path, name: str) -> tuple[str, Path | None]:
    """The module to give to programs, and its control file; the bare module where there is no compiler."""
    try:
        path = shim.place(module, directory, f"{name}-lab")
    except DriverUnavailable:
        return module, None
    return str(path), shim.control_of(path)


def _told(token: Pkcs11Token) -> LabToken:
    uri = str(TokenURI.make("pkcs11", token=token.label))
    so_pin = f"so={token.so_pin}\n" if token.so_pin else ""
    return LabToken(token.label, token.family, uri, uri, f"{token.pin}\n{so_pin}")
