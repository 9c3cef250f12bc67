"""Where authenticators are plugged in: HID devices, and cards that answer to the FIDO application's name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from fido2.ctap import CtapDevice
from fido2.hid import list_descriptors
from fido2.hid.base import HidDescriptor

from meshhw.errors import OperationTimeout
from meshhw.keystore.deadline import bounded
from meshhw.keystore.holders import RESTART
from meshhw_fido2.hid import open_device

_SERVED_BY_HID = "yubico yubikey"
"""A YubiKey's USB reader: its FIDO application is on HID alone, and its PIV application is in use."""


@dataclass(frozen=True, slots=True)
class Place:
    """One device or reader. `open` connects, and raises what the transport raises."""

    path: str
    open: Callable[[], CtapDevice] = field(repr=False)
    product: str = ""
    serial: str = ""
    reader: str = ""


def places(seconds: float) -> list[Place]:
    """Every place that may hold an authenticator now.

    Raises OperationTimeout when the PC/SC service does not answer in so many seconds and nothing is on HID.
    """
    found = list(_hid())
    try:
        return [*found, *_readers(seconds)]
    except OperationTimeout:
        if not found:
            raise
        return found


def _hid() -> Iterator[Place]:
    descriptors: list[HidDescriptor] = list_descriptors()  # type: ignore[no-untyped-call]  # not annotated
    for one in descriptors:
        yield Place(str(one.path), partial(open_device, one), one.product_name or "", one.serial_number or "")


def _readers(seconds: float) -> Iterator[Place]:
    try:
        from meshhw_fido2.card import readers
    except ImportError:  # pyscard is missing: HID alone
        return
    for name in bounded(readers, seconds, "the PC/SC service", RESTART):
        if _SERVED_BY_HID not in name.lower():
            yield Place(name, partial(_open_card, name), reader=name)


def _open_card(reader: str) -> CtapDevice:
    from meshhw_fido2.card import CardDevice

    return CardDevice(reader)


def begin(device: CtapDevice) -> None:
    """Keep other programs from a card while it works; HID devices keep them apart themselves."""
    getattr(device, "begin", _nothing)()


def end(device: CtapDevice) -> None:
    """Let other programs at the card."""
    getattr(device, "end", _nothing)()


def close(device: CtapDevice) -> None:
    """Give the device back; one that is gone is fine."""
    with contextlib.suppress(OSError):
        device.close()


def _nothing() -> None:
    return None
