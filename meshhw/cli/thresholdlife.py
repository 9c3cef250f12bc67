"""The life of a threshold key at the command line: new shares, a new key in its place, its devices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshhw.cli.common import context
from meshhw.cli.thresholdtexts import described, load, store_of, summary

if TYPE_CHECKING:
    from meshhw.dare.signing import Signer
    from meshhw.keystore.uri import TokenURI
    from meshhw.managers.threshold.authority import Setting
    from meshhw.managers.threshold.descriptor import Loaded
    from meshhw.managers.threshold.rewrapping import Outcome
    from meshhw.managers.threshold.store import KeyStore

Name = Annotated[str, typer.Argument(metavar="NAME", help="The threshold key's name.")]
NewKey = Annotated[
    str | None,
    typer.Option(
        "--new-key",
        metavar="NEW",
        help="Make a new key of this name instead: for a key whose shares cannot be made anew.",
    ),
]
Rewrap = Annotated[
    list[Path] | None,
    typer.Option(metavar="PATH", help="Give the new key the envelopes in this file or directory, too."),
]
Renewable = Annotated[bool, typer.Option("--renewable", help="The new key keeps copies for renewal.")]


def refresh(
    *, name: Name, new_key: NewKey = None, rewrap: Rewrap = None, renewable: Renewable = False
) -> None:
    """Give every holder a new share of the same key, and destroy the old ones."""
    from meshhw.managers.threshold.renew import refresh as renew

    if new_key is not None:
        _succeed(name, new_key, {}, rewrap or [], renewable=renewable)
        return
    _no_new_key(rewrap, renewable=renewable)
    at = _setting(name)
    _renewed(renew(at.store, at.host, at.options, at.say), at.store)


def replace(
    *,
    name: Name,
    holder: Annotated[int, typer.Option(metavar="I", help="The index of the lost holder.")],
    on: Annotated[str, typer.Option(metavar="TOKEN", help="The token that takes its place.")],
    new_key: NewKey = None,
    rewrap: Rewrap = None,
    renewable: Renewable = False,
) -> None:
    """Make a lost holder's share again in another token, and renew all others."""
    from meshhw.keystore import registry
    from meshhw.managers.threshold.renew import replace as renew

    place = registry.find_token(on)
    if new_key is not None:
        _succeed(name, new_key, {holder: place}, rewrap or [], renewable=renewable)
        return
    _no_new_key(rewrap, renewable=renewable)
    at = _setting(name)
    _renewed(renew(at.store, at.host, at.options, (holder, place), at.say), at.store)


def rewrap(
    *,
    name: Name,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Envelopes, or directories.")],
    to: Annotated[str, typer.Option("--to", metavar="NEW", help="The threshold key that shall read them.")],
    sign: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="Sign each anew; old signatures end.")
    ] = None,
) -> None:
    """Give envelopes of one threshold key to another, in place; their bodies stay as they are."""
    from meshhw.cli.envelopekeys import open_keys

    with open_keys() as keys:
        _rewrap(load(name), load(to), paths, [keys.signer(key) for key in sign or []])


def device(
    *,
    name: Name,
    add: Annotated[
        list[str] | None,
        typer.Option(metavar="DEVICE", help="A device's exported profile, or a device of this home."),
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option(metavar="UDF", help="The signature key of a listed device.")
    ] = None,
) -> None:
    """Which devices may renew the key and ask its holders; a listed one signs, or a quorum."""
    from meshhw.errors import UsageError
    from meshhw.managers.threshold.devices import change_devices, device_named

    at = _setting(name)
    if not (add or remove):
        raise UsageError("nothing to change", hint="--add DEVICE, --remove UDF; `threshold show` lists them")
    loaded = change_devices(at, [device_named(one, at.host) for one in add or []], remove or [])
    value = described(loaded)
    context().output.show(value, "\n".join(f"device {udf}" for udf in value["devices"]))


def _succeed(
    name: str, new: str, moved: dict[int, TokenURI], paths: Sequence[Path], *, renewable: bool
) -> None:
    from meshhw.managers.threshold.succession import Succession, succeed

    at = _setting(name)
    made = succeed(at, store_of(new), Succession(new, moved, renewable))
    context().output.note(f"{new} takes the place of {name}, which stays until you delete it")
    if paths:
        _rewrap(load(name), made, paths, [])
    else:
        context().output.show(described(made), summary(made))


def _rewrap(old: Loaded, new: Loaded, paths: Sequence[Path], signers: Sequence[Signer]) -> None:
    """Report file by file as it goes, and exit 1 when one of them failed."""
    from meshhw.errors import MeshError
    from meshhw.managers.threshold.rewrapping import Result, rewrap_files

    cli = context()
    outcomes: list[Outcome] = []
    try:
        for outcome in rewrap_files(old, new, paths, cli.open_options, signers=signers):
            outcomes.append(outcome)
            if outcome.signed_by and not signers:
                cli.output.note(f"{outcome.path}: no longer signed by {', '.join(outcome.signed_by)}")
    except MeshError:
        for outcome in outcomes:
            cli.output.note(_line(outcome))
        raise
    files = [
        {"file": str(o.path), "result": o.result, "reason": o.reason, "signed_by": o.signed_by}
        for o in outcomes
    ]
    cli.output.show(described(new) | {"files": files}, "\n".join([summary(new), *map(_line, outcomes)]))
    if any(outcome.result is Result.FAILED for outcome in outcomes):
        raise typer.Exit(1)


def _line(outcome: Outcome) -> str:
    return ": ".join(part for part in (str(outcome.path), outcome.result.value, outcome.reason) if part)


def _no_new_key(rewrap: list[Path] | None, *, renewable: bool) -> None:
    from meshhw.errors import UsageError

    if rewrap or renewable:
        raise UsageError("only a new key needs that", hint="name it with --new-key")


def _setting(name: str) -> Setting:
    from meshhw.managers.host import Host
    from meshhw.managers.threshold.authority import Setting
    from meshhw.managers.threshold.remembering import remembering

    cli = context()
    return Setting(store_of(name), Host(cli.home), remembering(cli.open_options), cli.output.note)


def _renewed(loaded: Loaded, store: KeyStore) -> None:
    from meshhw.managers.threshold.state import is_complete, old_shares

    old = old_shares(loaded, store)
    value = described(loaded) | {"old_shares": old, "complete": is_complete(loaded, store)}
    context().output.show(value, "\n".join([summary(loaded), *old]))
