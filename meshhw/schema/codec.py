"""Mesh objects to and from the values that JSON and JSON-B hold (schema digest section 1).

Reading is liberal: unknown members are ignored, aliases taken, base64url may be wrapped and padded,
times may carry fractions and offsets. Writing has one form: declared members in the order of
inheritance, absent ones left out, times in UTC to the second.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from meshhw.errors import FormatError
from meshhw.jsonbcd import decode as decode_value
from meshhw.jsonbcd import decode_base64url, to_json, to_jsonb
from meshhw.schema.core import CLASSES, Enveloped, MeshObject

T = TypeVar("T", bound=MeshObject)
Reader = Callable[[Any], Any]
Writer = Callable[[Any], Any]


class _Member(NamedTuple):
    attribute: str
    name: str
    read: Reader
    write: Writer


def decode(data: bytes, expected: type[T]) -> T:
    """The object in tagged JSON or JSON-B octets, which must be an `expected` or a subclass of it.

    Raises FormatError for other classes and for values of the wrong shape.
    """
    return from_tagged(decode_value(data, lenient=True), expected)


def encode(value: MeshObject) -> bytes:
    """The tagged JSON octets of an object."""
    return to_json(to_tagged(value))


def encode_binary(value: MeshObject) -> bytes:
    """The tagged JSON-B octets of an object: the form of assertions that are issued to devices."""
    return to_jsonb(to_tagged(value))


def from_tagged(value: Any, expected: type[T]) -> T:
    """The object in `{"ClassName": {...}}`. Raises FormatError when the tag is not an `expected`."""
    if not isinstance(value, dict) or len(value) != 1:
        raise FormatError(f"a {expected.__name__} must be one object under its class tag")
    tag, members = next(iter(value.items()))
    found = CLASSES.get(tag)
    if found is None or not issubclass(found, expected):
        raise FormatError(f"the object is a {tag[:64]!r}, not a {expected.__name__}")
    return from_members(members, found)


def to_tagged(value: MeshObject) -> dict[str, Any]:
    """`{"ClassName": {...}}` of an object."""
    return {type(value).__name__: to_members(value)}


def from_members(value: Any, expected: type[T]) -> T:
    """The object whose members are `value`, without a tag. Raises FormatError naming the member."""
    if not isinstance(value, dict):
        raise FormatError(f"the members of a {expected.__name__} are not an object")
    known: dict[str, Any] = {}
    older = {new: old for old, new in _aliases(expected).items() if old in value}
    for member in _members(expected):
        found = value.get(member.name, value.get(older.get(member.name, member.name)))
        if found is not None:
            known[member.attribute] = _read(expected, member, found)
    try:
        return expected(**known)
    except TypeError as error:  # a class of this project's own that does without no member
        raise FormatError(f"the {expected.__name__} is not whole: {error}") from error


def to_members(value: MeshObject) -> dict[str, Any]:
    """The members of an object by their names on the wire."""
    found = ((member, getattr(value, member.attribute)) for member in _members(type(value)))
    return {member.name: member.write(item) for member, item in found if item is not None and item != ()}


def _read(owner: type[MeshObject], member: _Member, value: Any) -> Any:
    try:
        return member.read(value)
    except FormatError as error:
        raise FormatError(f"{owner.__name__}.{member.name}: {error.message}") from error


@cache
def _aliases(cls: type[MeshObject]) -> dict[str, str]:
    chain = [base.__dict__.get("ALIASES", {}) for base in reversed(cls.__mro__)]
    return {old: new for aliases in chain for old, new in aliases.items()}


@cache
def _members(cls: type[MeshObject]) -> tuple[_Member, ...]:
    hints = get_type_hints(cls, localns=dict(CLASSES), include_extras=True)
    names = zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True)
    return tuple(_Member(attribute, name, *_codec(hints[attribute])) for attribute, name in names)


def _codec(hint: Any) -> tuple[Reader, Writer]:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _codec(next(choice for choice in get_args(hint) if choice is not type(None)))
    if origin is Annotated:
        declared = get_args(hint)[0]
        return (lambda value: from_tagged(value, declared)), to_tagged
    if origin is tuple:
        return _list_codec(*_codec(get_args(hint)[0]))
    if origin is Enveloped or hint is Enveloped:
        return _enveloped, lambda value: value.array
    if hint in _SCALARS:
        return _SCALARS[hint]
    return (lambda value: from_members(value, hint)), to_members


def _list_codec(read: Reader, write: Writer) -> tuple[Reader, Writer]:
    def read_list(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise FormatError("not a list")
        return tuple(read(item) for item in value)

    return read_list, lambda value: [write(item) for item in value]


def _enveloped(value: Any) -> Enveloped[MeshObject]:
    if isinstance(value, dict) and len(value) == 1:  # the tagged form that documentation prints
        value = value.get("DareEnvelope")
    if not isinstance(value, list):
        raise FormatError("not an envelope")
    return Enveloped(value)


def binary(value: Any) -> bytes:
    """Octets from JSON-B binary or a base64url string, wrapped or padded as older writers did."""
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise FormatError("not base64url")
    return decode_base64url(value, lenient=True)


def _time(value: Any) -> datetime:
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise FormatError("not an RFC 3339 time") from error
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)


def _write_time(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _exactly(kind: type, name: str) -> tuple[Reader, Writer]:
    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise FormatError(f"not {name}")
        return value

    return read, lambda value: value


def _float(value: Any) -> float:
    if type(value) not in (int, float):
        raise FormatError("not a number")
    return float(value)


_SCALARS: dict[Any, tuple[Reader, Writer]] = {
    str: _exactly(str, "a string"),
    int: _exactly(int, "an integer"),
    bool: _exactly(bool, "true or false"),
    float: (_float, lambda value: value),
    bytes: (binary, lambda value: value),
    datetime: (_time, _write_time),
}
