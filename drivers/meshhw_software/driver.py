"""Finding and opening vaults: the one of the state directory, and any other by its path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from meshhw.keystore.api import API, OpenOptions, Token, TokenInfo
from meshhw.keystore.home import state_directory
from meshhw.keystore.uri import TokenURI

if TYPE_CHECKING:
    from meshhw_software.kdf import Cost

DEFAULT = TokenURI.make("software")
DEFAULT_LABEL = "software vault"


class SoftwareDriver:
    """`meshhw.keystore.api.Driver` for vaults. `cost` is what new passphrases are put under."""

    api = API
    name = "software"

    def __init__(self, cost: Cost | None = None) -> None:
        self._cost = cost

    def tokens(self) -> Sequence[TokenInfo]:
        """The vault of the state directory, made or not."""
        path = state_directory() / "vault"
        return [
            TokenInfo(
                DEFAULT,
                driver=self.name,
                kind="vault",
                vendor="meshhw",
                model="vault",
                label=DEFAULT_LABEL,
                initialised=(path / "vault.box").exists(),
            )
        ]

    def open(self, uri: TokenURI, options: OpenOptions) -> Token:
        """Open a vault; one that is not there is made when something is first put into it, sealed by the
        token of the query attribute `sealed-by` if the URI has one.

        Raises InsecurePermissions, StateError, FormatError, NewerVersion, TokenNotFound.
        """
        from meshhw import files
        from meshhw_software.kdf import Cost
        from meshhw_software.token import VaultToken
        from meshhw_software.vault import Vault

        named = uri.get("vault")
        home = state_directory()
        path = Path(named).expanduser().absolute() if named else home / "vault"
        if path == home / "vault":
            files.private_directory(home)
            name, label = DEFAULT, DEFAULT_LABEL
        else:
            name, label = TokenURI.make("software", vault=str(path)), path.name
        vault = Vault(path, name, options, self._cost or Cost(), new_sealed_by=uri.get("sealed-by") or "")
        vault.check()
        return VaultToken(vault, options, label)
