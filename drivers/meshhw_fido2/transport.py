"""Where authenticators are plugged in: HID devices, and cards that answer to the FIDO application's name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from fido2.ctap import CtapDevice
from fido2.hid import CtapHidDevice, list_descriptors, open_connection
from fido2.hid.base import HidDescriptor

_SERVED_BY_HID = "yubico yubikey"
"""A YubiKey's USB reader: its FIDO application is on HID alone, and its PIV application is in use."""


class _Reader(Protocol):
    """What pyscard's readers have."""

    name: str

    def createConnection(self) -> Any: ...  # noqa: N802  # pyscard's name


@dataclass(frozen=True, slots=True)
class Place:
    """One device or reader. `open` connects, and raises what the transport raises."""

    path: str
    open: Callable[[], CtapDevice] = field(repr=False)
    product: str = ""
    serial: str = ""
    reader: str = ""


def places() -> Iterator[Place]:
    """Every place that may hold an authenticator now."""
    yield from _hid()
    yield from _readers()


def _hid() -> Iterator[Place]:
    descriptors: list[HidDescriptor] = list_descriptors()  # type: ignore[no-untyped-call]  # not annotated
    for one in descriptors:
        yield Place(str(one.path), partial(_open_hid, one), one.product_name or "", one.serial_number or "")


def _open_hid(descriptor: HidDescriptor) -> CtapDevice:
    return CtapHidDevice(descriptor, open_connection(descriptor))  # type: ignore[no-untyped-call]  # not annotated


def _readers() -> Iterator[Place]:
    try:
        from smartcard import System  # type: ignore[import-untyped]  # pyscard ships no types
        from smartcard.Exceptions import SmartcardException  # type: ignore[import-untyped]  # likewise
    except ImportError:  # pyscard is missing: HID alone
        return
    try:
        readers: list[_Reader] = System.readers()
    except SmartcardException:  # no PC/SC service runs: HID alone
        return
    for one in readers:
        if _SERVED_BY_HID not in one.name.lower():
            yield Place(one.name, partial(_open_card, one), reader=one.name)


def _open_card(reader: _Reader) -> CtapDevice:
    from fido2.pcsc import CtapPcscDevice

    connection = reader.createConnection()
    try:
        return CtapPcscDevice(connection, reader.name)
    except BaseException:
        _release(connection)
        raise


def close(device: CtapDevice) -> None:
    """Give the device back, and a card's PC/SC context with it; one that is gone is fine."""
    connection = getattr(device, "_conn", None)
    if connection is not None:
        _release(connection)
        return
    with contextlib.suppress(OSError):
        device.close()


def _release(connection: Any) -> None:
    from smartcard.Exceptions import SmartcardException

    for step in (connection.disconnect, connection.release):
        with contextlib.suppress(SmartcardException):
            step()
