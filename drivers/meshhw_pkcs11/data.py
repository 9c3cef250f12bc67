"""Named octets on a token: CKO_DATA objects of this project's application name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pkcs11 import Attribute, ObjectClass

from meshhw_pkcs11.search import objects
from meshhw_pkcs11.session import Session

if TYPE_CHECKING:
    import pkcs11

APPLICATION = "meshhw"


def store(session: pkcs11.Session, name: str, data: bytes, *, private: bool) -> None:
    """Create or replace. The new object is there before the old one goes."""
    old = find(session, name)
    session.create_object(
        {
            Attribute.CLASS: ObjectClass.DATA,
            Attribute.TOKEN: True,
            Attribute.PRIVATE: private,
            Attribute.APPLICATION: APPLICATION,
            Attribute.LABEL: name,
            Attribute.VALUE: data,
        }
    )
    for one in old:
        one.destroy()


def find(session: pkcs11.Session, name: str | None = None) -> list[Any]:
    """The data objects of that name, or all of this application."""
    template: dict[Attribute, Any] = {Attribute.CLASS: ObjectClass.DATA, Attribute.APPLICATION: APPLICATION}
    if name is not None:
        template[Attribute.LABEL] = name
    return objects(session, template)


def load(session: pkcs11.Session, name: str) -> bytes | None:
    """The octets; None if there is no such object."""
    found = find(session, name)
    return bytes(found[0][Attribute.VALUE]) if found else None


class StoresDataObjects:
    """Tokens with data objects."""

    session: Session

    def store_data(self, name: str, data: bytes, *, private: bool = True) -> None:
        """Create or replace. Raises TokenFull, TokenReadOnly."""
        self.session.run(lambda session: store(session, name, data, private=private))

    def load_data(self, name: str) -> bytes | None:
        """The octets, None if absent."""
        return self.session.run(lambda session: load(session, name))

    def delete_data(self, name: str) -> None:
        """Remove; absent is fine."""
        self.session.run(lambda session: [one.destroy() for one in find(session, name)])

    def data_names(self) -> Sequence[str]:
        """The names in store."""
        return self.session.run(lambda session: sorted({str(one[Attribute.LABEL]) for one in find(session)}))
