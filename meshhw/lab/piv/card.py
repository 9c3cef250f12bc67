"""The whole card: applications, faults, and the count of what it was asked."""

from __future__ import annotations

import secrets
from typing import Protocol

from meshhw.lab.faulty_card import FaultyCard
from meshhw.lab.piv import apdu
from meshhw.lab.piv.apdu import CardError, Chaining, Command
from meshhw.lab.piv.applet import PREFIX, WHOLE_NAME, PivApplet
from meshhw.lab.piv.attestation import Authority
from meshhw.lab.piv.context import Context, Finger
from meshhw.lab.piv.management import MANAGEMENT_AID, OTP_AID, ManagementApplet, OtpApplet
from meshhw.lab.piv.personality import PERSONALITIES, Personality
from meshhw.lab.piv.state import Lasting

SELECT = 0xA4
BY_NAME = 0x04
NOTHING = (b"", b"")
"""In place of a command and its answer, which waits to be asked for by its exact length."""
ATR_USB = bytes.fromhex("3bfd1300008131fe158073c021c057597562694b657940")
ATR_NFC = bytes.fromhex("3b8d80018073c021c057597562694b6579f9")
ATR_PLAIN = bytes.fromhex("3b800181")


class Application(Protocol):
    """What can be selected."""

    def select(self) -> bytes: ...

    def process(self, command: Command) -> bytes: ...


class PivCard(FaultyCard):
    """A virtual PIV card to be put into a reader (`CardLink`), or driven directly by `transmit`.

    `personality` is a name of `PERSONALITIES`, or one of one's own.
    `log` holds the instruction octet of every APDU received; `asked_again` counts those to which a card that
    wants to be told the answer's length told it instead, `refused_long` the extended ones that it refused.
    """

    def __init__(
        self,
        personality: str | Personality = "5.7",
        serial: int | None = None,
        *,
        authority: Authority | None = None,
        finger: Finger | None = None,
        contactless: bool = False,
    ) -> None:
        super().__init__()
        self.personality = PERSONALITIES[personality] if isinstance(personality, str) else personality
        self.lasting = Lasting(self.personality, serial or 10_000_000 + secrets.randbelow(20_000_000))
        self.finger = finger or Finger()
        self._contactless = contactless
        self._chaining = Chaining()
        self._kept = NOTHING
        self.asked_again = self.refused_long = 0
        self._piv = PivApplet(Context(self.lasting, self.finger))
        self._applications: list[tuple[bytes, Application]] = [(PREFIX, self._piv)]
        if self.personality.management_applet:
            self._applications.append((MANAGEMENT_AID, ManagementApplet(self.lasting)))
        if self.personality.otp_applet:
            self._applications.append((OTP_AID, OtpApplet(self.lasting)))
        self._selected: Application | None = None
        self.authority = authority or Authority()
        if self.personality.attestation:
            self.authority.equip(self.lasting)

    @property
    def atr(self) -> bytes:
        """The answer to reset."""
        if not (self.personality.management_applet or self.personality.ways.says_yubikey):
            return ATR_PLAIN
        return ATR_NFC if self._contactless else ATR_USB

    @property
    def serial(self) -> int:
        """The serial number, which plain cards and imitators do not tell."""
        return self.lasting.serial

    def count(self, ins: int | None = None) -> int:
        """APDUs received, or those of one instruction."""
        return len(self.log) if ins is None else self.log.count(ins)

    def reset(self) -> None:
        """Power lost or reset: the session is forgotten."""
        self.finger.give_up()
        self._selected, self._kept = None, NOTHING
        self._chaining.reset()

    def respond(self, octets: bytes) -> bytes:
        """The answer of a card that nothing befalls."""
        try:
            command = self._parsed(octets)
            asked, answer = self._kept
            self._kept = NOTHING
            if octets[:-1] == asked and apdu.expected(octets) == len(answer):
                return self._chaining.cut(answer, command.extended)
            if command.ins == apdu.GET_RESPONSE:
                return self._chaining.more()
            whole = self._chaining.join(command)
            if whole is None:
                return apdu.OK.to_bytes(2, "big")
            return self._cut(self._process(whole), whole, octets)
        except CardError as error:
            return error.status.to_bytes(2, "big")

    def _parsed(self, octets: bytes) -> Command:
        command = apdu.parse(octets)
        if command.extended and self.personality.ways.short_alone:
            self.refused_long += 1
            raise CardError(apdu.WRONG_LENGTH)
        return command

    def _cut(self, data: bytes, command: Command, octets: bytes) -> bytes:
        """The answer; a card that wants to be asked for its exact length says it, and keeps the answer."""
        exact = self.personality.ways.exact_le and 0 < len(data) < apdu.SHORT_RESPONSE
        if exact and apdu.expected(octets) not in (None, len(data)):
            self._kept = (octets[:-1], data)
            self.asked_again += 1
            return (apdu.EXACT_LENGTH | len(data)).to_bytes(2, "big")
        parts = self.personality.ways.answers_in_parts
        return self._chaining.cut(data, command.extended and not parts)

    def _process(self, command: Command) -> bytes:
        if command.cla & 0xFC:
            raise CardError(apdu.CLASS_UNKNOWN)
        if command.ins == SELECT and command.p1 == BY_NAME:
            return self._select(command.data)
        if self._selected is None:
            raise CardError(apdu.UNKNOWN_INSTRUCTION)
        return self._selected.process(command)

    def _select(self, name: bytes) -> bytes:
        for prefix, application in self._applications:
            short = self.personality.ways.whole_name and name != WHOLE_NAME
            if name.startswith(prefix) and not short:
                self._selected = application
                return application.select()
        raise CardError(apdu.NOT_FOUND)
