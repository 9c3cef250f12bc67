"""Making, asking, listing and deleting credentials of one authenticator (CTAP 2.1 sections 6.1, 6.2, 6.8)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fido2.ctap import CtapError
from fido2.ctap2.base import AssertionResponse, AttestationResponse, Ctap2
from fido2.ctap2.credman import CredentialManagement
from fido2.webauthn import PublicKeyCredentialDescriptor, PublicKeyCredentialType

from meshhw.errors import NotSupported
from meshhw.keystore import webauthn
from meshhw.keystore.interaction import Interaction
from meshhw.keystore.presence import RP_ID, RP_ID_HASH
from meshhw_fido2.errors import ERR
from meshhw_fido2.person import Stop, announce
from meshhw_fido2.pins import PERMISSION, Pins

_ALGORITHMS: list[Mapping[str, Any]] = [
    {"type": "public-key", "alg": webauthn.ES256},
    {"type": "public-key", "alg": webauthn.EDDSA},
]
_PROTECT_LISTED = 2
"""credProtect: whoever names the credential may ask for it without the PIN, which tells authenticators
apart before a PIN is given; what is sealed is bound to the PIN by hmac-secret's own second value."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A credential that the authenticator keeps."""

    credential: bytes
    label: str
    public: Mapping[int, Any]


@dataclass(frozen=True, slots=True)
class Asker:
    """The person and the PIN that stand beside every request."""

    interaction: Interaction
    pins: Pins
    label: str

    def make(
        self, ctap: Ctap2, name: str, client_data_hash: bytes, *, discoverable: bool, verified: bool
    ) -> AttestationResponse:
        """A new credential with hmac-secret. Wants a touch, and the PIN if `verified`."""
        extensions: dict[str, Any] = {
            extension: value
            for extension, value in (("hmac-secret", True), ("credProtect", _PROTECT_LISTED))
            if extension in ctap.info.extensions
        }
        proof = self._proof(ctap, PERMISSION.MAKE_CREDENTIAL, client_data_hash, verified=verified)
        return ctap.make_credential(
            client_data_hash,
            {"id": RP_ID, "name": RP_ID},
            {"id": secrets.token_bytes(16), "name": name, "displayName": name},
            _ALGORITHMS,
            extensions=extensions or None,
            options={"rk": True} if discoverable else None,
            pin_uv_param=proof[0],
            pin_uv_protocol=proof[1],
            event=Stop(self.interaction),
            on_keepalive=announce(self.interaction, self.label),
        )

    def ask(
        self,
        ctap: Ctap2,
        credential: bytes,
        client_data_hash: bytes,
        *,
        proof: tuple[bytes | None, int | None],
        extensions: Mapping[str, Any] | None = None,
    ) -> AssertionResponse:
        """An assertion. Wants a touch; `proof` is of `prove_verified`, or (None, None)."""
        return ctap.get_assertion(
            RP_ID,
            client_data_hash,
            [{"type": "public-key", "id": credential}],
            extensions=extensions,
            pin_uv_param=proof[0],
            pin_uv_protocol=proof[1],
            event=Stop(self.interaction),
            on_keepalive=announce(self.interaction, self.label),
        )

    def prove_verified(
        self, ctap: Ctap2, client_data_hash: bytes, *, verified: bool
    ) -> tuple[bytes | None, int | None]:
        """The PIN's proof for one assertion, or nothing where no verification is wanted."""
        return self._proof(ctap, PERMISSION.GET_ASSERTION, client_data_hash, verified=verified)

    def listed(self, ctap: Ctap2) -> list[Listed]:
        """The credentials of this project that the authenticator keeps. Wants the PIN."""
        result = CredentialManagement.RESULT
        kept = self._management(ctap).enumerate_creds(RP_ID_HASH)
        return [
            Listed(
                one[result.CREDENTIAL_ID]["id"],
                str(one[result.USER].get("name", "")),
                dict(one[result.PUBLIC_KEY]),
            )
            for one in kept
        ]

    def delete(self, ctap: Ctap2, credential: bytes) -> None:
        """Remove a credential that the authenticator keeps. Wants the PIN."""
        self._management(ctap).delete_cred(
            PublicKeyCredentialDescriptor(type=PublicKeyCredentialType.PUBLIC_KEY, id=credential)
        )

    def _management(self, ctap: Ctap2) -> CredentialManagement:
        if not CredentialManagement.is_supported(ctap.info):
            raise NotSupported("the authenticator does not manage its credentials")
        protocol, token = self.pins.token(ctap, PERMISSION.CREDENTIAL_MGMT, None)
        return CredentialManagement(ctap, protocol, token)

    def _proof(
        self, ctap: Ctap2, permission: PERMISSION, client_data_hash: bytes, *, verified: bool
    ) -> tuple[bytes | None, int | None]:
        if not verified:
            return None, None
        protocol, token = self.pins.token(ctap, permission, RP_ID)
        return protocol.authenticate(token, client_data_hash), protocol.VERSION


def has_pin(ctap: Ctap2) -> bool:
    """Whether a PIN is set now."""
    return ctap.get_info().options.get("clientPin") is True


def holds(ctap: Ctap2, credential: bytes) -> bool:
    """Whether the authenticator has this credential. Asks for nothing, neither PIN nor touch.

    One that verifies the person before it says anything (alwaysUv) cannot be asked, and passes.
    """
    try:
        ctap.get_assertion(
            RP_ID, bytes(32), [{"type": "public-key", "id": credential}], options={"up": False}
        )
    except CtapError as error:
        if error.code in (ERR.NO_CREDENTIALS, ERR.INVALID_CREDENTIAL):
            return False
        if error.code == ERR.PUAT_REQUIRED:
            return True
        raise
    return True
