"""`meshhw account connect` and `meshhw account admin`: who belongs to an account, and who may say so."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshhw.cli.common import context, verbs
from meshhw.cli.output import not_pipe
from meshhw.cli.streams import naming

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshhw.dare.envelope import Envelope
    from meshhw.keystore.uri import TokenURI
    from meshhw.managers.account.attesting import Judgement
    from meshhw.managers.account.authority import Authority
    from meshhw.managers.account.costs import Cost
    from meshhw.managers.account.request import Request
    from meshhw.schema.profile import ProfileUser

MAX_REQUEST = 1 << 20
admin = verbs("Who may connect devices: each administrator has a key of its own.")
Account = Annotated[
    str | None, typer.Option("--account", metavar="ADDRESS", help="Which account, when there are several.")
]

RootOn = Annotated[
    str | None,
    typer.Option(metavar="TOKEN", help="The token with the root key, where this machine does not know it."),
]


def connect(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What `meshhw device request` wrote.")],
    *,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="Where the answer for the device goes.", callback=not_pipe)
    ],
    roles: Annotated[
        str | None,
        typer.Option(
            metavar="R,...",
            help="super, admin, device, message, web, developer, threshold. "
            "Default: those of the PIN, else message.",
        ),
    ] = None,
    witness: Annotated[
        str | None, typer.Option(help="What the device shows; without it you are asked to compare.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What the account's catalogs call the device, on every device.")
    ] = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="With the role threshold: a threshold key whose holders it may ask. Repeat. "
            "Default: the account's own, of its root, administrators and groups.",
        ),
    ] = None,
    root_on: RootOn = None,
    reject: Annotated[bool, typer.Option("--reject", help="Answer with a refusal.")] = False,
    account: Account = None,
) -> None:
    """Connect a device that has asked: check it, grant it roles, write the answer for it."""
    from meshhw.cli.inputs import read_octets
    from meshhw.dare.output import replacing
    from meshhw.errors import UsageError
    from meshhw.managers.account.authority import authority
    from meshhw.managers.account.connect import Connector
    from meshhw.managers.account.costs import by_pin as more_by_pin
    from meshhw.managers.account.costs import connecting, operations
    from meshhw.managers.account.request import read_request
    from meshhw.managers.account.rights import rights_of
    from meshhw.managers.host import Host
    from meshhw.managers.threshold.signer import PREFIX

    cli = context()
    host = Host(cli.home)
    with naming(file):
        request = read_request(read_octets(file, MAX_REQUEST))
    found = going_on(authority(host, account, cli.open_options))
    connector = Connector(host, found, cli.open_options)

    granted: list[str] = []

    def deliver(answer: Envelope, roles: tuple[str, ...]) -> None:
        with replacing(out) as target:
            target.write(answer.octets())
        granted.extend(roles)

    if reject:
        connector.reject(request, deliver)
    else:
        by_pin = roles is None and request.message.pin_id is not None
        rights = None if by_pin else rights_of([role for role in (roles or "message").split(",") if role])
        if threshold and rights is not None and not rights.shares:
            raise UsageError("--threshold is for the role threshold", hint="add it to --roles")
        tell_judged(connector.judged(request))
        if not by_pin:
            _compare(request, witness)
        root = token_named(root_on)
        shared = [item.removeprefix(PREFIX) for item in threshold or []]
        parts = connecting(found, request, rights, root_on=root, holders_of=shared)
        tell_costs(parts, [f"{operations(parts)} operations in all"])
        for line in more_by_pin(found, root) if by_pin else ():
            cli.output.note(line)
        connector.connect(request, rights, name=name, root_on=root, holders_of=shared, deliver=deliver)
    value = {"device": request.udf, "roles": granted, "file": str(out)}
    done = "refused" if reject else f"connected as {', '.join(granted)}"
    cli.output.show(value, f"{request.udf} is {done}; the answer is in {out}")


def devices(account: Account = None) -> None:
    """The devices of the account; their catalog is open to administrators."""
    from meshhw.managers.account.devices import opened_devices, roles_in
    from meshhw.managers.host import Host

    cli = context()
    with opened_devices(Host(cli.home), cli.open_options, account=account) as found:
        rows = [
            {"udf": item.device_udf, "name": item.local_name or "", "roles": ",".join(roles_in(item))}
            for item in found.devices()
        ]
    cli.output.table(rows, ["udf", "name", "roles"])


@admin.command("list")
def list_administrators(account: Account = None) -> None:
    """The administrators that the profile lists."""
    from meshhw.managers.account.administrators import administrators
    from meshhw.udf import fingerprint

    profile = _authority(account).profile
    rows = [{"udf": fingerprint(key), "algorithm": key.algorithm} for key in administrators(profile)]
    context().output.table(rows, ["udf", "algorithm"])


@admin.command("add")
def add(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The new administrator's public key.")],
    *,
    root_on: RootOn = None,
    account: Account = None,
) -> None:
    """List one more administrator's key; the root key signs the profile anew."""
    from meshhw.cli.inputs import public_key_in
    from meshhw.managers.account.administrators import add_administrator

    _show_version(add_administrator(_authority(account), public_key_in(file), token_named(root_on)))


@admin.command("remove")
def remove(
    udf: Annotated[
        str, typer.Argument(metavar="UDF", help="The key's UDF, as `account admin list` shows it.")
    ],
    *,
    root_on: RootOn = None,
    account: Account = None,
) -> None:
    """Take an administrator off the list; what it signs from now on counts nothing."""
    from meshhw.managers.account.removing import remove_administrator

    context().require_consent(f"Remove the administrator {udf}?")
    _show_version(remove_administrator(_authority(account), udf, token_named(root_on)))


def going_on(found: Authority) -> Authority:
    """The account, after a disconnection that something had interrupted was carried out."""
    from meshhw.managers.account.journal import resume

    if resume(found):
        context().output.note("a disconnection that was interrupted is carried out")
    return found


def token_named(name: str | None) -> TokenURI | None:
    """The token that an option names. Raises TokenNotFound, Ambiguous."""
    from meshhw.keystore.registry import find_token

    return None if name is None else find_token(name)


def _authority(account: str | None) -> Authority:
    from meshhw.managers.account.authority import authority
    from meshhw.managers.host import Host

    cli = context()
    return going_on(authority(Host(cli.home), account, cli.open_options))


def _show_version(profile: ProfileUser) -> None:
    from meshhw.schema.assertion import profile_udf

    value: dict[str, Any] = {"udf": profile_udf(profile), "version": profile.version}
    context().output.show(value, f"the profile {value['udf']} has version {value['version']}")


def announce(
    found: Authority,
    signatures: int,
    *,
    root: TokenURI | None = None,
    by_root: bool,
    more: Sequence[Cost] = (),
) -> None:
    """How many PINs, touches and signatures a change of the account will ask for, and of which tokens."""
    from meshhw.managers.account.costs import signing

    tell_costs([*signing(found, signatures, by_root=by_root, root_on=root), *more])


def tell_costs(parts: Sequence[Cost], in_all: Sequence[str] = ()) -> None:
    """One line of what is asked for, at most."""
    from meshhw.cli.asking import tell

    tokens = [token for part in parts for token in part.tokens]
    what = [part.what for part in parts if part.what]
    tell(tokens, sum(part.touches for part in parts), [*what, *in_all])


def tell_judged(judged: Sequence[Judgement]) -> None:
    """What is proved of each key, in as few lines as there are things to say."""
    told: dict[str, list[str]] = {}
    for found in judged:
        told.setdefault(found.says, []).append(found.key)
    for says, keys in told.items():
        context().output.note(f"{', '.join(keys)}: {says}")


def _compare(request: Request, witness: str | None) -> None:
    """Go on only when the device shows the same witness. Raises WitnessMismatch, Cancelled."""
    from meshhw.errors import WitnessMismatch

    cli = context()
    if witness is None:
        cli.output.note(f"the device {request.udf} asks; its witness is {request.witness}")
        cli.require_consent("Does the device show this witness?")
    elif not hmac.compare_digest(witness.strip().upper().encode(), request.witness.encode()):
        raise WitnessMismatch(
            "the witness is not the one of this request", hint="this is another request than the device made"
        )
