"""The PKCS#11 driver, which the entry point names. Its libraries are loaded when it is first asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from meshhw.errors import DriverUnavailable
from meshhw.keystore.api import API, OpenOptions, Token, TokenEvent, TokenInfo
from meshhw.keystore.uri import TokenURI

if TYPE_CHECKING:
    from meshhw_pkcs11.discovery import Found


class Pkcs11Driver:
    """Tokens of every PKCS#11 module that this machine has; `Driver` and `Watches`."""

    api = API
    name = "pkcs11"

    def tokens(self) -> Sequence[TokenInfo]:
        """The tokens of all modules. Raises DriverUnavailable without python-pkcs11."""
        _require()
        from meshhw_pkcs11 import discovery, modules

        return [found.info() for found in discovery.listed(modules.configured())]

    def modules(self) -> dict[str, str]:
        """Each module's path, and why it cannot be asked ("" where it can)."""
        _require()
        from meshhw_pkcs11 import discovery, modules

        answers = discovery.look(modules.configured())
        return {spec.path: "" if isinstance(answer, list) else answer.message for spec, answer in answers}

    def events(self, timeout: float) -> Iterator[TokenEvent]:
        """Tokens plugged and pulled within that time. Raises DriverUnavailable without python-pkcs11."""
        _require()
        from meshhw_pkcs11.watch import watch

        return watch(timeout)

    def open(self, uri: TokenURI, options: OpenOptions) -> Token:
        """Open one token. Raises TokenNotFound, Ambiguous, DriverUnavailable."""
        _require()
        from meshhw_pkcs11 import discovery, token

        found = discovery.find(uri, options.deadline)
        return token.open_token(found, _full_name(found, uri), options)


def _full_name(found: Found, uri: TokenURI) -> TokenURI:
    """The token's own name, with the source of its PIN if the caller's URI named one."""
    source = uri.octets("pin-source")
    own = found.uri
    return own if source is None else TokenURI(own.scheme, own.path, (*own.query, ("pin-source", source)))


def _require() -> None:
    from meshhw_pkcs11 import wrapper  # noqa: F401  (before pkcs11, which it makes quick to import)

    try:
        import pkcs11  # noqa: F401  (asked for here so that its absence has one clear reason)
    except ImportError as error:
        raise DriverUnavailable("python-pkcs11 is missing", hint="pip install 'meshhw[pkcs11]'") from error


driver = Pkcs11Driver()
