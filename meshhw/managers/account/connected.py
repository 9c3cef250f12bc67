"""The keys that a device has inside an account: as an administrator computes them, and as the device does.

Encryption and authentication are base + activation. An ECDSA signature key is activated by a factor
(`tweaked`), an EdDSA one is the token's own key (`direct`), since no token composes EdDSA, or is unsealed for
one use and added to its activation (`sealed`). With `dual` the
token's own key signs beside a key of the activation, and neither signature counts alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshhw.algorithms import Algorithm, PrivateKey, PublicKey
from meshhw.errors import IntegrityError
from meshhw.managers.account.activation import Use, composed_public, scalar, tweak, tweaked_public
from meshhw.privkeys import public_key_of
from meshhw.schema.connection import ConnectionDevice
from meshhw.schema.keydata import DIRECT, DUAL, TWEAKED, public_key, signature_keys
from meshhw.schema.profile import ProfileDevice
from meshhw.udf import Seed


@dataclass(frozen=True, slots=True)
class ConnectedKeys:
    """The three public keys of a connected device, and how its signature key works."""

    encryption: PublicKey
    signature: PublicKey
    authentication: PublicKey
    mode: str
    beside: PublicKey | None = None
    """With `dual`, the activation's own key, which signs beside the token's."""


def connected_keys(device: ProfileDevice, seed: Seed) -> ConnectedKeys:
    """What the device's base keys and this activation add up to. Raises InvalidPublicKey."""
    mode = (device.signature.mode if device.signature else None) or ""
    base = public_key(device.signature, "Signature")
    return ConnectedKeys(
        _added(public_key(device.encryption, "Encryption"), seed, Use.ENCRYPTION),
        _signature(base, seed, mode),
        _added(public_key(device.authentication, "Authentication"), seed, Use.AUTHENTICATION),
        mode,
        beside=public_key_of(second_key(seed, base.algorithm)) if mode == DUAL else None,
    )


def second_key(seed: Seed, algorithm: Algorithm) -> PrivateKey:
    """The activation's own signature key, which with `dual` signs beside the token's."""
    return seed.derive(algorithm, f"ActivationDevice{Use.SIGNATURE}")


def require_same(keys: ConnectedKeys, connection: ConnectionDevice) -> None:
    """Raise IntegrityError unless these are the keys that the administrator has signed."""
    for what, ours, signed in (
        ("Encryption", keys.encryption, connection.encryption),
        ("Signature", keys.signature, connection.signature),
        ("Authentication", keys.authentication, connection.authentication),
    ):
        if public_key(signed, what) != ours:
            raise IntegrityError(f"the connection's {what} key is not what base and activation give")
    expected = (keys.signature,) if keys.beside is None else (keys.signature, keys.beside)
    if signature_keys(connection.signature) != expected:
        raise IntegrityError("the connection's second Signature key is not that of the activation")


def _added(base: PublicKey, seed: Seed, use: Use) -> PublicKey:
    return composed_public(base, scalar(seed, use, base.algorithm))


def _signature(base: PublicKey, seed: Seed, mode: str) -> PublicKey:
    if mode in (DIRECT, DUAL):
        return base
    if mode == TWEAKED:
        return tweaked_public(base, tweak(seed, base))
    return _added(base, seed, Use.SIGNATURE)
