"""JSON, JSON-B, JSON-C and JSON-D (draft-hallambaker-jsonbcd): one streaming reader, two writers.

`Reader` reads all four, `decode` a whole document; `to_json` and `to_jsonb` write; `canonical` is the
RFC 8785 form that headers are authenticated in. Binary values are `bytes`, in JSON base64url text.
"""

from meshhw.jsonbcd.base64url import decode_base64url, encode_base64url
from meshhw.jsonbcd.canonical import canonical
from meshhw.jsonbcd.limits import Limits
from meshhw.jsonbcd.reader import Event, Kind, Reader, Value, decode
from meshhw.jsonbcd.writer import binary_head, to_json, to_jsonb

__all__ = [
    "Event",
    "Kind",
    "Limits",
    "Reader",
    "Value",
    "binary_head",
    "canonical",
    "decode",
    "decode_base64url",
    "encode_base64url",
    "to_json",
    "to_jsonb",
]
