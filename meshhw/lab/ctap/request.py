"""Reading a command's parameters: a CBOR map of small integers, each of the type that the standard says."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from meshhw.errors import FormatError
from meshhw.keystore import cbor
from meshhw.lab.ctap import status
from meshhw.lab.ctap.status import CtapRefusal

T = TypeVar("T")


class Request:
    """A map of parameters. Its methods refuse with the status codes of CTAP 2.1 section 8.2."""

    def __init__(self, values: Mapping[Any, Any]) -> None:
        self.values = values

    @classmethod
    def parse(cls, data: bytes) -> Request:
        """Read the octets after the command's; none are an empty map."""
        try:
            value = cbor.decode(data) if data else {}
        except FormatError as error:
            raise CtapRefusal(status.INVALID_CBOR) from error
        if not isinstance(value, dict):
            raise CtapRefusal(status.CBOR_UNEXPECTED_TYPE)
        return cls(value)

    def get(self, name: int | str, kind: type[T]) -> T | None:
        """A parameter that may be absent."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise CtapRefusal(status.CBOR_UNEXPECTED_TYPE)
        return value

    def need(self, name: int | str, kind: type[T]) -> T:
        """A parameter that must be there."""
        value = self.get(name, kind)
        if value is None:
            raise CtapRefusal(status.MISSING_PARAMETER)
        return value

    def only(self, names: Collection[str]) -> Request:
        """The parameters of those names."""
        return Request({name: value for name, value in self.values.items() if name in names})

    def part(self, name: int | str) -> Request:
        """A map within the map; an absent one is empty."""
        return Request(self.get(name, dict) or {})
