"""`meshhw device`: device profiles whose private keys live in tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshhw.algorithms import Suite
from meshhw.cli.account_claim import claimed, preconfigure
from meshhw.cli.common import context, verbs
from meshhw.cli.output import brief_uri, not_pipe
from meshhw.cli.streams import ExportFile, hand_out, naming, reading

if TYPE_CHECKING:
    from meshhw.keystore.api import TouchPolicy
    from meshhw.keystore.placement import Plan
    from meshhw.keystore.uri import TokenURI
    from meshhw.managers.device import DeviceManager
    from meshhw.managers.host import KeyHandle, ProfileRecord
    from meshhw.schema.assertion import Verified
    from meshhw.schema.profile import Profile
    from meshhw.udf import UDF

app = verbs("Device profiles whose private keys live in tokens.")
app.command("preconfigure")(preconfigure)
app.command("claimed")(claimed)

Device = Annotated[
    str | None, typer.Argument(metavar="[UDF]", help="Its UDF, the beginning of it, or its label.")
]


@app.command("create")
def create(
    *,
    on: Annotated[
        list[str] | None, typer.Option(metavar="TOKEN", help="Where the keys go; in order of preference.")
    ] = None,
    role: Annotated[
        list[str] | None, typer.Option(metavar="ROLE=TOKEN", help="Where the key of one role goes.")
    ] = None,
    suite: Annotated[
        Suite | None, typer.Option(help="Default: the strongest that the token does natively.")
    ] = None,
    require_hardware: Annotated[
        bool, typer.Option("--require-hardware", help="Fail rather than keep a key outside a token.")
    ] = False,
    from_seed: Annotated[
        str | None,
        typer.Option(metavar="SECRET", help="Derive the keys from this seed (-, @FILE) and import them."),
    ] = None,
    touch: Annotated[
        str, typer.Option(help="When the key that signs wants a touch: never, cached, always.")
    ] = "default",
    dual: Annotated[
        bool,
        typer.Option("--dual", help="In accounts, sign with the token's key and a second one; both count."),
    ] = False,
    sealed: Annotated[
        bool,
        typer.Option("--sealed", help="In accounts, sign as published: the key is unsealed and activated."),
    ] = False,
    attestation: Annotated[
        bool,
        typer.Option(
            "--attestation/--no-attestation",
            help="Put what the tokens attest of the keys (their serial numbers, too) into the profile.",
        ),
    ] = True,
    label: Annotated[str, typer.Option(help="A name for the device on this machine.")] = "",
) -> None:
    """Make a device profile; its private keys are made in tokens and never leave them."""
    from meshhw.cli.secrets import read_secret
    from meshhw.keystore.registry import find_token
    from meshhw.managers.profilemaking import ProfileRequest
    from meshhw.udf import Seed

    request = ProfileRequest(
        tokens=[find_token(name) for name in on or []],
        assigned=dict(map(_assignment, role or [])),
        suite=suite,
        seed=Seed.parse(read_secret(from_seed, "seed")) if from_seed else None,
        require_hardware=require_hardware,
        label=label,
        touch=_touch(touch),
    )
    with _manager() as manager:
        plan = manager.plan(request)
        _announce(plan)
        record = manager.create(request, plan, attest=attestation, dual=dual, sealed=sealed)
    context().output.show(_described(record), record.udf)


@app.command("list")
def list_devices() -> None:
    """The device profiles of this machine."""
    from meshhw.managers.host import Host

    cli = context()
    rows = [_described(record) for record in Host(cli.home).profiles("ProfileDevice")]
    if not cli.output.json:
        rows = [row | {"keys": sorted({key["tier"] for key in row["keys"]})} for row in rows]
    cli.output.table(rows, ["udf", "suite", "label", "created", "keys"], "there is no device profile yet")


@app.command("show")
def show(udf: Device = None) -> None:
    """One profile: its roles, the tokens that hold them, and how well they are kept."""
    from meshhw.managers.host import Host

    cli = context()
    record = Host(cli.home).profile(udf, "ProfileDevice")
    cli.output.show(_described(record), lambda: _as_text(record))


@app.command("export")
def export(
    udf: Annotated[str, typer.Argument(metavar="UDF", help="Its UDF, the beginning of it, or its label.")],
    file: ExportFile,
) -> None:
    """Write the signed profile, which is public, to a file."""
    from meshhw.managers.host import Host

    record = Host(context().home).profile(udf, "ProfileDevice")
    hand_out(file, record.envelope, {"udf": record.udf}, f"{record.udf} is in {file}")


@app.command("verify")
def verify(file: Annotated[str, typer.Argument(metavar="FILE", help="A profile, or - for stdin.")]) -> None:
    """Check any profile: that its own key signed it, and that its keys are what it calls them."""
    from meshhw.dare.envelope import Envelope
    from meshhw.schema.assertion import open_profile
    from meshhw.schema.profile import Profile

    with reading(file) as (source, _):
        verified = open_profile(Envelope.parse(source), Profile)
    value = _verified(verified)
    for finding in value["findings"]:
        context().output.detail(finding)
    context().output.show(value, f"{value['class']} {value['udf']} is signed by its own key")


@app.command("delete")
def delete(
    udf: Annotated[str, typer.Argument(metavar="UDF", help="Its UDF, the beginning of it, or its label.")],
) -> None:
    """Destroy a device's private keys on their tokens, and forget it."""
    from meshhw.managers.host import Host

    cli = context()
    record = Host(cli.home).profile(udf, "ProfileDevice")
    cli.require_consent(
        f"Destroy the {len(record.keys)} private keys of {record.udf}? Nothing can bring them back."
    )
    with _manager() as manager:
        manager.delete(record)
    cli.output.show({"deleted": record.udf}, f"{record.udf} is deleted, its keys are destroyed")


@app.command("request")
def request(
    address: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS", help="The account, or the mcu: URI of a QR code with a PIN (-, @FILE)."
        ),
    ],
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the request goes.", callback=not_pipe)],
    pin: Annotated[
        str | None,
        typer.Option(metavar="SECRET", help="The PIN that an administrator has told (-, @FILE)."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="UDF", help="Which device, when there are several.")
    ] = None,
) -> None:
    """Ask an account's administrator to connect this device; show the witness to be compared."""
    from meshhw.dare.output import replacing
    from meshhw.managers.account.request import ASKING, make_request, witness_of
    from meshhw.managers.host import Host

    cli = context()
    host = Host(cli.home)
    account, secret = _asked(address, pin)
    record = host.profile(device, "ProfileDevice")
    _announce_use(record, ASKING)
    envelope = make_request(host, record, account, cli.open_options, secret)
    with replacing(out) as target:
        target.write(envelope.octets())
    value = {"file": str(out), "pin": secret is not None, "witness": witness_of(envelope)}
    told = "it proves to know the PIN" if secret else f"its witness is\n{value['witness']}"
    cli.output.show(value, f"the request is in {out}; {told}")


def _asked(address: str, pin: str | None) -> tuple[str, UDF | None]:
    """The account's address and the PIN, either as given or from a QR code's URI."""
    from meshhw.cli.secrets import read_secret
    from meshhw.errors import UsageError
    from meshhw.udf import UDF
    from meshhw.udf.locator import parse_connection_uri

    scanned = address == "-" or address.startswith("@") or address.lower().startswith("mcu:")
    if not scanned:
        return address, UDF.parse(read_secret(pin, "PIN")) if pin is not None else None
    if pin is not None:
        raise UsageError("the code holds the PIN already")
    account, secret = parse_connection_uri(read_secret(address, "connection URI"))
    return account, secret


@app.command("complete")
def complete(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What `meshhw account connect` wrote.")],
) -> None:
    """Install what an administrator made for this device: the answer to its request, or an update."""
    from meshhw.cli.account_devices import MAX_REQUEST
    from meshhw.cli.inputs import read_octets
    from meshhw.managers.account.complete import KEEPING, OPENINGS, receive
    from meshhw.managers.host import Host

    cli = context()
    host = Host(cli.home)
    for record in host.profiles("ProfileDevice"):
        _announce_use(record, KEEPING, OPENINGS)
    with naming(file):
        found = receive(host, read_octets(file, MAX_REQUEST), cli.open_options, following=True)
    roles = list(found.roles)
    value = {"account": found.account, "address": found.address, "device": found.device, "roles": roles}
    done = "brought up to date with" if found.update else "connected to"
    cli.output.show(value, f"{done} {found.address} ({found.account}) as {', '.join(roles)}")


@contextmanager
def _manager() -> Iterator[DeviceManager]:
    from meshhw.managers.device import DeviceManager
    from meshhw.managers.host import Host

    cli = context()
    with DeviceManager(Host(cli.home), cli.open_options) as manager:
        yield manager


def _assignment(text: str) -> tuple[str, TokenURI]:
    from meshhw.errors import UsageError
    from meshhw.keystore.placement import require_role
    from meshhw.keystore.registry import find_token
    from meshhw.managers.device import ROLES

    name, equals, token = text.partition("=")
    if not equals or not token:
        raise UsageError(f"{text!r} is not ROLE=TOKEN", hint="for instance --role encryption=software:")
    require_role(name, ROLES)
    return name, find_token(token)


def _touch(text: str) -> dict[str, TouchPolicy]:
    from meshhw.errors import UsageError
    from meshhw.keystore.api import TouchPolicy

    try:
        return {"signature": TouchPolicy(text)}
    except ValueError as error:
        raise UsageError(f"{text!r} is no touch policy", hint="never, cached or always") from error


def _announce_use(record: ProfileRecord, signatures: int, openings: int = 0) -> None:
    """What the next step will ask of a device's keys, before it does."""
    from meshhw.cli.asking import TOUCHING, tell

    asked = {"signature": signatures} | ({"encryption": openings} if openings else {})
    handles = {role: record.key(role) for role in asked}
    touches = sum(asked[role] for role, handle in handles.items() if handle.touch_policy in TOUCHING)
    what = ["1 signature by the device's key"]
    if openings:
        what.append(f"at most {openings} operations of its encryption key")
    tell([handle.key_uri.token for handle in handles.values()], touches, what)


def _announce(plan: Plan) -> None:
    """Say what is not as wished, and what will be asked, before anything is."""
    output = context().output
    for line in plan.told:
        output.note(line)
    tokens = {str(place.token.uri): place.token.label or str(place.token.uri) for place in plan.places}
    count = "1 PIN" if len(tokens) == 1 else f"{len(tokens)} PINs"
    output.note(f"suite {plan.suite}; {count}: {', '.join(tokens.values())}")


def _described(record: ProfileRecord) -> dict[str, Any]:
    return {
        "udf": record.udf,
        "suite": record.suite,
        "label": record.label,
        "created": record.created.isoformat(),
        "keys": [_described_key(handle) for handle in record.keys],
    }


def _described_key(handle: KeyHandle) -> dict[str, Any]:
    return {
        "role": handle.role,
        "algorithm": handle.algorithm,
        "tier": handle.tier,
        "udf": handle.udf,
        "uri": handle.uri,
    }


def _as_text(record: ProfileRecord) -> str:
    lines = [
        f"{record.udf}  {record.label}".rstrip(),
        f"suite {record.suite}, made {record.created.isoformat()}",
    ]
    lines += [
        f"  {handle.role:18}{handle.algorithm:9}{handle.tier:10}{handle.udf}\n{'':20}{brief_uri(handle.uri)}"
        for handle in record.keys
    ]
    return "\n".join(lines)


def _verified(verified: Verified[Profile]) -> dict[str, Any]:
    from meshhw.schema.keydata import keys_of
    from meshhw.udf import fingerprint

    keys = keys_of(verified.value)
    return {
        "udf": fingerprint(verified.signer),
        "class": type(verified.value).__name__,
        "suite": verified.value.suite or Suite.S448.value,
        "keys": {name: fingerprint(public) for name, public in keys.items()},
        "findings": [str(finding) for finding in verified.findings],
    }
