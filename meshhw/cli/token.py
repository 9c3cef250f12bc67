"""`meshhw token`: which tokens there are, what they can do, and their PINs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshhw.cli.check import check
from meshhw.cli.common import context, verbs
from meshhw.cli.targets import TokenArgument, having, opened_token
from meshhw.keystore.interaction import PinKind

if TYPE_CHECKING:
    from meshhw.keystore.api import Capabilities, Key, Token, TokenInfo

app = verbs("Tokens: list, show and check what they can do, change and unlock PINs.")


@app.command("list")
def list_tokens(
    everything: Annotated[bool, typer.Option("--all", help="Also those that store no keys.")] = False,
) -> None:
    """The tokens that are there now."""
    from meshhw.errors import OperationTimeout
    from meshhw.keystore import registry

    output = context().output
    found = registry.discover()
    shown = [info for info in found.tokens if everything or (info.initialised and info.stores_keys)]
    for name, error in found.unavailable.items():
        hangs = isinstance(error, OperationTimeout)  # a token may well be there, other than without a library
        (output.note if everything or hangs else output.detail)(f"{name}: {error.message}")
    rows = [described(info) for info in shown]
    if output.json:
        rows = [row | {"capabilities": _capabilities_of(info)} for row, info in zip(rows, shown, strict=True)]
    output.table(rows, ["driver", "kind", "label", "serial", "model", "uri"], "no token is here")


@app.command("show")
def show(token: TokenArgument) -> None:
    """One token, and which algorithm can do which operation in it."""
    with opened_token(token) as open_token:
        value = described(open_token.info()) | {"capabilities": matrix(open_token.capabilities())}
        value |= _tries_left(open_token) | _details(open_token)
    context().output.show(value, lambda: _as_text(value))


@app.command("keys")
def keys(token: TokenArgument) -> None:
    """The private keys in a token."""
    cli = context()
    with opened_token(token) as open_token:
        rows = [describe_key(key) for key in open_token.keys()]  # noqa: SIM118 - a token is no mapping
    cli.output.table(rows, ["algorithm", "tier", "label", "role", "udf", "uri"], "the token holds no key")


@app.command("change-pin")
def change_pin(
    token: TokenArgument,
    kind: Annotated[PinKind | None, typer.Option(help="Which secret; default: the token's user PIN.")] = None,
) -> None:
    """Change a PIN, or the vault's passphrase."""
    from meshhw.keystore.api import Administers

    with opened_token(token) as open_token:
        chosen = kind or (PinKind.VAULT if open_token.info().kind == "vault" else PinKind.USER)
        having(open_token, Administers, "change its PINs here").change_pin(chosen)
    context().output.show({"changed": chosen}, f"the {chosen} PIN is changed")


@app.command("unlock")
def unlock(token: TokenArgument) -> None:
    """Set a new user PIN with the PUK or the security officer's PIN."""
    from meshhw.keystore.api import Administers

    with opened_token(token) as open_token:
        having(open_token, Administers, "unlock its PIN here").unlock()
    context().output.show({"unlocked": True}, "the PIN is set anew")


app.command("check")(check)


def described(info: TokenInfo) -> dict[str, Any]:
    """What is told of a token everywhere; `reader` only of cards."""
    told = {
        "uri": str(info.uri),
        "driver": info.driver,
        "kind": info.kind,
        "vendor": info.vendor,
        "model": info.model,
        "serial": info.serial,
        "firmware": info.firmware,
        "label": info.label,
    }
    return told | ({"reader": info.reader} if info.reader else {})


def describe_key(key: Key) -> dict[str, Any]:
    """What is told of a key everywhere."""
    from meshhw.managers.keys import KnownKeys, role_of
    from meshhw.udf.key import fingerprint

    home, udf, needs = context().home, fingerprint(key.public), key.needs()
    role = role_of(udf, home)
    return {
        "uri": str(key.uri),
        "udf": udf,
        "algorithm": key.algorithm,
        "tier": key.tier,
        "label": KnownKeys(home).label(key.uri) or key.uri.get("object") or "",
        "role": f"{role[1].role} of {role[0].udf}" if role else None,
        "pin": needs.pin,
        "touch": needs.touch,
    }


def matrix(capabilities: Capabilities) -> dict[str, dict[str, str]]:
    """The capability matrix: algorithm -> operation -> tier; what is not there cannot be done."""
    table: dict[str, dict[str, str]] = {}
    for (algorithm, operation), tier in capabilities.matrix.items():
        table.setdefault(algorithm, {})[operation] = tier
    return table


def _capabilities_of(info: TokenInfo) -> dict[str, dict[str, str]] | None:
    """The matrix, or None for a token that cannot be opened now; a list must not fail for one of its rows."""
    from meshhw.errors import MeshError
    from meshhw.keystore import registry

    cli = context()
    try:
        token = registry.open_token(info.uri, cli.open_options)
        try:
            return matrix(token.capabilities())
        finally:
            token.close()
    except MeshError as error:
        cli.output.note(f"{info.uri}: {error.message}")
        return None


def _tries_left(token: Token) -> dict[str, Any]:
    from meshhw.keystore.api import Administers

    return {"pin_tries_left": token.retries_left(PinKind.USER)} if isinstance(token, Administers) else {}


def _details(token: Token) -> dict[str, Any]:
    from meshhw.keystore.api import TellsMore

    return dict(token.details()) if isinstance(token, TellsMore) else {}


def _as_text(value: dict[str, Any]) -> str:
    from meshhw.algorithms import Operation

    facts = [
        f"{name:<15}{told}"
        for name, told in value.items()
        if name != "capabilities" and told not in ("", None)
    ]
    table = value["capabilities"]
    operations = [op for op in Operation if any(op in row for row in table.values())]
    head = f"{'':<15}" + "".join(f"{op:<13}" for op in operations)
    lines = [
        f"{name:<15}" + "".join(f"{row.get(op, 'no'):<13}" for op in operations)
        for name, row in table.items()
    ]
    return "\n".join(line.rstrip() for line in [*facts, "", head, *lines])
