"""`meshhw key`: single keys in tokens."""

from __future__ import annotations

import base64
import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshhw.cli.common import context, verbs
from meshhw.cli.output import facts, unless_pipe, write_file
from meshhw.cli.targets import KeyArgument, OnToken, TokenArgument, announce, having, opened_key, opened_token
from meshhw.keystore.api import KeySpec, PinPolicy, TouchPolicy

if TYPE_CHECKING:
    from meshhw.keystore.api import Key
    from meshhw.keystore.attestation import Attestation, Facts

app = verbs("Single keys in tokens: generate, import, sign, attest, delete.")

Label = Annotated[str, typer.Option(help="A name for the key.")]
Touch = Annotated[TouchPolicy, typer.Option(help="When the token shall be touched.")]
Pin = Annotated[PinPolicy, typer.Option("--pin-policy", help="When the PIN shall be asked.")]
Place = Annotated[str | None, typer.Option(help="Where on the token, in its own words (a slot, a handle).")]
Out = Annotated[Path | None, typer.Option(help="Write here in place of stdout.", callback=unless_pipe)]


class Format(StrEnum):
    """The forms of a public key file."""

    PEM = "pem"
    JOSE = "jose"
    RAW = "raw"


@app.command("generate")
def generate(
    *,
    on: OnToken,
    algorithm: Annotated[
        str, typer.Option(metavar="A", help="Ed448, X448, Ed25519, X25519, P-256, P-384, RSA-…")
    ],
    label: Label = "",
    touch: Touch = TouchPolicy.DEFAULT,
    pin_policy: Pin = PinPolicy.DEFAULT,
    place: Place = None,
) -> None:
    """Make a key inside a token, never to leave it."""
    from meshhw.algorithms import Algorithm
    from meshhw.keystore.api import Generates
    from meshhw.managers.keymaking import make_key

    spec = KeySpec(Algorithm.parse(algorithm), label, frozenset(), touch, pin_policy, place)
    with opened_token(on) as token:
        having(token, Generates, "make keys")
        _made(make_key(context().home, token, spec), label)


@app.command("import")
def import_key(
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A private key file.")],
    on: OnToken,
    label: Label = "",
    touch: Touch = TouchPolicy.DEFAULT,
    pin_policy: Pin = PinPolicy.DEFAULT,
    place: Place = None,
) -> None:
    """Move a private key from a file into a token, never to come out again."""
    from meshhw.cli.inputs import private_key_in
    from meshhw.keystore.api import Imports
    from meshhw.managers.keymaking import make_key

    private = private_key_in(file)
    spec = KeySpec(private.algorithm, label, frozenset(), touch, pin_policy, place)
    with opened_token(on) as token:
        having(token, Imports, "import keys")
        _made(make_key(context().home, token, spec, private), label)
    context().output.note(f"{file} still holds the private key: destroy it")


@app.command("show")
def show(key: KeyArgument) -> None:
    """What a key is, and how its token says that it is protected."""
    from meshhw.cli.token import describe_key
    from meshhw.keystore.api import TellsProtection

    with opened_key(key) as found:
        value = describe_key(found.key)
        if isinstance(found.token, TellsProtection):
            told = found.token.protection(found.key.uri)
            value |= {"extractable": told.extractable, "generated_inside": told.generated_inside}
            value |= {"token_says": dict(told.answers)}
    context().output.show(value, lambda: facts(value))


@app.command("public")
def public(
    key: KeyArgument,
    out: Out = None,
    form: Annotated[
        Format, typer.Option("--format", help="PEM, the Mesh's JSON, or raw octets.")
    ] = Format.PEM,
) -> None:
    """The public key."""
    from meshhw.dare.keyfile import write_public
    from meshhw.dare.keys import public_to_jose
    from meshhw.jsonbcd import to_json

    with opened_key(key) as found:
        shown = found.key.public
    if form is Format.PEM:
        _write(write_public(shown), out, {"public": write_public(shown).decode()}, text=True)
    elif form is Format.JOSE:
        octets = to_json(public_to_jose(shown)) + b"\n"
        _write(octets, out, {"public": octets.decode()}, text=True)
    else:
        _write(shown.octets, out, {"public": base64.b64encode(shown.octets).decode()})


@app.command("attest")
def attest(
    key: KeyArgument,
    out: Out = None,
    root: Annotated[
        list[Path] | None, typer.Option(help="A root certificate (DER or PEM) to check up to.")
    ] = None,
) -> None:
    """The token's statement of how the key came to be; with --root, checked."""
    from meshhw.cli.inputs import certificate
    from meshhw.keystore.api import Attests
    from meshhw.keystore.attestation import verify

    roots = [certificate(path) for path in root or []]
    with opened_key(key) as found:
        statement = having(found.token, Attests, "attest keys").attest(found.key.uri)
    value = _attestation(statement)
    told = {"format": statement.format, "certificates": len(statement.chain)}
    if roots:
        value["facts"] = told = _facts(verify(statement, roots))
    if out is not None:
        write_file(out, json.dumps(value, indent=2).encode() + b"\n")
    elif not roots:
        context().output.note("nothing was checked: --root FILE checks it, --out FILE keeps the statement")
    context().output.show(value, lambda: facts(told))


@app.command("sign")
def sign(
    key: KeyArgument,
    file: Annotated[str, typer.Argument(metavar="FILE", help="What to sign; - is stdin.")],
    out: Out = None,
) -> None:
    """A raw signature over a file. Keys of a profile are refused: they sign envelopes and profiles only."""
    from meshhw.cli.inputs import read_octets
    from meshhw.keystore.api import Signs

    message = read_octets(file)
    with opened_key(key) as found:
        found.require_no_role("for raw signatures")
        announce(found.key)
        signature = having(found.key, Signs, f"sign with this {found.key.algorithm} key").sign(message)
        value = {"udf": found.udf, "signature": base64.b64encode(signature).decode()}
    _write(signature, out, value)


@app.command("delete")
def delete(key: KeyArgument) -> None:
    """Destroy a key in its token, after asking."""
    from meshhw.keystore.api import Deletes
    from meshhw.managers.keys import KnownKeys

    cli = context()
    with opened_key(key) as found:
        uri, udf = found.key.uri, found.udf
        part = f", the {found.role[1].role} key of {found.role[0].udf}," if found.role else ""
        cli.require_consent(f"destroy {found.key.algorithm} key {udf}{part} for good?")
        having(found.token, Deletes, "delete keys").delete(uri)
    KnownKeys(cli.home).remove(uri)
    cli.output.show({"deleted": str(uri), "udf": udf}, f"deleted {uri}")


@app.command("tidy")
def tidy(token: TokenArgument) -> None:
    """Destroy the keys that an interrupted command left on a token without a record, if there are any."""
    from meshhw.managers.intentions import Intentions

    cli = context()

    def confirm(uri: str) -> bool:
        return cli.interaction.confirm(f"Is {uri} left of an interrupted command, and to be destroyed?")

    with opened_token(token) as opened:
        settled = Intentions(cli.home).tidy(opened, confirm)
    value = {"destroyed": settled.destroyed, "kept": list(settled.suspects)}
    cli.output.show(value, f"{settled.destroyed} destroyed, {len(settled.suspects)} kept")


def _made(key: Key, label: str) -> None:
    from meshhw.udf.key import fingerprint

    uri, udf = str(key.uri), fingerprint(key.public)
    value = {"uri": uri, "udf": udf, "algorithm": key.algorithm, "tier": key.tier, "label": label}
    context().output.show(value, f"{udf}\n{uri}")


def _write(octets: bytes, out: Path | None, value: dict[str, Any], *, text: bool = False) -> None:
    """To the named file; else as JSON, as text, or as octets into a pipe."""
    output = context().output
    if out is not None:
        write_file(out, octets)
        output.show(value | {"file": str(out)}, "")
    elif output.json or text:
        output.show(value, octets.decode() if text else None)
    else:
        output.octets(octets)


def _attestation(statement: Attestation) -> dict[str, Any]:
    return {
        "format": statement.format,
        "statement": base64.b64encode(statement.statement).decode(),
        "signature": base64.b64encode(statement.signature).decode(),
        "chain": [base64.b64encode(certificate).decode() for certificate in statement.chain],
    }


def _facts(found: Facts) -> dict[str, Any]:
    from meshhw.udf.key import fingerprint

    return {
        "udf": fingerprint(found.public),
        "issuer": found.issuer,
        "generated_inside": found.generated_inside,
        "pin_policy": found.pin_policy,
        "touch_policy": found.touch_policy,
        "serial": found.serial,
        "firmware": found.firmware,
    }
