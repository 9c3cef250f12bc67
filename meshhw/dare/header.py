"""The members of an envelope's header and trailer, typed (DARE section 2.1).

The decoded JSON object stays the truth: it keeps members that are unknown here, and is what gets
authenticated. `Header` is a view of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from msgspec import field

from meshhw.errors import FormatError
from meshhw.jsonbcd import Value, canonical, decode, decode_base64url, encode_base64url
from meshhw.jsonbcd.canonical import is_plain, quickly

Members = dict[str, Value]
T = TypeVar("T", bound=msgspec.Struct)

MAX_HEADER = 1 << 20
MAX_RECIPIENTS = 64
MAX_SIGNERS = 16
MAX_NESTING = 16

UNAUTHENTICATED = frozenset(
    ("hmac", "signatures", "SignedData", "PayloadDigest", "ChainDigest", "TreeDigest", "Received")
)
_NONE_OF_THESE = (None,) * 5
_POINTERS = frozenset(("TreePosition", "IndexPosition"))


class Binary(bytes):
    """Octets that JSON writes as base64url."""


class Recipient(msgspec.Struct, frozen=True, omit_defaults=True):
    """One way to the seed. `epk` is absent for a symmetric key."""

    kid: str = ""
    epk: dict[str, Any] | None = None
    wmk: Binary = Binary()


class SignatureEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One signature. `key` is the signer's public key, which `kid` is the fingerprint of."""

    alg: str = ""
    kid: str = ""
    key: dict[str, Any] | None = None
    signature: Binary = Binary()
    witness: Binary | None = None


class KeyValue(msgspec.Struct, frozen=True, rename="pascal"):
    """A named attribute of a catalog entry."""

    key: str
    value: str


class ContentMeta(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What the body is: names, type and dates."""

    unique_id: str | None = field(default=None, name="UniqueId")
    labels: tuple[str, ...] = field(default=(), name="Labels")
    key_values: tuple[KeyValue, ...] = field(default=(), name="KeyValues")
    message_type: str | None = field(default=None, name="MessageType")
    content_type: str | None = field(default=None, name="cty")
    paths: tuple[str, ...] = field(default=(), name="Paths")
    filename: str | None = field(default=None, name="Filename")
    event: str | None = field(default=None, name="Event")
    created: datetime | None = field(default=None, name="Created")
    modified: datetime | None = field(default=None, name="Modified")
    expire: datetime | None = field(default=None, name="Expire")
    first: int | None = field(default=None, name="First")
    previous: int | None = field(default=None, name="Previous")
    file_entry: dict[str, Any] | None = field(default=None, name="FileEntry")

    def octets(self) -> bytes:
        """The canonical JSON of it, as it is stored."""
        rare = (self.created, self.modified, self.expire, self.first, self.previous)
        if rare == _NONE_OF_THESE and is_plain(self.file_entry):
            octets = quickly(self)
            if octets is not None:
                return octets
        return canonical(to_members(self))


class SequenceInfo(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A frame's place in its sequence."""

    data_encoding: str | None = field(default=None, name="DataEncoding")
    container_type: str | None = field(default=None, name="ContainerType")
    index: int | None = field(default=None, name="Index")
    is_meta: bool = field(default=False, name="IsMeta")
    tree_position: int | None = field(default=None, name="TreePosition")
    index_position: int | None = field(default=None, name="IndexPosition")
    exchange_position: int | None = field(default=None, name="ExchangePosition")


class Trailer(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What is known only after the body."""

    signatures: tuple[SignatureEntry, ...] = ()
    payload_digest: Binary | None = field(default=None, name="PayloadDigest")
    chain_digest: Binary | None = field(default=None, name="ChainDigest")
    tree_digest: Binary | None = field(default=None, name="TreeDigest")
    tree_node: Binary | None = field(default=None, name="TreeNode")


class Header(Trailer, frozen=True, omit_defaults=True, kw_only=True):
    """What stands before the body. A trailer's members may stand here, too, but not in both places."""

    envelope_id: str | None = field(default=None, name="EnvelopeId")
    enc: str | None = None
    dig: str | None = None
    kid: str | None = None
    salt: Binary | None = field(default=None, name="Salt")
    cloaked: Binary | None = None
    annotations: tuple[Binary, ...] = ()
    recipients: tuple[Recipient, ...] = ()
    signers: tuple[str, ...] = ()
    hmac: Binary | None = None
    detached: bool = field(default=False, name="Detached")
    tree: str | None = None
    sequence_id: Binary | None = field(default=None, name="SequenceId")
    policy: dict[str, Any] | None = None
    content_meta: Binary | None = field(default=None, name="ContentMetaData")
    sequence_info: SequenceInfo | None = field(default=None, name="SequenceInfo")
    received: datetime | None = field(default=None, name="Received")


def view(members: Mapping[str, Value], kind: type[T]) -> T:
    """The typed view of an object. Raises FormatError naming the member that does not fit."""
    try:
        return msgspec.convert(members, kind, dec_hook=_from_wire)
    except msgspec.ValidationError as error:
        raise FormatError(f"the header does not fit: {error}") from error


def parse_header(members: Mapping[str, Value]) -> Header:
    """The typed header within its limits. Raises FormatError."""
    header = view(members, Header)
    if len(header.recipients) > MAX_RECIPIENTS:
        raise FormatError(f"an envelope has at most {MAX_RECIPIENTS} recipients")
    if len(header.signers) > MAX_SIGNERS or len(header.signatures) > MAX_SIGNERS:
        raise FormatError(f"an envelope has at most {MAX_SIGNERS} signers")
    return header


def parse_content_meta(octets: bytes | None) -> ContentMeta:
    """The content metadata of `ContentMetaData` or of an opened `cloaked`. Raises FormatError."""
    if not octets:
        return ContentMeta()
    if b'"UniqueID"' in octets:
        return _lenient_content_meta(octets)
    try:  # what we write is plain JSON, and every entry of a catalog passes here
        return msgspec.json.decode(octets, type=ContentMeta)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _lenient_content_meta(octets)


def _lenient_content_meta(octets: bytes) -> ContentMeta:
    value = decode(octets, lenient=True)
    if not isinstance(value, Mapping):
        raise FormatError("the content metadata is not an object")
    older = {("UniqueId" if name == "UniqueID" else name): member for name, member in value.items()}
    return view(older, ContentMeta)


def to_members(value: msgspec.Struct) -> Members:
    """The object of a typed view; absent members are left out."""
    members: Members = msgspec.to_builtins(value, enc_hook=_to_wire, builtin_types=(bytes, datetime))
    return {name: spelled(member) for name, member in members.items()}


def authenticated_octets(members: Mapping[str, Value]) -> bytes:
    """canonical(header): RFC 8785 JSON of what the header's MAC and signatures cover. Raises FormatError."""
    covered = {name: value for name, value in members.items() if name not in UNAUTHENTICATED}
    info = covered.get("SequenceInfo")
    if isinstance(info, Mapping) and not _POINTERS.isdisjoint(info):
        covered["SequenceInfo"] = {name: value for name, value in info.items() if name not in _POINTERS}
    return canonical(covered)


def timestamp(time: datetime) -> str:
    """RFC 3339 in UTC, to the second."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _from_wire(kind: type, value: object) -> object:
    if kind is Binary and isinstance(value, str):
        return Binary(decode_base64url(value, lenient=True))
    if kind is Binary and isinstance(value, bytes):
        return Binary(value)
    raise FormatError(f"a {type(value).__name__} stands where {kind.__name__} must")


def _to_wire(value: object) -> object:
    if isinstance(value, Binary):
        return bytes(value)
    raise FormatError(f"a {type(value).__name__} has no form in a header")


def spelled(value: Any) -> Value:
    """Times and binaries as the text that JSON gives them, so that one value has one spelling."""
    if isinstance(value, datetime):
        return timestamp(value)
    if isinstance(value, bytes):
        return encode_base64url(value)
    if isinstance(value, dict):
        return {name: spelled(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [spelled(item) for item in value]
    plain: Value = value
    return plain
