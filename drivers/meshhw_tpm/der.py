"""The little of DER (X.690) that TPM 2.0 key files are made of."""

from __future__ import annotations

from dataclasses import dataclass

from meshhw.errors import FormatError

SEQUENCE, INTEGER, OCTETS, OBJECT_ID, BOOLEAN, UTF8 = 0x30, 0x02, 0x04, 0x06, 0x01, 0x0C
BIT_STRING = 0x03
_CONTEXT = 0xA0


def encode(tag: int, content: bytes) -> bytes:
    """One element."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def explicit(number: int, element: bytes) -> bytes:
    """`[number] EXPLICIT element`."""
    return encode(_CONTEXT | number, element)


def integer(value: int) -> bytes:
    """A non-negative INTEGER."""
    return encode(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


@dataclass(slots=True)
class Elements:
    """Reads the elements of a DER content one after the other. Every fault is a FormatError."""

    octets: bytes
    position: int = 0

    def more(self) -> bool:
        """Whether anything is left."""
        return self.position < len(self.octets)

    def take(self, tag: int) -> bytes:
        """The content of the next element, which must have this tag."""
        found = self._octet()
        if found != tag:
            raise FormatError(
                f"tag 0x{found:02x} stands where 0x{tag:02x} belongs", position=self.position - 1
            )
        size = self._length()
        end = self.position + size
        if end > len(self.octets):
            raise FormatError("an element is cut off", position=self.position)
        content = self.octets[self.position : end]
        self.position = end
        return content

    def take_explicit(self, number: int) -> bytes | None:
        """The element inside `[number] EXPLICIT`, None if the next one is something else."""
        if not self.more() or self.octets[self.position] != _CONTEXT | number:
            return None
        return self.take(_CONTEXT | number)

    def take_integer(self) -> int:
        """A non-negative INTEGER of at most 8 octets."""
        content = self.take(INTEGER)
        if not 0 < len(content) <= 8 or content[0] & 0x80:
            raise FormatError("an integer is negative, empty or too large", position=self.position)
        return int.from_bytes(content, "big")

    def end(self) -> None:
        """Raise FormatError unless everything was read."""
        if self.more():
            raise FormatError("octets follow the end", position=self.position)

    def _octet(self) -> int:
        if not self.more():
            raise FormatError("an element is missing", position=self.position)
        self.position += 1
        return self.octets[self.position - 1]

    def _length(self) -> int:
        first = self._octet()
        if first < 0x80:
            return first
        count = first & 0x7F
        if not 1 <= count <= 3:
            raise FormatError("an element's length is indefinite or too large", position=self.position)
        size = 0
        for _ in range(count):
            size = size << 8 | self._octet()
        return size
