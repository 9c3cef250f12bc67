"""Finding and opening FIDO2 authenticators. python-fido2 is imported when it is first needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from meshhw.errors import Ambiguous, DriverUnavailable, TokenNotFound
from meshhw.keystore.api import API, OpenOptions, Token, TokenInfo
from meshhw.keystore.uri import TokenURI

if TYPE_CHECKING:
    from meshhw_fido2.discovery import Seen
    from meshhw_fido2.transport import Place


class Fido2Driver:
    """`meshhw.keystore.api.Driver` for authenticators over HID and PC/SC."""

    api = API
    name = "fido2"

    def tokens(self) -> Sequence[TokenInfo]:
        """The authenticators that answer. Asks for nothing."""
        _require_library()
        from meshhw_fido2 import discovery

        return [seen.info for seen in discovery.look()]

    def open(self, uri: TokenURI, options: OpenOptions) -> Token:
        """The authenticator that `uri` names: by model (`aaguid`), serial number or place (`path`).

        Raises TokenNotFound, Ambiguous, DriverUnavailable.
        """
        _require_library()
        from meshhw.keystore.deadline import Limit
        from meshhw_fido2 import discovery
        from meshhw_fido2.connection import Connection
        from meshhw_fido2.pins import Pins
        from meshhw_fido2.token import Fido2Token

        seen = _find(uri, options)

        def again() -> Place | None:
            there = discovery.fitting(seen.info.uri, options.deadline)
            return there[0].place if len(there) == 1 else None

        limit = Limit(seen.info.label, options.deadline)
        connection = Connection(seen.place, limit, again)
        pins = Pins(options.interaction, seen.info.uri, seen.info.label, connection)
        return Fido2Token(seen.info, seen.aaguid, connection, pins, options)


def _find(uri: TokenURI, options: OpenOptions) -> Seen:
    from meshhw_fido2 import discovery

    found = discovery.fitting(uri, options.deadline)
    if not found and options.interaction.insert(uri, "a FIDO2 authenticator"):
        found = discovery.fitting(uri, options.deadline)
    if not found:
        raise TokenNotFound(f"no FIDO2 authenticator is {uri}", hint="plug it in, or lay it on the reader")
    if len(found) > 1:
        names = tuple(str(seen.info.uri) for seen in found)
        raise Ambiguous(
            f"{len(found)} authenticators fit {uri}", candidates=names, hint="leave one in, or name its path"
        )
    return found[0]


def _require_library() -> None:
    try:
        import fido2  # noqa: F401  # only whether it is there
    except ImportError as error:
        raise DriverUnavailable(
            "python-fido2 is not installed",
            hint="sudo apt-get install build-essential python3-dev swig libpcsclite-dev"
            " && pip install 'meshhw[fido2]'",
        ) from error
