"""`meshhw account connect` and `meshhw account admin`: who belongs to an account, and who may say so."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshhw.cli.common import context, verbs

if TYPE_CHECKING:
    from meshhw.managers.account.request import Request
    from meshhw.managers.host import ProfileRecord

MAX_REQUEST = 1 << 20
admin = verbs("Who may connect devices: each administrator has a key of its own.")
Account = Annotated[
    str | None, typer.Option("--account", metavar="ADDRESS", help="Which account, when there are several.")
]


def connect(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What `meshhw device request` wrote.")],
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the answer for the device goes.")],
    roles: Annotated[
        str, typer.Option(metavar="R,...", help="super, admin, device, message, web, developer.")
    ] = "message",
    witness: Annotated[
        str | None, typer.Option(help="What the device shows; without it you are asked to compare.")
    ] = None,
    reject: Annotated[bool, typer.Option("--reject", help="Answer with a refusal.")] = False,
    account: Account = None,
) -> None:
    """Connect a device that has asked: check it, grant it roles, write the answer for it."""
    from meshhw.cli.inputs import read_octets
    from meshhw.dare.output import replacing
    from meshhw.managers.account.connect import Connector
    from meshhw.managers.account.request import read_request
    from meshhw.managers.account.rights import rights_of
    from meshhw.managers.host import Host

    cli = context()
    host = Host(cli.home)
    request = read_request(read_octets(file, MAX_REQUEST))
    connector = Connector(host, host.profile(account, "ProfileUser"), cli.open_options)
    if reject:
        answer = connector.reject(request)
    else:
        rights = rights_of([role for role in roles.split(",") if role])
        for found in connector.judged(request):
            cli.output.note(str(found))
        _compare(request, witness)
        answer = connector.connect(request, rights)
    with replacing(out) as target:
        target.write(answer.octets())
    value = {"device": request.udf, "roles": [] if reject else list(rights.roles), "file": str(out)}
    cli.output.show(value, f"{request.udf} is {'refused' if reject else 'connected'}; the answer is in {out}")


@admin.command("list")
def list_administrators(account: Account = None) -> None:
    """The administrators that the profile lists."""
    from meshhw.managers.account.administrators import administrators, profile_of
    from meshhw.udf import fingerprint

    profile = profile_of(_record(account))
    rows = [{"udf": fingerprint(key), "algorithm": key.algorithm} for key in administrators(profile)]
    context().output.table(rows, ["udf", "algorithm"])


@admin.command("add")
def add(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The new administrator's public key.")],
    account: Account = None,
) -> None:
    """List one more administrator's key; the root key signs the profile anew."""
    from meshhw.cli.inputs import public_key_in
    from meshhw.managers.account.administrators import add_administrator
    from meshhw.managers.host import Host

    cli = context()
    changed = add_administrator(Host(cli.home), _record(account), public_key_in(file), cli.open_options)
    _show_version(changed)


@admin.command("remove")
def remove(udf: Annotated[str, typer.Argument(metavar="UDF")], account: Account = None) -> None:
    """Take an administrator off the list; what it signs from now on counts nothing."""
    from meshhw.managers.account.administrators import remove_administrator
    from meshhw.managers.host import Host

    cli = context()
    cli.require_consent(f"Remove the administrator {udf}?")
    changed = remove_administrator(Host(cli.home), _record(account), udf, cli.open_options)
    _show_version(changed)


def _record(account: str | None) -> ProfileRecord:
    from meshhw.managers.host import Host

    return Host(context().home).profile(account, "ProfileUser")


def _show_version(record: ProfileRecord) -> None:
    from meshhw.managers.account.administrators import profile_of

    value: dict[str, Any] = {"udf": record.udf, "version": profile_of(record).version}
    context().output.show(value, f"the profile {record.udf} has version {value['version']}")


def _compare(request: Request, witness: str | None) -> None:
    """Go on only when the device shows the same witness. Raises IntegrityError, Cancelled."""
    from meshhw.errors import IntegrityError

    cli = context()
    if witness is None:
        cli.output.note(f"the device {request.udf} asks; its witness is {request.witness}")
        cli.require_consent("Does the device show this witness?")
    elif not hmac.compare_digest(witness.strip().upper().encode(), request.witness.encode()):
        raise IntegrityError(
            "the witness is not the one of this request", hint="this is another request than the device made"
        )
