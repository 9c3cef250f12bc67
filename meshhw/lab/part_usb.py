"""The lab's FIDO2 authenticators in USB ports."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence

from meshhw.lab.ctap.hid import Command, CtapHidDevice
from meshhw.lab.ctap.hid_token import VirtualHidToken
from meshhw.lab.faults import SLOW_SECONDS, Fault
from meshhw.lab.hid_port import HidPort
from meshhw.lab.part import LabToken, Order, impossible
from meshhw.lab.piv.faults import Kind
from meshhw.lab.pkcs11_token import new_pin
from meshhw.lab.vpcd import lab_directory

FOR_EVER = 1 << 30


class UsbPart:
    """Authenticators, each in a port of its own, that programs see by a preloaded library."""

    def __init__(self, order: Order) -> None:
        """Plug them in. Raises DriverUnavailable where there is no compiler."""
        self._held: dict[str, _Plugged] = {}
        self._told: list[LabToken] = []
        self._directory = lab_directory()  # short, since the ports are sockets in it
        try:
            for number in range(order.fido2_usb):
                self._plug(number)
        except BaseException:
            self.close()
            raise

    @property
    def tokens(self) -> Sequence[LabToken]:
        """The authenticators."""
        return self._told

    @property
    def env(self) -> Mapping[str, str]:
        """The ports, and the library that shows them."""
        return next((held.token.env for held in self._held.values()), {})

    def fault(self, name: str, fault: Fault) -> None:
        """Let a fault befall an authenticator. Raises NotSupported."""
        action = _ACTIONS.get(fault)
        if action is None:
            raise impossible("fido2-usb", fault)
        action(self._held[name])

    def close(self) -> None:
        """Take the authenticators out."""
        for held in self._held.values():
            held.token.heal()
            held.token.pull()
        self._held.clear()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _plug(self, number: int) -> None:
        name, pin = f"fido2-usb-{number + 1}", new_pin()
        token = VirtualHidToken(CtapHidDevice(), HidPort(self._directory, number), f"LAB-{number + 1}")
        token.put_back()
        token.set_pin(pin)
        self._held[name] = _Plugged(token)
        self._told.append(LabToken(name, "fido2-usb", str(token.uri), str(token.uri), f"{pin}\n"))


class _Plugged:
    """An authenticator, and the one that was in its place before a swap."""

    def __init__(self, token: VirtualHidToken) -> None:
        self.token = token
        self._former: CtapHidDevice | None = None
        self._in = True

    def pull(self) -> None:
        self.token.pull()
        self._in = False

    def put_back(self) -> None:
        if self._former is not None:
            self.token.swap(self._former)
        elif not self._in:
            self.token.put_back()
        self._former, self._in = None, True

    def swap(self) -> None:
        """Another one of the same model, which says the same serial number."""
        if self._former is None:
            self._former = self.token.device
            self.token.swap(CtapHidDevice(aaguid=self.token.device.aaguid))
            self._in = True

    def plan(self, kind: Kind, value: float = 0) -> None:
        self.token.device.faults.plan(kind, value, ins=Command.CBOR, times=FOR_EVER)

    def refuse_touch(self) -> None:
        self.token.device.finger.willing = False

    def heal(self) -> None:
        self.put_back()
        self.token.heal()


_ACTIONS: dict[Fault, Callable[[_Plugged], None]] = {
    Fault.PULL: _Plugged.pull,
    Fault.RETURN: _Plugged.put_back,
    Fault.SWAP: _Plugged.swap,
    Fault.LOCK: lambda held: held.token.lock_pin(),
    Fault.HANG: lambda held: held.plan(Kind.HANG),
    Fault.SLOW: lambda held: held.plan(Kind.DELAY, SLOW_SECONDS),
    Fault.FULL: lambda held: held.token.fill(),
    Fault.CLEAR: lambda held: held.token.clear(),
    Fault.NOTOUCH: _Plugged.refuse_touch,
    Fault.NONE: _Plugged.heal,
}
