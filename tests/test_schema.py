"""Every class and member of the published schema has its place, and every published object survives."""

from __future__ import annotations

import base64
import json
import types
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshhw import schema
from meshhw.errors import FormatError
from meshhw.jsonbcd import decode as decode_value
from meshhw.schema.contact import ContactPerson, PersonName
from meshhw.schema.entry import CatalogedContact, CatalogedCredential
from meshhw.schema.key import Key, KeyData, PrivateKeyRSA, PublicKeyECDH
from meshhw.schema.profile import Profile, ProfileAccount, ProfileDevice, ProfileUser

VECTORS = Path(__file__).parent / "vectors"
EXTENSIONS = {
    "ActivationCommon": {"PreviousEncryptions"},
    "ActivationEntry": {"Epoch"},
    "CatalogedDevice": {"EnvelopedStoreEpochs", "EnvelopedThresholdDescriptors", "Proof"},
    "KeyData": {"Beside", "Mode", "Attestation", "AttestationFormat"},
    "Profile": {"Suite", "Version"},
    "ProfileAccount": {
        "AdministratorSignatures",
        "ConnectionPolicy",
        "FurtherRoots",
        "PreviousEncryptions",
        "RemovedAdministrators",
    },
    "ProfileUser": {"Successions"},
    "RequestConnection": {"Expires"},
    "MeshResponse": {"Status", "StatusDescription"},
}


SCALARS = {
    str: "String",
    bytes: "Binary",
    datetime: "DateTime",
    int: "Integer",
    bool: "Boolean",
    float: "Float",
}
OLDER = {f"Account{use}": f"Common{use}" for use in ("Encryption", "Authentication", "Signature")}
"""One of the published profiles still has the names of schema-08."""


def load(name: str) -> Any:
    return json.loads((VECTORS / name).read_text())


def published_classes() -> dict[str, Any]:
    sections = load("schema_classes.json")
    return {
        name: described
        for section in ("schema", "protocol", "host")
        for name, described in sections[section].items()
        if not name.startswith("_")
    }


def bodies() -> list[tuple[str, bytes]]:
    clear = [e for e in load("schema_signed_envelopes.json")["envelopes"] if "enc" not in e["header"]]
    found = [(e["message_type"], base64.urlsafe_b64decode(e["body"] + "==")) for e in clear]
    return found + [
        (next(iter(json.loads(e["plaintext"], strict=False))), e["plaintext"].encode())
        for e in load("schema_dare_decrypt_alice.json")["envelopes"]
    ]


@pytest.mark.parametrize("name", sorted(published_classes()))
def test_every_published_class_has_its_members_under_their_names(name: str) -> None:
    described = published_classes()[name]
    found = schema.CLASSES[name]
    own = set(found.__struct_encode_fields__)
    inherited: set[str] = set()
    for base in found.__mro__[1:]:
        inherited |= EXTENSIONS.get(base.__name__, set())
    parent = described.get("inherits")
    if parent:
        assert issubclass(found, schema.CLASSES[parent])
        inherited |= set(schema.CLASSES[parent].__struct_encode_fields__)
    members = {field["name"] for field in described.get("fields", [])}
    assert own == members | inherited | EXTENSIONS.get(name, set())


def shape(hint: Any) -> tuple[str, bool, bool]:
    """A member's type as the published list names it, whether it is a list, and whether it is tagged."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return shape(next(choice for choice in get_args(hint) if choice is not type(None)))
    if origin is tuple:
        name, _, tagged = shape(get_args(hint)[0])
        return name, True, tagged
    if origin is Annotated:
        return get_args(hint)[0].__name__, False, True
    if origin is schema.Enveloped or hint is schema.Enveloped:
        return "Enveloped", False, False
    return SCALARS.get(hint, hint.__name__), False, False


@pytest.mark.parametrize("name", sorted(published_classes()))
def test_every_published_member_has_its_type(name: str) -> None:
    hints = get_type_hints(schema.CLASSES[name], localns=dict(schema.CLASSES), include_extras=True)
    kind = schema.CLASSES[name]
    names = dict(zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True))
    for field in published_classes()[name].get("fields", []):
        found = shape(hints[names[field["name"]]])
        published = field["type"].partition("<")[0]
        published = "Enveloped" if published == "DareEnvelope" else published
        assert found == (published, field.get("multiple", False), field.get("tagged", False)), field["name"]


ALIASES = [
    (kind, old, new)
    for kind in schema.CLASSES.values()
    for old, new in kind.__dict__.get("ALIASES", {}).items()
]


@pytest.mark.parametrize(("kind", "old", "new"), ALIASES, ids=lambda value: getattr(value, "__name__", value))
def test_every_listed_alias_is_read_and_never_written(
    kind: type[schema.MeshObject], old: str, new: str
) -> None:
    attribute = dict(zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True))[new]
    hint = get_type_hints(kind, localns=dict(schema.CLASSES), include_extras=True)[attribute]
    name, multiple, _ = shape(hint)
    value: Any = {"KeyData": {"Udf": "MAAA"}, "String": "text"}[name]
    read = schema.from_members({old: [value] if multiple else value}, kind)
    assert schema.to_members(read) == {new: [value] if multiple else value}


@pytest.mark.parametrize("index", range(len(bodies())))
def test_published_objects_decode_and_keep_their_meaning(index: int) -> None:
    tag, body = bodies()[index]
    value = schema.decode(body, schema.MeshObject)
    assert type(value).__name__ == tag
    once = schema.encode(value)
    assert schema.decode(once, schema.MeshObject) == value
    assert schema.decode(schema.encode_binary(value), schema.MeshObject) == value
    assert meaning(decode_value(once)) == meaning(decode_value(body, lenient=True))


def meaning(value: Any) -> Any:
    """A value with binaries as unwrapped text and without empty lists: what two spellings share."""
    if isinstance(value, dict):
        return {
            OLDER.get(name, name): meaning(item) for name, item in value.items() if item not in ([], None)
        }
    if isinstance(value, list):
        return [meaning(item) for item in value]
    if isinstance(value, bytes):
        return base64.urlsafe_b64encode(value).decode().rstrip("=")
    return "".join(value.split()) if isinstance(value, str) else value


def test_a_class_tag_that_lies_is_refused() -> None:
    body = schema.encode(ProfileUser(description="not a device"))
    with pytest.raises(FormatError, match="'ProfileUser', not a ProfileDevice"):
        schema.decode(body, ProfileDevice)
    assert isinstance(schema.decode(body, ProfileAccount), ProfileUser)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b'{"ProfileDevice":[]}',
        b'{"A":{},"B":{}}',
        b'{"NoSuchClass":{}}',
        b'"ProfileDevice"',
        b"",
        b"{",
    ],
)
def test_what_is_not_one_tagged_object_is_refused(body: bytes) -> None:
    with pytest.raises(FormatError):
        schema.decode(body, schema.MeshObject)


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"Names": "one"}, "ProfileDevice.Names"),
        ({"Updated": "yesterday"}, "ProfileDevice.Updated"),
        ({"Version": "1"}, "ProfileDevice.Version"),
        ({"Encryption": "key"}, "ProfileDevice.Encryption"),
        ({"Encryption": {"PublicParameters": {"ProfileUser": {}}}}, "KeyData.PublicParameters"),
        ({"Encryption": {"X509Certificate": "*"}}, "KeyData.X509Certificate"),
    ],
)
def test_a_member_of_the_wrong_shape_is_named(members: dict[str, Any], told: str) -> None:
    with pytest.raises(FormatError, match=told):
        schema.from_members(members, ProfileDevice)


def test_unknown_members_are_passed_over_and_aliases_taken() -> None:
    key = {"UDF": "MAAA"}
    older = {"KeyOfflineSignature": key, "KeyEncryption": key, "KeyAuthentication": key, "Fancy": {"x": 1}}
    read = schema.from_members(older, ProfileDevice)
    assert read == ProfileDevice(
        profile_signature=KeyData(udf="MAAA"),
        encryption=KeyData(udf="MAAA"),
        authentication=KeyData(udf="MAAA"),
    )
    assert set(schema.to_members(read)) == {"ProfileSignature", "Encryption", "Authentication"}


def test_todays_name_wins_over_an_alias() -> None:
    both = {"KeyOfflineSignature": {"Udf": "OLD"}, "ProfileSignature": {"Udf": "NEW"}}
    read = schema.from_members(both, Profile)
    assert read.profile_signature == KeyData(udf="NEW")


def test_times_are_written_in_utc_to_the_second() -> None:
    read = schema.from_members({"Updated": "2022-05-03T18:47:57.5+02:00"}, ProfileDevice)
    assert schema.to_members(read) == {"Updated": "2022-05-03T16:47:57Z"}


def test_repr_shows_no_value_of_a_secret() -> None:
    secret = CatalogedCredential(service="s", password="correct horse")
    nested = KeyData(private_parameters=PrivateKeyRSA(d=b"\x01secret"))
    assert "horse" not in repr(secret)
    assert "secret" not in repr(nested) + repr(nested.private_parameters)


TEXT = st.text(max_size=20)


def built(kind: type[schema.MeshObject], **members: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(members).map(lambda found: kind(**found))


NAMES = built(PersonName, full_name=TEXT, middle=st.lists(TEXT, max_size=3).map(tuple))
PERSON = built(ContactPerson, common_names=st.lists(NAMES, max_size=3).map(tuple))
KEYS = built(KeyData, public_parameters=built(PublicKeyECDH, crv=TEXT, public=st.binary(max_size=60)))
OBJECTS = st.one_of(
    built(CatalogedContact, key=TEXT, is_self=st.booleans(), contact=PERSON),
    built(ProfileDevice, description=TEXT, encryption=KEYS),
)


@settings(max_examples=60, deadline=None)
@given(OBJECTS)
def test_any_object_survives_json_and_json_b(value: schema.MeshObject) -> None:
    assert schema.decode(schema.encode(value), schema.MeshObject) == value
    assert schema.decode(schema.encode_binary(value), schema.MeshObject) == value


def test_a_tagged_member_keeps_its_class() -> None:
    key: Key = PublicKeyECDH(crv="Ed448", public=b"\x01")
    wire = schema.to_members(KeyData(public_parameters=key))
    assert list(wire["PublicParameters"]) == ["PublicKeyECDH"]
