"""`meshhw account root`: the tokens whose keys can change the account's profile."""

from __future__ import annotations

from typing import Annotated

import typer

from meshhw.cli.account_devices import Account, RootOn, going_on, token_named
from meshhw.cli.common import context, verbs

root = verbs("The root keys, each of which can change the account.")


@root.command("list")
def list_roots(account: Account = None) -> None:
    """The root keys that the profile names, the one that the account is called by first."""
    from meshhw.managers.account.standing import standing
    from meshhw.managers.host import Host
    from meshhw.schema.assertion import roots_of
    from meshhw.udf import fingerprint

    found = standing(Host(context().home), account)
    keys = found.record.keys if found.record else ()
    places = {handle.udf: handle.uri for handle in keys}
    named = [(fingerprint(key), key.algorithm) for key in roots_of(found.profile)]
    rows = [{"udf": udf, "algorithm": algorithm, "uri": places.get(udf, "")} for udf, algorithm in named]
    context().output.table(rows, ["udf", "algorithm", "uri"])


@root.command("add")
def add(
    *,
    on: Annotated[str, typer.Option(metavar="TOKEN", help="Where the new root key is made.")],
    root_on: RootOn = None,
    account: Account = None,
) -> None:
    """Make one more root key, on a token to put away or in the place of a lost one; an earlier root signs."""
    from meshhw.keystore.registry import find_token
    from meshhw.managers.account.addroot import NewRoot
    from meshhw.managers.account.authority import authority
    from meshhw.managers.account.rooting import SEVERAL_ROOTS
    from meshhw.managers.host import Host
    from meshhw.schema.assertion import profile_udf, roots_of

    cli = context()
    found = going_on(authority(Host(cli.home), account, cli.open_options))
    with NewRoot(found, find_token(on)) as new:
        for line in (*new.plan.told, SEVERAL_ROOTS):
            cli.output.note(line)
        cli.output.note("2 PINs: the new token's and an earlier root's, which signs twice")
        profile = new.add(token_named(root_on))
    value = {"udf": profile_udf(profile), "version": profile.version, "roots": len(roots_of(profile))}
    told = f"the profile {value['udf']} has {value['roots']} root keys and version {value['version']}"
    cli.output.show(value, told)
