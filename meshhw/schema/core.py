"""The typed-object core: a Mesh object is a frozen msgspec struct under the member names of the wire.

Attributes are snake_case, members PascalCase (`AccountAddress`); a member that does not follow that
rule names itself with `msgspec.field(name=...)`. Nested structures carry no tag; a field annotated
`Tagged` does: `{"PublicKeyECDH": {...}}`, and may hold any registered subclass of its declared class.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Generic, TypeVar, dataclass_transform

import msgspec

from meshhw.errors import FormatError


class TaggedMark:
    """Annotation metadata: the value is wrapped in one member that names its class."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class MeshObject(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Any Mesh structure. Absent members are None, absent lists the empty tuple."""

    ALIASES: ClassVar[dict[str, str]] = {}
    """Members of older generations -> today's, taken on reading when today's is absent; never written.
    Subclasses add to their base's."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        CLASSES[cls.__name__] = cls

    def __repr__(self) -> str:
        """The class and which members are there; never a value, since many classes hold secrets."""
        names = zip(self.__struct_fields__, self.__struct_encode_fields__, strict=True)
        present = (name for attribute, name in names if getattr(self, attribute) not in (None, ()))
        return f"{type(self).__name__}({', '.join(present)})"


CLASSES: dict[str, type[MeshObject]] = {}
"""Every class of the schema by its tag."""

T = TypeVar("T", bound=MeshObject)
M = TypeVar("M", bound=MeshObject)

Tagged = Annotated[T, TaggedMark]
"""`Tagged[Key]`: the value carries its class tag on the wire."""


class Enveloped(Generic[M]):
    """A DARE envelope `[header, body, trailer]` whose body is an M. Kept as it came, so that its
    signatures stay verifiable; `meshhw.schema.assertion` opens it."""

    __slots__ = ("array",)

    def __init__(self, array: list[Any]) -> None:
        if not 2 <= len(array) <= 3 or not isinstance(array[0], dict):
            raise FormatError("an envelope is [header, body] or [header, body, trailer]")
        self.array = array

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Enveloped) and self.array == other.array

    def __hash__(self) -> int:
        return hash(repr(self.array))

    def __repr__(self) -> str:
        return f"Enveloped({self.array[0].get('EnvelopeId', '')!r})"
