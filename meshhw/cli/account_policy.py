"""`meshhw account policy`: what a device must prove to be connected."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshhw.algorithms import Suite
from meshhw.cli.account_devices import Account, RootOn, token_named
from meshhw.cli.common import context

if TYPE_CHECKING:
    from meshhw.schema.profile import ConnectionPolicy


def policy(
    *,
    require_attestation: Annotated[
        bool | None,
        typer.Option(
            "--require-attestation/--no-require-attestation",
            help="Whether every key must be attested as made inside a token.",
        ),
    ] = None,
    trust: Annotated[
        list[Path] | None,
        typer.Option(metavar="ROOT", help="A token maker's root certificate (DER or PEM). Repeatable."),
    ] = None,
    touch: Annotated[
        str | None, typer.Option(help="Of the key that signs: cached or always; never demands nothing.")
    ] = None,
    pin: Annotated[
        str | None, typer.Option("--pin", help="Of every key: once or always; never demands nothing.")
    ] = None,
    only_for: Annotated[
        str | None, typer.Option("--for", metavar="R,...", help="Demand it for these roles; all for all.")
    ] = None,
    suite_floor: Annotated[
        Suite | None,
        typer.Option(help="The weakest suite that is taken, of devices and administrators alike."),
    ] = None,
    root_on: RootOn = None,
    account: Account = None,
) -> None:
    """Show what a device must prove to be connected, or change it; the root key signs the change."""
    from msgspec.structs import replace

    from meshhw.cli.inputs import certificate
    from meshhw.managers.account.authority import authority
    from meshhw.managers.account.policy import policy_of, set_policy
    from meshhw.managers.host import Host

    cli = context()
    found = authority(Host(cli.home), account, cli.open_options)
    wanted: dict[str, Any] = {}
    if require_attestation is not None:
        wanted["attested"] = require_attestation or None
    if trust:
        wanted["roots"] = tuple(certificate(path) for path in trust)
    for name, level in (("touch", touch), ("pin", pin)):
        if level is not None:
            wanted[name] = None if level == "never" else level
    if only_for is not None:
        wanted["roles"] = () if only_for == "all" else tuple(only_for.split(","))
    if suite_floor is not None:
        wanted["suite"] = None if suite_floor is Suite.P256 else suite_floor.value
    if wanted:
        set_policy(found, replace(policy_of(found), **wanted), token_named(root_on))
    value = _described(policy_of(found))
    cli.output.show(value, "\n".join(f"{name:14}{text}" for name, text in _lines(value)))


def _described(policy: ConnectionPolicy) -> dict[str, Any]:
    from meshhw.managers.account.policy import root_name

    return {
        "attestation": bool(policy.attested),
        "trust": [root_name(root) for root in policy.roots],
        "touch": policy.touch or "never",
        "pin": policy.pin or "never",
        "for": list(policy.roles) or ["all"],
        "suite": policy.suite or "any",
    }


def _lines(value: dict[str, Any]) -> list[tuple[str, str]]:
    shown = value | {"attestation": "required" if value["attestation"] else "not required"}
    return [(name, ", ".join(item) if isinstance(item, list) else item) for name, item in shown.items()]
