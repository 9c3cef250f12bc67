"""The curves by the names that keys carry."""

from __future__ import annotations

from meshhw.curves.edwards import ED448, ED25519
from meshhw.curves.montgomery import CURVE448, CURVE25519
from meshhw.curves.point import Curve
from meshhw.curves.weierstrass import P256, P384
from meshhw.errors import UsageError

CURVES: dict[str, Curve] = {curve.name: curve for curve in (ED448, CURVE448, ED25519, CURVE25519, P256, P384)}


def curve_named(name: str) -> Curve:
    """The curve of an algorithm (`X25519`, `X448`, `Ed25519`, `Ed448`, `P-256`, `P-384`). Raises
    UsageError.
    """
    try:
        return CURVES[name]
    except KeyError:
        raise UsageError(f"no curve is called {name!r}", hint="one of " + ", ".join(CURVES)) from None
