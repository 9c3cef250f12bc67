"""What a device says of its stores, signed: how far each goes, and under which head.

A statement counts when its author belongs to the account: the key is an administrator's that the profile
lists, or that of a device whose connection an administrator has signed. Its roles say of which stores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from meshhw.algorithms import PublicKey
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import KeyRing
from meshhw.dare.heads import SequenceHead
from meshhw.dare.merkle import Head
from meshhw.dare.prepare import Outline
from meshhw.dare.read import open_envelope
from meshhw.dare.signing import Signer
from meshhw.dare.write import seal
from meshhw.errors import FormatError, IntegrityError, MeshError, SignatureInvalid
from meshhw.managers.account.administrators import administrators
from meshhw.managers.account.removed import signers_for
from meshhw.managers.account.rights import ADMINISTRATORS, rights_of
from meshhw.managers.account.roles import STORES
from meshhw.managers.account.standing import Standing
from meshhw.schema.assertion import open_assertion
from meshhw.schema.codec import decode, encode
from meshhw.schema.connection import ConnectionDevice
from meshhw.schema.core import Enveloped
from meshhw.schema.keydata import signature_keys
from meshhw.schema.sync import StoreHead, StoreHeads
from meshhw.udf import fingerprint

LIMIT = 1 << 18
_DIGEST = 64


class Stranger(SignatureInvalid):
    """The author is no device of the account, or no longer."""

    default_hint = "it was disconnected, or the account's profile here is older than its connection"


@dataclass(frozen=True, slots=True)
class Statement:
    """One author's heads, verified."""

    author: str
    number: int
    heads: Mapping[str, SequenceHead]
    """Those of stores that the author's roles grant."""
    connected: datetime | None
    """When an administrator signed the author's connection; None for the machine that made the account."""


def sign_statement(
    found: Standing, number: int, heads: Mapping[str, SequenceHead], signers: Sequence[Signer]
) -> Envelope:
    """This home's statement, signed by all of its keys. Raises what they raise."""
    connection = found.connection
    listed = tuple(
        StoreHead(
            store=store,
            sequence_id=head.sequence_id,
            index=head.head.index,
            tree_digest=head.head.digest,
        )
        for store, head in sorted(heads.items())
    )
    statement = StoreHeads(
        profile_udf=found.udf,
        author=found.author,
        number=number,
        heads=listed,
        enveloped_connection_device=Enveloped(connection.array()) if connection else None,
        proof=found.member.entry.proof if found.member else None,
    )
    return seal(encode(statement), Outline(signers=signers))


def read_statement(octets: bytes, author: str, found: Standing) -> Statement:
    """The statement in a file of this author.

    Raises Stranger when the author does not belong to the account, SignatureInvalid, IntegrityError when it
    is another author's or account's, FormatError.
    """
    envelope = Envelope.parse(octets)
    claimed = decode(envelope.body, StoreHeads)
    if claimed.profile_udf != found.udf:
        raise IntegrityError("the statement is of another account")
    keys, stores, connected = _authority(claimed, author, found)
    opened = open_envelope(envelope, KeyRing(), known=keys)
    if not set(keys) <= set(opened.signers):
        raise SignatureInvalid("the statement is not signed by its author")
    statement = decode(opened.payload, StoreHeads)
    if statement.author != author or fingerprint(keys[0]) != author:
        raise IntegrityError(f"the statement of {author} is signed by another device")
    heads = {head.store or "": _head(head) for head in statement.heads if head.store in stores}
    return Statement(author, statement.number or 0, heads, connected)


def _authority(
    claimed: StoreHeads, author: str, found: Standing
) -> tuple[Sequence[PublicKey], frozenset[str], datetime | None]:
    """The author's keys, all of which sign, the stores that it may write, and when it was connected."""
    listed = [key for key in administrators(found.profile) if fingerprint(key) == author]
    if listed and claimed.enveloped_connection_device is None:
        return listed, frozenset(STORES), None
    try:
        connection = _connection(claimed, author, found)
    except Stranger:
        if listed:  # the profile lists it whoever has connected it
            return listed, frozenset(STORES), None
        raise
    if listed:
        return listed, frozenset(STORES), connection.updated
    return signature_keys(connection.signature, "Signature"), _granted(connection), connection.updated


def _connection(claimed: StoreHeads, author: str, found: Standing) -> ConnectionDevice:
    """The connection that the author shows, verified."""
    if claimed.enveloped_connection_device is None:
        raise Stranger(f"{author} is no administrator of the account, and shows no connection to it")
    envelope = Envelope.from_array(claimed.enveloped_connection_device.array)
    try:
        signers = signers_for(found.profile, envelope, claimed.proof)
        connection = open_assertion(envelope, ConnectionDevice, signers).value
    except MeshError as error:
        raise Stranger(f"no administrator has connected {author}: {error.message}") from error
    if connection.profile_udf != found.udf:
        raise Stranger(f"{author} is connected to another account")
    return connection


def _granted(connection: ConnectionDevice) -> frozenset[str]:
    """The stores of a connection's roles; roles that are not known here grant nothing, nor does that of an
    administrator whose key the profile does not list (any more)."""
    stores: set[str] = set()
    for role in set(connection.roles) - ADMINISTRATORS:
        try:
            stores |= rights_of([role]).stores
        except MeshError:
            continue
    return frozenset(stores)


def _head(head: StoreHead) -> SequenceHead:
    if (
        not head.sequence_id
        or head.index is None
        or head.index < 0
        or len(head.tree_digest or b"") != _DIGEST
    ):
        raise FormatError(f"the head of {str(head.store)[:32]!r} is not whole")
    return SequenceHead(head.sequence_id, Head(head.index, head.tree_digest or b""))
