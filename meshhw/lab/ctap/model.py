"""Which authenticator the virtual one behaves as: what it knows, and what it demands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Model:
    """The defaults are an authenticator of CTAP 2.1 that can do all that the lab's can."""

    name: str = "2.1"
    versions: tuple[str, ...] = ("FIDO_2_0", "FIDO_2_1")
    protocols: tuple[int, ...] = (2, 1)
    """PIN/UV auth protocols, the preferred one first."""
    extensions: tuple[str, ...] = ("credProtect", "hmac-secret")
    names_protocol: bool = True
    """Whether it knows the member of hmac-secret that names the protocol, which came with CTAP 2.1."""
    client_pin: bool = True
    """Whether it can have a PIN; without one it answers authenticatorClientPIN for key agreement alone."""
    pin_tokens: bool = True
    """Whether PIN tokens have permissions (pinUvAuthToken)."""
    always_verifies: bool = False
    """alwaysUv: nothing is answered, in silence or otherwise, to whom it has not verified."""
    makes_unverified: bool = True
    """makeCredUvNotRqd: a credential that it does not keep is made without the PIN, once there is one."""
    pin_makes_and_asserts: bool = True
    """Not noMcGaPermissionsWithClientPin: the PIN is good for making and using credentials."""
    manages: str | None = "credMgmt"
    """The option by which credential management is told; None where there is none."""
    management: int = 0x0A
    """The command for it: 0A, or 41 of its time as a preview."""
    shortest_pin: int = 4
    pin_must_change: bool = False
    """forcePINChange: the PIN is good for nothing but being changed."""


MODELS = {
    model.name: model
    for model in (
        Model(),
        Model(
            "2.0",
            versions=("FIDO_2_0",),
            protocols=(1,),
            extensions=("hmac-secret",),
            names_protocol=False,
            pin_tokens=False,
            makes_unverified=False,
            manages=None,
        ),
        Model(
            "preview",
            versions=("FIDO_2_0", "FIDO_2_1_PRE"),
            protocols=(1,),
            pin_tokens=False,
            makes_unverified=False,
            manages="credentialMgmtPreview",
            management=0x41,
        ),
        Model("pinless", client_pin=False, pin_tokens=False, manages=None),
        Model("bare", extensions=(), protocols=(), client_pin=False, pin_tokens=False, manages=None),
        Model("always", always_verifies=True, makes_unverified=False),
        Model("sensor", pin_makes_and_asserts=False),
        Model("strict", shortest_pin=8),
        Model("expired", pin_must_change=True),
    )
}
"""By the name that tests use."""
