"""What an authenticator says of itself, for a person to read, without the PIN (CTAP 2.1 section 6.4)."""

from __future__ import annotations

from collections.abc import Mapping

from fido2.ctap2.base import Ctap2, Info

from meshhw_fido2.errors import REINSERT_HINT
from meshhw_fido2.pins import client_pin

Facts = Mapping[str, str | int]


def details(ctap: Ctap2) -> Facts:
    """Versions, extensions, how it verifies the person, and how many more credentials it can keep."""
    info = ctap.get_info()  # as it is now: others may have set a PIN
    facts: dict[str, str | int | None] = {
        "ctap_versions": ", ".join(info.versions),
        "extensions": ", ".join(info.extensions or ()) or "none",
        "pin": _pin(ctap, info),
        "shortest_pin": info.min_pin_length if "clientPin" in info.options else None,
        "verification": _verification(info),
        "uv_tries_left": client_pin(ctap).get_uv_retries() if info.options.get("uv") else None,
        "room_left": info.remaining_disc_creds,
    }
    return {name: fact for name, fact in facts.items() if fact is not None}


def _pin(ctap: Ctap2, info: Info) -> str:
    if "clientPin" not in info.options:
        return "none, and it can have none"
    if not info.options["clientPin"]:
        return "not set"
    if info.force_pin_change:
        return "set, and to be changed before anything else"
    left, needs_power_cycle = client_pin(ctap).get_pin_retries()
    if left == 0:
        return "locked"
    return f"set, and refused for now: {REINSERT_HINT}" if needs_power_cycle else "set"


def _verification(info: Info) -> str:
    """What it can see of a person beside the touch: by itself (fingerprint, own keys), and whether always."""
    own = info.options.get("uv")
    can = "no sensor" if own is None else "sensor is set up" if own else "sensor is not set up"
    return f"{can}, always wanted" if info.options.get("alwaysUv") else can
