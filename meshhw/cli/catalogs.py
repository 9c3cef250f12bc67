"""What the catalog groups share: `add`, `get`, `list` and `delete` over one store of the account."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from meshhw.cli.common import context

if TYPE_CHECKING:
    from meshhw.managers.account.stores import Store
    from meshhw.schema.core import MeshObject

Account = Annotated[
    str | None, typer.Option("--account", metavar="ADDRESS", help="Which account, when there are several.")
]
T = TypeVar("T", bound="MeshObject")
Row = dict[str, Any]


@contextmanager
def opened(store: str, account: str | None, *, writable: bool = False) -> Iterator[Store]:
    """A store of the account, for as long as the block lasts."""
    from meshhw.managers.account.stores import opened_store
    from meshhw.managers.host import Host

    cli = context()
    with opened_store(Host(cli.home), store, cli.open_options, account=account, writable=writable) as found:
        yield found


def add(store: str, account: str | None, key: str, entry: MeshObject) -> None:
    """Put an entry and print its key."""
    with opened(store, account, writable=True) as found:
        found.put(key, entry)
    context().output.show({"key": key}, key)


def get(store: str, account: str | None, key: str, kind: type[T]) -> T:
    """The entry of that key."""
    with opened(store, account) as found:
        return found.get(key, kind)


def show_all(
    store: str, account: str | None, kind: type[T], row: Callable[[T], Row], columns: list[str]
) -> None:
    """Print all entries, one a row."""
    with opened(store, account) as found:
        rows = [{"key": key} | row(entry) for key, entry in found.all(kind)]
    context().output.table(rows, ["key", *columns], "the catalog is empty")


def delete(store: str, account: str | None, key: str) -> None:
    """Delete an entry."""
    with opened(store, account, writable=True) as found:
        found.delete(key)
    context().output.show({"deleted": key}, f"{key} is deleted")
