"""`meshhw threshold`: keys whose shares live in several tokens and never meet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from meshhw.cli import thresholdlife
from meshhw.cli.common import context, verbs
from meshhw.cli.output import brief_uri, require_place, unless_pipe, write_file
from meshhw.cli.streams import naming
from meshhw.cli.thresholdtexts import described, holder_line, load, row, store_of, summary

app = verbs("Keys whose shares live in several tokens and never meet.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The threshold key's name.")]
Out = Annotated[Path, typer.Option("--out", metavar="FILE", help="Write here.")]
OutOrPipe = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Write here, not to stdout.", callback=unless_pipe),
]
On = Annotated[list[str], typer.Option("--on", metavar="TOKEN", help="A token that holds one share. Repeat.")]


@app.command("provision")
def provision(
    *,
    name: Name,
    threshold: Annotated[int, typer.Option(metavar="T", help="How many holders are needed.")],
    on: On,
    suite: Annotated[str | None, typer.Option(metavar="S", help="448, 25519 or P256.")] = None,
    use: Annotated[str | None, typer.Option(metavar="USE", help="encrypt, sign, or both (default).")] = None,
    renewable: Annotated[
        bool, typer.Option("--renewable", help="Keep copies by which shares can be renewed.")
    ] = False,
    dealerless: Annotated[
        bool, typer.Option("--dealerless", help="Let each token make its own share (T = all).")
    ] = False,
) -> None:
    """Make a key in shares, one share in each token."""
    from meshhw.keystore import registry
    from meshhw.managers.host import Host
    from meshhw.managers.threshold.provision import Request
    from meshhw.managers.threshold.provision import provision as make

    cli = context()
    encrypts, signs = _uses(use, dealerless=dealerless)
    request = Request(
        threshold,
        [registry.find_token(token) for token in on],
        _suite(suite),
        encrypts=encrypts,
        signs=signs,
        renewable=renewable,
        dealerless=dealerless,
    )
    if dealerless:
        cli.output.note("a dealerless key is lost with the first token that is lost")
    loaded = make(store_of(name), Host(cli.home), cli.open_options, request, cli.output.note)
    cli.output.show(described(loaded), summary(loaded))


@app.command("list")
def list_keys() -> None:
    """The threshold keys that this machine knows."""
    from meshhw.managers.threshold.store import Store

    cli = context()
    store = Store(cli.home)
    rows = [row(load(name)) for name in store.names()]
    for name in store.unfinished():
        cli.output.note(f"{name}: something was interrupted; `meshhw threshold show {name}` tells more")
    cli.output.table(rows, ("name", "suite", "threshold", "holders", "decryption", "signing", "version"))


@app.command("show")
def show(name: Name) -> None:
    """Holders, their tokens and tiers, whether they are here, and old shares that may still exist."""
    from meshhw.managers.threshold.state import holder_states, is_complete, old_shares, unfinished
    from meshhw.managers.threshold.succession import successor

    cli = context()
    loaded = load(name)
    store = store_of(name)
    with _tokens() as tokens:
        states = [asdict(state) for state in holder_states(loaded, store, tokens)]
    value = described(loaded) | {
        "holders": states,
        "old_shares": old_shares(loaded, store),
        "complete": is_complete(loaded, store),
        "unfinished": unfinished(store),
        "successor": successor(store),
    }
    lines = [summary(loaded), *map(holder_line, states), *(f"device {udf}" for udf in value["devices"])]
    lines += [*value["old_shares"], value["unfinished"]]
    if value["successor"]:
        lines.append(f"{value['successor']} takes its place: `meshhw threshold rewrap {name} --to ...`")
    cli.output.show(value, "\n".join(line for line in lines if line))


@app.command("public")
def public(
    name: Name,
    out: Out,
    use: Annotated[str, typer.Option(metavar="USE", help="encrypt or sign.")] = "encrypt",
) -> None:
    """Write the group's public key: for `dare encode --encrypt`, or (sign) as PEM for any verifier."""
    from meshhw.dare.keyfile import write_public
    from meshhw.dare.keys import public_to_jose
    from meshhw.errors import UsageError
    from meshhw.jsonbcd import to_json
    from meshhw.managers.threshold.descriptor import group_public

    if use not in ("encrypt", "sign"):
        raise UsageError(f"{use!r} is no use of a threshold key", hint="encrypt or sign")
    key = load(name).key("signing" if use == "sign" else "decryption")
    public_key = group_public(key)
    # PEM has no room for the sign that an X448 key's name covers.
    octets = write_public(public_key) if use == "sign" else to_json(public_to_jose(public_key)) + b"\n"
    write_file(out, octets)
    context().output.show({"udf": key.udf, "file": str(out)}, key.udf)


@app.command("sign")
def sign(
    name: Name,
    file: Annotated[str, typer.Argument(metavar="FILE", help="What to sign; - is stdin.")],
    out: OutOrPipe = None,
) -> None:
    """A signature over a file by a quorum of the holders; ordinary Ed25519 or Ed448."""
    import base64

    from meshhw.cli.inputs import read_octets
    from meshhw.managers.threshold.signer import open_signer
    from meshhw.managers.threshold.signing import MAX_MESSAGE

    cli = context()
    if out is not None:
        require_place(out)
    signer = open_signer(name, cli.home, cli.open_options)
    signature = signer.sign(read_octets(file, MAX_MESSAGE))
    value = {"udf": signer.udf, "signature": base64.b64encode(signature).decode()}
    if out is not None:
        write_file(out, signature)
        cli.output.show(value | {"file": str(out)}, "")
    elif cli.json:
        cli.output.show(value)
    else:
        cli.output.octets(signature)


app.command("refresh")(thresholdlife.refresh)
app.command("replace")(thresholdlife.replace)
app.command("rewrap")(thresholdlife.rewrap)
app.command("device")(thresholdlife.device)


@app.command("request")
def request(
    envelope: Annotated[Path, typer.Argument(metavar="ENVELOPE", help="An encrypted envelope.")], out: Out
) -> None:
    """Ask holders on other machines to help decrypt an envelope: write a signed request for them."""
    from meshhw.managers.threshold.asking import request as ask

    cli = context()
    require_place(out)
    with envelope.open("rb") as source, naming(str(envelope)):
        octets = ask(source, cli.home, cli.open_options)
    write_file(out, octets)
    cli.output.show({"file": str(out)}, "")


@app.command("respond")
def respond(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A request from another machine.")], out: Out
) -> None:
    """Answer a request with the holders' tokens that are here, after showing what it asks."""
    from meshhw.cli.inputs import read_octets
    from meshhw.managers.threshold.answering import LIMIT
    from meshhw.managers.threshold.answering import respond as answer

    cli = context()
    require_place(out)
    with naming(str(file)):
        octets = answer(read_octets(str(file), LIMIT), cli.home, cli.open_options)
    write_file(out, octets)
    cli.output.show({"file": str(out)}, "")


@app.command("delete")
def delete(
    name: Name,
    *,
    forget: Annotated[
        bool, typer.Option("--forget", help="Also when tokens are absent: their shares stay on them.")
    ] = False,
) -> None:
    """Destroy every share and forget the key, after asking."""
    from meshhw.managers.threshold.state import delete_key, require_known

    cli = context()
    store = store_of(name)
    require_known(store)
    cli.require_consent(f"destroy all shares of {name}? What was encrypted to it can then never be decrypted")
    left = delete_key(store, cli.open_options, forget=forget)
    for uri in left:
        cli.output.note(f"left behind: {brief_uri(uri)}")
    cli.output.show({"deleted": name, "left": left}, f"deleted {name}")


@contextmanager
def _tokens() -> Iterator[Any]:
    from meshhw.managers.threshold.tokens import OpenTokens

    with OpenTokens(context().open_options) as tokens:
        yield tokens


def _suite(name: str | None) -> Any:
    from meshhw.algorithms import Suite
    from meshhw.errors import UsageError

    if name is None:
        return None
    if name not in tuple(Suite):
        raise UsageError(f"there is no suite {name!r}", hint="448, 25519 or P256")
    return Suite(name)


def _uses(text: str | None, *, dealerless: bool) -> tuple[bool, bool]:
    from meshhw.errors import UsageError

    named = {"encrypt"} if dealerless else {"encrypt", "sign"}
    uses = named if text is None else set(text.split(","))
    if not uses <= {"encrypt", "sign"}:
        raise UsageError(f"{text!r} is no use of a threshold key", hint="encrypt, sign, or encrypt,sign")
    return "encrypt" in uses, "sign" in uses
