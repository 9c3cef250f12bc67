"""What every command works on, and the checks that several of them share."""

from __future__ import annotations

from dataclasses import dataclass, field

from meshhw.lab.ctap import status
from meshhw.lab.ctap.model import Model
from meshhw.lab.ctap.pin_protocol import PinProtocol
from meshhw.lab.ctap.request import Request
from meshhw.lab.ctap.state import Lasting, PinToken, Session, TouchNeeded
from meshhw.lab.ctap.status import CtapRefusal


@dataclass(slots=True)
class Context:
    """The card's memory, the session's, and whether it is being touched."""

    aaguid: bytes
    model: Model = field(default_factory=Model)
    lasting: Lasting = field(default_factory=Lasting)
    session: Session = field(default_factory=Session)
    touched: bool = False

    def need_touch(self) -> None:
        """Raises TouchNeeded. To be called before anything is changed: the command is then run again."""
        if not self.touched:
            raise TouchNeeded

    def protocol(self, request: Request, name: int) -> PinProtocol:
        """The PIN/UV auth protocol of a parameter."""
        version = request.need(name, int)
        if version not in self.session.protocols:
            raise CtapRefusal(status.INVALID_PARAMETER)
        return self.session.protocols[version]

    def refuse_probe(self, proof: bytes | None) -> None:
        """An empty pinUvAuthParam asks which card this is: it wants a touch, and tells of the PIN alone."""
        if proof == b"":
            self.need_touch()
            is_set = self.lasting.pin_hash is not None
            raise CtapRefusal(status.PIN_INVALID if is_set else status.PIN_NOT_SET)

    def verified(
        self,
        request: Request,
        names: tuple[int, int],
        message: bytes,
        permission: int,
        rp_id: str | None = None,
    ) -> bool:
        """Whether the request proves user verification (pinUvAuthParam, pinUvAuthProtocol are `names`).

        Refuses a wrong proof, and a token without that permission or for another relying party.
        """
        proof = request.get(names[0], bytes)
        if proof is None:
            return False
        protocol, token = self.protocol(request, names[1]), self.session.token
        if token is None or not protocol.verify(token.value, message, proof):
            raise CtapRefusal(status.PIN_AUTH_INVALID)
        if not token.allows(permission, rp_id):
            raise CtapRefusal(status.PIN_AUTH_INVALID)
        if token.rp_id is None:
            token.rp_id = rp_id
        return True

    def demand_verification(self, *, verified: bool) -> None:
        """Refuses whoever was not verified, where the model asks for it always."""
        if self.model.always_verifies and not verified:
            raise CtapRefusal(status.PUAT_REQUIRED)

    def spend_token(self) -> None:
        """After a touch the token is good for nothing more (CTAP 2.1 section 6.5.2.1)."""
        if self.session.token is not None:
            self.session.token = PinToken(self.session.token.value, 0, self.session.token.rp_id)
