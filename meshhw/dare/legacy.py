"""Headers of older drafts, brought to the names of 2022 before they are looked at."""

from __future__ import annotations

from collections.abc import Mapping

from meshhw.dare.header import Members
from meshhw.jsonbcd import encode_base64url, to_json

_RENAMED = {
    "Annotations": "annotations",
    "ContainerInfo": "SequenceInfo",
    "ContentMeta": "ContentMetaData",
    "ContentInfoData": "ContentMetaData",
}
_FLAT = (
    "DataEncoding",
    "ContainerType",
    "Index",
    "IsMeta",
    "TreePosition",
    "IndexPosition",
    "ExchangePosition",
)

_FLAT_CONTENT = ("UniqueID", "UniqueId", "Event", "First", "Previous", "KeyValues")


def today(members: Members) -> tuple[Members, bool]:
    """The header under today's names, and whether any was older."""
    renamed = {_RENAMED.get(name, name): value for name, value in members.items()}
    flat = {name: renamed.pop(name) for name in _FLAT if name in renamed}
    older = bool(flat) or renamed.keys() != members.keys()
    if flat and "SequenceInfo" not in renamed:
        renamed["SequenceInfo"] = flat
    flat_content = {name: renamed.pop(name) for name in _FLAT_CONTENT if name in renamed}
    if flat_content and "ContentMetaData" not in renamed:
        renamed["ContentMetaData"] = flat_content
    content = renamed.get("ContentMetaData")
    if isinstance(content, Mapping):
        renamed["ContentMetaData"] = encode_base64url(to_json(content))
        older = True
    return renamed, older
