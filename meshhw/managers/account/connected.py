"""The keys that a device has inside an account: as an administrator computes them, and as the device does.

Encryption and authentication are base + activation. An ECDSA signature key is activated by a factor
(`tweaked`), an EdDSA one is the token's own key (`direct`), since no token composes EdDSA.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshhw.algorithms import PublicKey
from meshhw.errors import IntegrityError
from meshhw.managers.account.activation import Use, composed_public, scalar, tweak, tweaked_public
from meshhw.schema.connection import ConnectionDevice
from meshhw.schema.keydata import DIRECT, TWEAKED, public_key
from meshhw.schema.profile import ProfileDevice
from meshhw.udf import Seed


@dataclass(frozen=True, slots=True)
class ConnectedKeys:
    """The three public keys of a connected device, and how its signature key works."""

    encryption: PublicKey
    signature: PublicKey
    authentication: PublicKey
    mode: str


def connected_keys(device: ProfileDevice, seed: Seed) -> ConnectedKeys:
    """What the device's base keys and this activation add up to. Raises InvalidPublicKey."""
    mode = (device.signature.mode if device.signature else None) or ""
    return ConnectedKeys(
        _added(public_key(device.encryption, "Encryption"), seed, Use.ENCRYPTION),
        _signature(public_key(device.signature, "Signature"), seed, mode),
        _added(public_key(device.authentication, "Authentication"), seed, Use.AUTHENTICATION),
        mode,
    )


def require_same(keys: ConnectedKeys, connection: ConnectionDevice) -> None:
    """Raise IntegrityError unless these are the keys that the administrator has signed."""
    for what, ours, signed in (
        ("Encryption", keys.encryption, connection.encryption),
        ("Signature", keys.signature, connection.signature),
        ("Authentication", keys.authentication, connection.authentication),
    ):
        if public_key(signed, what) != ours:
            raise IntegrityError(f"the connection's {what} key is not what base and activation give")


def _added(base: PublicKey, seed: Seed, use: Use) -> PublicKey:
    return composed_public(base, scalar(seed, use, base.algorithm))


def _signature(base: PublicKey, seed: Seed, mode: str) -> PublicKey:
    if mode == DIRECT:
        return base
    if mode == TWEAKED:
        return tweaked_public(base, tweak(seed, base))
    return _added(base, seed, Use.SIGNATURE)
