"""The authenticator's PIN: asked late, kept while the token is open, never spent to the last try unasked."""

from __future__ import annotations

import unicodedata

from fido2.ctap import CtapError
from fido2.ctap2.base import Ctap2
from fido2.ctap2.pin import ClientPin, PinProtocol

from meshhw.errors import NotSupported, PinFinalTry, PinIncorrect, PinLocked, PinRequired
from meshhw.keystore.interaction import Interaction, PinKind, PinRequest
from meshhw.keystore.uri import TokenURI
from meshhw_fido2.connection import Connection
from meshhw_fido2.errors import ERR, REINSERT_HINT, RESET_HINT, fold

PERMISSION = ClientPin.PERMISSION


def client_pin(ctap: Ctap2) -> ClientPin:
    """What keeps PIN and secrets from who listens. Raises NotSupported where there is nothing known here."""
    if not any(known.VERSION in ctap.info.pin_uv_protocols for known in ClientPin.PROTOCOLS):
        raise NotSupported("the authenticator has no PIN/UV auth protocol, so it keeps no PIN and no secret")
    return ClientPin(ctap)


class Pins:
    """The PIN of one authenticator and the short-lived tokens that it buys."""

    def __init__(self, interaction: Interaction, uri: TokenURI, label: str, connection: Connection) -> None:
        self._interaction = interaction
        self._connection = connection
        connection.on_loss.append(self.forget)
        self._uri = uri
        self._label = label
        self._pin: str | None = None

    @property
    def given(self) -> bool:
        """Whether the PIN is known already."""
        return self._pin is not None

    def forget(self) -> None:
        """Ask again next time."""
        self._pin = None

    def token(self, ctap: Ctap2, permissions: PERMISSION, rp_id: str | None) -> tuple[PinProtocol, bytes]:
        """A pinUvAuthToken. Raises PinIncorrect, PinFinalTry, PinLocked, PinRequired, Cancelled."""
        client = client_pin(ctap)
        if ctap.get_info().force_pin_change:
            raise self._expired()
        if self._pin is None:
            self._pin = self.ask(client)
        try:
            return client.protocol, client.get_pin_token(self._pin, permissions, rp_id)
        except CtapError as error:
            self.forget()
            if error.code == ERR.PIN_POLICY_VIOLATION:
                raise self._expired() from error
            raise self.refused(client, error) from error

    def _expired(self) -> PinRequired:
        return PinRequired(
            f"{self._label} wants its PIN changed before anything else",
            hint=f"meshhw token change-pin '{self._uri}'",
        )

    def ask(self, client: ClientPin, *, new: bool = False) -> str:
        """The PIN from the person, with the tries that are left."""
        left = None if new else self._tries(client)
        request = PinRequest(PinKind.USER, self._uri, self._label, retries_left=left, new=new)
        if left == 1 and not self._interaction.final_try(request):
            raise PinFinalTry(f"one try is left for the PIN of {self._label}", retries_left=1)
        with self._connection.paused():
            pin = self._interaction.pin(request)
        return unicodedata.normalize("NFC", pin)

    def refused(self, client: ClientPin, error: CtapError) -> Exception:
        """The public error of a PIN that was not taken."""
        if error.code != ERR.PIN_INVALID:
            return fold(error)
        left = client.get_pin_retries()[0]
        return PinIncorrect(f"the PIN of {self._label} is wrong", retries_left=left, code=fold(error).code)

    def retries(self, client: ClientPin) -> int:
        """Tries that are left."""
        return int(client.get_pin_retries()[0])

    def _tries(self, client: ClientPin) -> int:
        left, needs_power_cycle = client.get_pin_retries()
        if left == 0:
            raise PinLocked(f"the PIN of {self._label} is locked", unlock_hint=RESET_HINT)
        if needs_power_cycle:
            raise PinLocked(f"{self._label} takes no PIN for now", unlock_hint=REINSERT_HINT)
        return int(left)
