"""A virtual FIDO2 authenticator in a virtual USB port, as tests and `meshhw lab` hold it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from meshhw.keystore.uri import TokenURI
from meshhw.lab.ctap.hid import CtapHidDevice
from meshhw.lab.ctap.state import CAPACITY, PIN_RETRIES
from meshhw.lab.hid_port import HidPort

NAME = "Lab FIDO2 Authenticator"


@dataclass(slots=True)
class VirtualHidToken:
    """One authenticator and its port. Programs that are started with `env` see it; this one does not."""

    device: CtapHidDevice
    port: HidPort
    serial: str = "LAB-1"

    @property
    def env(self) -> dict[str, str]:
        """What another process needs to see the authenticator."""
        return self.port.env

    @property
    def uri(self) -> TokenURI:
        """Its name: the model and the serial number, which USB devices have."""
        aaguid = str(uuid.UUID(bytes=self.device.aaguid))
        return TokenURI.make("fido2", aaguid=aaguid, serial=self.serial)

    def pull(self) -> None:
        """Take it out."""
        self.port.pull()

    def put_back(self) -> None:
        """Put it in (again)."""
        self.port.plug(self.device, NAME, self.serial)

    def swap(self, other: CtapHidDevice) -> None:
        """Put another one, which says that it is the same, in its place."""
        self.pull()
        self.device = other
        self.put_back()

    def set_pin(self, pin: str) -> None:
        """As its owner would have done."""
        self.device.authenticator.context.lasting.set_pin(pin)

    def lock_pin(self) -> None:
        """As if someone else had tried wrong PINs."""
        self.device.authenticator.context.lasting.pin_retries = 0

    def fill(self) -> None:
        """Leave no room for another discoverable credential."""
        lasting = self.device.authenticator.context.lasting
        lasting.capacity = len(lasting.credentials)

    def clear(self) -> None:
        """As if its owner had erased it."""
        self.device.authenticator.erase()

    def heal(self) -> None:
        """Undo what a fault did: plans, lock, fullness, and the unwilling finger."""
        self.device.faults.clear()
        self.device.finger.willing, self.device.finger.delay = True, 0.0
        lasting = self.device.authenticator.context.lasting
        lasting.pin_retries, lasting.capacity = PIN_RETRIES, CAPACITY
