"""`meshhw task`: tasks, on every device of the account that holds the role."""

from __future__ import annotations

from typing import Annotated

import typer

from meshhw.cli import catalogs
from meshhw.cli.common import context, verbs

app = verbs("Tasks, on every device that holds the role.")
STORE = "MMM_Task"
Title = Annotated[str, typer.Argument(metavar="TITLE", help="What is to be done.")]


@app.command("add")
def add(
    title: Title,
    *,
    description: Annotated[str, typer.Option(help="What is to be done.")] = "",
    account: catalogs.Account = None,
) -> None:
    """Keep a task."""
    from meshhw.managers.account.entries import task

    catalogs.add(STORE, account, title, task(title, description))


@app.command("get")
def get(title: Title, *, account: catalogs.Account = None) -> None:
    """Print a task."""
    from meshhw.managers.account.entries import engagement
    from meshhw.schema.entry import CatalogedTask

    found = engagement(catalogs.get(STORE, account, title, CatalogedTask))
    value = {"title": found.title, "description": found.description}
    context().output.show(value, "\n".join(filter(None, [found.title, found.description])))


@app.command("list")
def list_tasks(*, account: catalogs.Account = None) -> None:
    """All tasks."""
    from meshhw.schema.entry import CatalogedTask

    catalogs.show_all(STORE, account, CatalogedTask, lambda found: {"title": found.title}, ["title"])


@app.command("delete")
def delete(title: Title, *, account: catalogs.Account = None) -> None:
    """Forget a task."""
    catalogs.delete(STORE, account, title)
