"""Who a card is: by its serial number, else by the GUID of its CHUID, else by its reader alone.

The management application is asked where the ATR or the PIV application's template is a YubiKey's: its one
answer holds version and serial number, and that a card has none says that it is no YubiKey, whatever version
its PIV applet claims.
"""

from __future__ import annotations

from dataclasses import dataclass

from yubikit.core import ApplicationNotAvailableError, Tlv, Version
from yubikit.core.smartcard import AID, ApduError, SmartCardProtocol

from meshhw.errors import NotSupported
from meshhw.keystore.uri import TokenURI
from meshhw_piv import slots, tlv
from meshhw_piv.instructions import GET_DATA, GET_SERIAL, READ_CONFIG

TAG_SERIAL, TAG_VERSION = 0x02, 0x05
CHUID, TAG_GUID = 0x5FC102, 0x34
TAG_ALGORITHMS, TAG_ALGORITHM = 0xAC, 0x80
NO_VERSION = Version(0, 0, 0)
NAMES = (bytes.fromhex("a000000308000010000100"), bytes.fromhex("a00000030800001000"), AID.PIV)
"""The application's name with its version, which every card takes, and without (SP 800-73-4 part 1, 2.2)."""
YUBIKEY_ATR = b"yubikey"
"""In the historical characters of every YubiKey's answer to reset, in one case or the other."""
YUBIKEY_TEMPLATE = bytes.fromhex("61114f0600001000010079074f05a000000308")
"""What every YubiKey answers to SELECT: the two objects that the standard demands, and nothing of its own."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What names a card, and what its answers promise. `algorithms` is None where the card lists none."""

    reader: str
    serial: str = ""
    guid: str = ""
    version: Version = NO_VERSION
    yubikey: bool = False
    algorithms: frozenset[int] | None = None
    imitates: bool = False
    """Whether it is none of the YubiKeys, but says at first that it is."""

    @property
    def uri(self) -> TokenURI:
        """The URI with the one attribute that names the card best."""
        if self.serial:
            return TokenURI.make("yubikey", serial=self.serial)
        if self.guid:
            return TokenURI.make("yubikey", chuid=self.guid)
        return TokenURI.make("yubikey", reader=self.reader)

    @property
    def label(self) -> str:
        """What a person calls it."""
        name = f"YubiKey {self.version}" if self.yubikey else "PIV card"
        return " ".join(part for part in (name, self.serial or self.guid[:8]) if part)

    @property
    def firmware(self) -> str:
        """The version as text, empty where the card has none."""
        return "" if self.version == NO_VERSION else str(self.version)

    def is_same(self, other: Identity) -> bool:
        """Whether this is the same card, wherever it sits now."""
        return self.uri == other.uri

    def fits(self, uri: TokenURI) -> bool:
        """Whether every attribute of a URI is this card's."""
        mine = {"serial": self.serial, "chuid": self.guid, "reader": self.reader}
        return all(mine.get(name, "").lower() == (uri.get(name) or "").lower() for name, _ in uri.path)


def identify(protocol: SmartCardProtocol, reader: str, atr: bytes) -> Identity:
    """Ask the card; PIV is the selected application afterwards. Raises NotSupported for other cards."""
    said, template = YUBIKEY_ATR in atr.lower(), b""
    if not said:
        template = select_piv(protocol)
        said = template == YUBIKEY_TEMPLATE
    yubikey = _ask_management(protocol) if said else None
    if said:
        template = select_piv(protocol)
    if yubikey is not None:
        serial, version = yubikey
        protocol.configure(version)
        return Identity(reader, serial or _serial(protocol), version=version, yubikey=True)
    guid = _guid(protocol)
    serial = "" if guid else _serial(protocol)
    return Identity(reader, serial, guid, algorithms=_listed(template), imitates=said)


def select_piv(protocol: SmartCardProtocol) -> bytes:
    """Select the PIV application; its property template. Raises NotSupported where there is none."""
    refusal: Exception | None = None
    for name in NAMES:
        try:
            return protocol.select(name)
        except (ApplicationNotAvailableError, ApduError) as error:
            refusal = error
    raise NotSupported("the card has no PIV application") from refusal


def _ask_management(protocol: SmartCardProtocol) -> tuple[str, Version] | None:
    try:
        protocol.select(AID.MANAGEMENT)
        answer = protocol.send_apdu(0, READ_CONFIG, 0, 0)
        found = tlv.fields(answer[1:])
    except (ApplicationNotAvailableError, ApduError, ValueError):
        return None
    version = found.get(TAG_VERSION, b"")
    if len(version) != 3:
        return None
    serial = found.get(TAG_SERIAL, b"")
    return str(int.from_bytes(serial, "big")) if serial else "", Version.from_bytes(version)


def _serial(protocol: SmartCardProtocol) -> str:
    try:
        answer = protocol.send_apdu(0, GET_SERIAL, 0, 0)
    except ApduError:
        return ""
    return str(int.from_bytes(answer, "big")) if len(answer) == 4 else ""


def _guid(protocol: SmartCardProtocol) -> str:
    tag = Tlv(0x5C, CHUID.to_bytes(3, "big"))
    try:
        chuid = tlv.unwrap(0x53, protocol.send_apdu(0, GET_DATA, 0x3F, 0xFF, tag))
        guid = tlv.unwrap(TAG_GUID, chuid)
    except (ApduError, ValueError):
        return ""
    return guid.hex() if len(guid) == 16 and any(guid) else ""


def _listed(template: bytes) -> frozenset[int] | None:
    """The algorithm identifiers of a property template (SP 800-73-4 part 2, table 3), None without them.

    The standard lists the cipher suites of secure messaging there; cards that list what their keys can do use
    one object for all of them, or one for each.
    """
    try:
        lists = [item.value for item in tlv.items(tlv.unwrap(0x61, template)) if item.tag == TAG_ALGORITHMS]
        named = [item for codes in lists for item in tlv.items(codes) if item.tag == TAG_ALGORITHM]
    except ValueError:
        return None
    codes = frozenset(item.value[0] for item in named if item.value)
    return codes if codes & slots.ALGORITHMS.keys() else None
