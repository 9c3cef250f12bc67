"""Catalog entries that are more than their own members: tasks hold an engagement, contacts a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from meshhw.dare.envelope import Envelope
from meshhw.dare.header import ContentMeta
from meshhw.dare.prepare import Outline
from meshhw.dare.write import seal
from meshhw.errors import FormatError
from meshhw.schema.assertion import CONTENT_TYPE
from meshhw.schema.codec import decode, encode
from meshhw.schema.contact import ContactPerson, NetworkAddress, PersonName
from meshhw.schema.core import Enveloped
from meshhw.schema.entry import CatalogedContact, CatalogedTask, Engagement


@dataclass(frozen=True, slots=True)
class Summary:
    """What a list shows of a contact."""

    full_name: str
    addresses: tuple[str, ...]


def task(title: str, description: str) -> CatalogedTask:
    """A task of that title; the catalog around it protects it, so its envelope is neither signed nor
    encrypted."""
    found = Engagement(key=title, title=title, description=description or None)
    content = ContentMeta(message_type="Engagement", content_type=CONTENT_TYPE)
    envelope = seal(encode(found), Outline(content=content))
    return CatalogedTask(key=title, title=title, enveloped_task=Enveloped(envelope.array()))


def engagement(entry: CatalogedTask) -> Engagement:
    """The engagement of a task. Raises FormatError."""
    if entry.enveloped_task is None:
        raise FormatError("the task holds no engagement")
    return decode(Envelope.from_array(entry.enveloped_task.array).body, Engagement)


def contact(name: str, full_name: str, addresses: Sequence[str]) -> CatalogedContact:
    """A person known under a local name."""
    person = ContactPerson(
        local=name,
        common_names=(PersonName(full_name=full_name),),
        network_addresses=tuple(NetworkAddress(address=address) for address in addresses),
    )
    return CatalogedContact(key=name, local_name=name, contact=person)


def summary(entry: CatalogedContact) -> Summary:
    """The name and the addresses of a contact, whatever its class."""
    found = entry.contact
    names = found.common_names if isinstance(found, ContactPerson) else ()
    addresses = found.network_addresses if found else ()
    return Summary(
        next((name.full_name for name in names if name.full_name), entry.local_name or ""),
        tuple(item.address for item in addresses if item.address),
    )
