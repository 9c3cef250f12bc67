"""`meshhw bookmark`: links, on every device of the account that holds the role."""

from __future__ import annotations

from typing import Annotated

import typer

from meshhw.cli import catalogs
from meshhw.cli.common import context, verbs

app = verbs("Bookmarks, on every device that holds the role.")
STORE = "MMM_Bookmark"
Uri = Annotated[str, typer.Argument(metavar="URI", help="For instance https://example.com/.")]


@app.command("add")
def add(
    uri: Uri,
    title: Annotated[str, typer.Argument(metavar="TITLE", help="What to call it.")] = "",
    *,
    comment: Annotated[list[str] | None, typer.Option(help="A remark; repeatable.")] = None,
    account: catalogs.Account = None,
) -> None:
    """Keep a link."""
    from meshhw.schema.entry import CatalogedBookmark

    entry = CatalogedBookmark(uri=uri, title=title or None, comments=tuple(comment or ()))
    catalogs.add(STORE, account, uri, entry)


@app.command("get")
def get(uri: Uri, *, account: catalogs.Account = None) -> None:
    """Print a link's title and remarks."""
    from meshhw.schema.entry import CatalogedBookmark

    found = catalogs.get(STORE, account, uri, CatalogedBookmark)
    value = {"uri": found.uri, "title": found.title, "comments": list(found.comments)}
    context().output.show(value, "\n".join(filter(None, [found.uri, found.title, *found.comments])))


@app.command("list")
def list_bookmarks(*, account: catalogs.Account = None) -> None:
    """All links."""
    from meshhw.schema.entry import CatalogedBookmark

    catalogs.show_all(STORE, account, CatalogedBookmark, lambda found: {"title": found.title}, ["title"])


@app.command("delete")
def delete(uri: Uri, *, account: catalogs.Account = None) -> None:
    """Forget a link."""
    catalogs.delete(STORE, account, uri)
