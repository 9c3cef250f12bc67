"""`meshhw account`: a person's Mesh account, its keys, devices and way back after a loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshhw.algorithms import Suite
from meshhw.cli.account_claim import claim
from meshhw.cli.account_compact import compact
from meshhw.cli.account_devices import Account, admin, connect, devices
from meshhw.cli.account_disconnect import disconnect, rekey
from meshhw.cli.account_groups import group
from meshhw.cli.account_names import list_names, rename
from meshhw.cli.account_pins import pin, pins
from meshhw.cli.account_policy import policy
from meshhw.cli.account_root import root
from meshhw.cli.account_succeed import succeed
from meshhw.cli.account_sync import sync
from meshhw.cli.common import context, verbs
from meshhw.cli.output import brief_uri

if TYPE_CHECKING:
    from meshhw.managers.account.escrow import Sheet
    from meshhw.managers.account.manager import AccountManager, NewAccount
    from meshhw.managers.account.membership import Membership
    from meshhw.managers.host import ProfileRecord

app = verbs("A person's Mesh account: its keys, devices and escrow.")

app.command("connect")(connect)
app.command("claim")(claim)
app.command("policy")(policy)
app.command("pin")(pin)
app.command("pins")(pins)
app.command("devices")(devices)
app.command("sync")(sync)
app.command("compact")(compact)
app.command("disconnect")(disconnect)
app.command("rekey")(rekey)
app.command("succeed")(succeed)
app.command("name")(rename)
app.command("names")(list_names)
app.add_typer(admin, name="admin")
app.add_typer(root, name="root")
app.add_typer(group, name="group")


@app.command("create")
def create(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="For instance alice@example.com.")],
    *,
    on: Annotated[
        list[str] | None, typer.Option(metavar="TOKEN", help="Where the keys go; in order of preference.")
    ] = None,
    root_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TOKEN",
            help="Where the root key goes; a token kept offline. With --native several have one each.",
        ),
    ] = None,
    root_threshold: Annotated[
        str | None, typer.Option(metavar="NAME", help="The threshold key that is the root.")
    ] = None,
    admin_threshold: Annotated[
        str | None, typer.Option(metavar="NAME", help="The threshold key that administers.")
    ] = None,
    suite: Annotated[
        Suite | None, typer.Option(help="Default: the strongest that the token does natively.")
    ] = None,
    native: Annotated[
        bool, typer.Option("--native", help="Keys born in their tokens: no seed, no escrow.")
    ] = False,
    require_hardware: Annotated[
        bool, typer.Option("--require-hardware", help="Fail rather than keep a key outside a token.")
    ] = False,
) -> None:
    """Make an account: root, administrator, common and escrow keys, and the keys of its stores."""
    from meshhw.keystore.registry import find_token
    from meshhw.managers.account.roles import ADMINISTRATOR
    from meshhw.managers.account.rooting import root_roles
    from meshhw.managers.profilemaking import ROOT, ProfileRequest

    named = {ROOT: root_threshold, ADMINISTRATOR: admin_threshold}
    request = ProfileRequest(
        tokens=[find_token(name) for name in on or []],
        assigned=root_roles([find_token(name) for name in root_on or []]),
        suite=suite,
        require_hardware=require_hardware,
    )
    with manager() as accounts:
        shared = {role: name for role, name in named.items() if name}
        new = accounts.plan(address, request, native=native, shared=shared)
        announce(new)
        record = accounts.create(new)
    context().output.show(described(record), record.udf)


@app.command("show")
def show(account: Account = None) -> None:
    """The account's profile, where its keys are, and whether its seed is still here; on a connected device,
    what the device is in it."""
    from meshhw.managers.account.membership import membership
    from meshhw.managers.account.succession import account_record, made_on
    from meshhw.managers.host import Host

    cli = context()
    host = Host(cli.home)
    if made_on(host, account):
        value = described(account_record(host, account))
        cli.output.show(value, lambda: _as_text(value))
        return
    joined = _joined(membership(host, account))
    cli.output.show(joined, "\n".join(f"{name:10}{text}" for name, text in joined.items()))


@app.command("escrow")
def escrow(
    *,
    threshold: Annotated[int, typer.Option("-t", "--threshold", help="How many sheets recover it.")] = 2,
    count: Annotated[int, typer.Option("-n", "--count", help="How many sheets are made.")] = 3,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the sheets to print here, as PDF and PNG.")
    ] = None,
    to: Annotated[
        list[str] | None,
        typer.Option(metavar="TOKEN", help="Give a share to this token in place of paper. Repeatable."),
    ] = None,
    qr: Annotated[bool, typer.Option("--qr", help="Show the QR codes on the terminal.")] = False,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Prove that shares recover the account; change nothing.")
    ] = False,
    account: Account = None,
) -> None:
    """Split the account's seed into sheets, and erase it when they are written down."""
    from meshhw.keystore.registry import find_token
    from meshhw.managers.account import escrow as escrowing
    from meshhw.managers.account.sharetokens import provision
    from meshhw.managers.account.succession import account_record
    from meshhw.managers.host import Host

    cli = context()
    host = Host(cli.home)
    record = account_record(host, account)
    sheets = escrowing.make_sheets(host, record, cli.open_options, threshold, count)
    for name in escrowing.not_covered(host, record):
        cli.output.note(f"no share brings back: {name}")
    if rehearse:
        value = {"udf": record.udf, "threshold": threshold, "count": count, "proved": True}
        cli.output.show(value, f"{threshold} of {count} shares recover {record.udf}; nothing was changed")
        return
    left = provision(sheets, [find_token(name) for name in to or []], cli.open_options)
    for sheet, name in zip(sheets, to or [], strict=False):
        cli.output.note(f"share {sheet.index} of {sheet.count} is in {name}")
    _give(left, out, qr)
    erased = cli.interaction.confirm("Are all sheets written down? The seed is then erased.")
    if erased:
        escrowing.erase_seed(host, record)
        escrowing.state_roles(host, record, cli.open_options)
    cli.output.note("the seed is erased; only the sheets bring it back" if erased else "the seed is kept")


@app.command("recover")
def recover(
    shares: Annotated[
        list[str] | None, typer.Argument(metavar="SHARE...", help="Shares or sheet codes; -, @FILE.")
    ] = None,
    *,
    share_on: Annotated[
        list[str] | None, typer.Option(metavar="TOKEN", help="A token that keeps a share. Repeatable.")
    ] = None,
    saved: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="A saved profile, or a copy of the account's directory or of a synchronised one.",
        ),
    ] = None,
    on: Annotated[
        list[str] | None, typer.Option(metavar="TOKEN", help="Where the keys go; in order of preference.")
    ] = None,
    suite: Annotated[Suite | None, typer.Option(help="The account's suite, for bare shares.")] = None,
    require_hardware: Annotated[
        bool, typer.Option("--require-hardware", help="Fail rather than keep a key outside a token.")
    ] = False,
) -> None:
    """Make an account again from its shares."""
    from meshhw.cli.secrets import read_secrets
    from meshhw.keystore.registry import find_token
    from meshhw.managers.account.escrow import recovered_seed
    from meshhw.managers.account.recovering import Saved, missing, saved_profile
    from meshhw.managers.account.sharetokens import share_on as held_share
    from meshhw.managers.profilemaking import ProfileRequest

    output = context().output
    kept = [held_share(find_token(name), context().open_options) for name in share_on or []]
    found = recovered_seed([*kept, *(read_secrets(shares, "share") if shares else [])], suite)
    for index in found.wrong:
        output.note(f"share {index} is changed or of another set; it was not used")
    known = saved_profile(saved, found) if saved else Saved()
    request = ProfileRequest(
        tokens=[find_token(name) for name in on or []],
        suite=found.suite,
        seed=found.seed,
        require_hardware=require_hardware,
    )
    with manager() as accounts:
        new = accounts.plan(known.address, request, saved=known)
        announce(new)
        record = accounts.create(new)
    for line in known.problems:
        output.note(line)
    if absent := missing(known):
        output.note(f"not here: {'; '.join(absent)}; --from a copy of the account's directory brings them")
    if saved is not None and any(path.parent.name != "stores" for path in known.stores):
        merge_saved(record, saved)
    output.show(described(record), record.udf)


def merge_saved(record: ProfileRecord, saved: Path) -> None:
    """Take the stores of all devices from a directory in which they were synchronised."""
    from meshhw.managers.account.standing import standing
    from meshhw.managers.host import Host
    from meshhw.managers.sync.syncing import Synchroniser

    cli = context()
    shared = saved if (saved / record.udf).is_dir() else saved.parent
    report = Synchroniser(standing(Host(cli.home), record.udf), shared, cli.open_options, older=True).run()
    for line in report.problems:
        cli.output.note(line)


def _give(sheets: list[Sheet], out: Path | None, qr: bool) -> None:
    """Print the sheets, and write them where they are wanted."""
    from meshhw.managers.account.codes import terminal
    from meshhw.managers.account.sheets import write_sheets

    output = context().output
    for path in write_sheets(sheets, out) if out else []:
        output.note(f"written: {path}")
    if output.json:
        listed = [{"index": sheet.index, "share": sheet.share, "code": sheet.code} for sheet in sheets]
        numbers = {name: getattr(sheets[0], name) for name in ("udf", "threshold", "count")} if sheets else {}
        output.show({**numbers, "shares": listed})
        return
    for sheet in sheets:
        output.line(f"{sheet.title}\n{sheet.share}\n" + (terminal(sheet.code) if qr else ""))


@contextmanager
def manager() -> Iterator[AccountManager]:
    """The account manager of this home, its tokens open until the end."""
    from meshhw.managers.account.manager import AccountManager
    from meshhw.managers.host import Host

    cli = context()
    with AccountManager(Host(cli.home), cli.open_options) as accounts:
        yield accounts


def announce(new: NewAccount) -> None:
    """Say what is not as wished, what it means, and what will be asked, before anything is."""
    output = context().output
    for line in new.told:
        output.note(line)
    labels = dict.fromkeys(place.token.label or str(place.token.uri) for place in new.plan.places)
    count = "1 PIN" if len(labels) == 1 else f"{len(labels)} PINs"
    output.note(f"suite {new.plan.suite}; {count}: {', '.join(labels)}")


def described(record: ProfileRecord) -> dict[str, Any]:
    """What is told of an account everywhere."""
    from meshhw.managers.account.directory import AccountDirectory

    return {
        "udf": record.udf,
        "address": record.label,
        "suite": record.suite,
        "created": record.created.isoformat(),
        "seed": "sealed" if AccountDirectory(context().home, record.udf).has_seed else "not here",
        "keys": [
            {
                "role": handle.role,
                "algorithm": handle.algorithm,
                "tier": handle.tier,
                "udf": handle.udf,
                "uri": handle.uri,
            }
            for handle in record.keys
        ],
    }


def _joined(found: Membership) -> dict[str, str]:
    return {
        "udf": found.udf,
        "address": found.address,
        "version": str(found.profile.version or 0),
        "device": found.device.udf,
        "roles": ", ".join(found.connection.roles),
    }


def _as_text(value: dict[str, Any]) -> str:
    lines = [f"{value['udf']}  {value['address']}".rstrip(), f"suite {value['suite']}, seed {value['seed']}"]
    lines += [
        f"  {key['role']:25}{key['algorithm']:9}{key['tier']:10}{key['udf']}\n{'':27}{brief_uri(key['uri'])}"
        for key in value["keys"]
    ]
    return "\n".join(lines)
