"""Reading and writing the data objects of a card (SP 800-73-4 part 2, 3.1.2 and 3.3.2)."""

from __future__ import annotations

from yubikit.core import Tlv
from yubikit.core.smartcard import ApduError

from meshhw_piv import tlv
from meshhw_piv.codes import NO_SUCH_OBJECT
from meshhw_piv.instructions import GET_DATA, PUT_DATA
from meshhw_piv.session import CardSession


def read(session: CardSession, identifier: int) -> bytes | None:
    """An object's value, None where it is absent. Raises ApduError."""
    try:
        name = Tlv(0x5C, identifier.to_bytes(3, "big"))
        return tlv.unwrap(0x53, session.send(GET_DATA, 0x3F, 0xFF, name))
    except ApduError as error:
        if error.sw in NO_SUCH_OBJECT:
            return None
        raise


def write(session: CardSession, identifier: int, value: bytes) -> None:
    """Replace an object; nothing deletes it. The management key must be proven. Raises ApduError."""
    name = Tlv(0x5C, identifier.to_bytes(3, "big"))
    session.send(PUT_DATA, 0x3F, 0xFF, name + Tlv(0x53, value))
