"""KeyData and public keys: a key of the schema names its own fingerprint, which is checked on reading."""

from __future__ import annotations

from meshhw.algorithms import PublicKey
from meshhw.dare.keys import public_from_jose, public_to_jose
from meshhw.errors import FormatError, IntegrityError, InvalidName
from meshhw.schema.codec import from_tagged, to_tagged
from meshhw.schema.core import MeshObject
from meshhw.schema.key import Key, KeyData
from meshhw.udf import Era, fingerprint, same_name

DIRECT, TWEAKED, DUAL, SEALED = "direct", "tweaked", "dual", "sealed"
"""Values of KeyData's `Mode`: the token's own key, an ECDSA key under a multiplicative activation, a key
whose signature counts only together with that of a second one, and an EdDSA key that is unsealed for one use
and added to the activation, as was published."""


def key_data(public: PublicKey, *, mode: str | None = None, beside: PublicKey | None = None) -> KeyData:
    """The KeyData of a public key under its fingerprint, for mode `dual` with the second key."""
    return KeyData(
        udf=fingerprint(public),
        public_parameters=_parameters(public),
        mode=mode,
        beside=None if beside is None else _parameters(beside),
    )


def signature_keys(data: KeyData | None, what: str = "Signature") -> tuple[PublicKey, ...]:
    """The keys that must all have signed where the key of `data` has: two with mode `dual`, else one.

    Raises as `public_key`, and FormatError for a second key that is missing, is the first one again, or
    stands where none belongs.
    """
    first = public_key(data, what)
    if data is None or data.mode != DUAL:
        if data is not None and data.beside is not None:
            raise FormatError(f"the {what} has a second key and its mode is not {DUAL}")
        return (first,)
    if data.beside is None:
        raise FormatError(f"the {what} lacks the second key of mode {DUAL}")
    second = public_from_jose(to_tagged(data.beside))
    if second == first:
        raise FormatError(f"the two keys of the {what} are one")
    return (first, second)


def public_key(data: KeyData | None, what: str = "key") -> PublicKey:
    """The public key in a KeyData.

    Raises FormatError when it is absent, InvalidPublicKey, and IntegrityError when the `Udf` beside it is
    another key's.
    """
    if data is None or data.public_parameters is None:
        raise FormatError(f"the {what} is missing")
    public = public_from_jose(to_tagged(data.public_parameters))
    if data.udf is not None and not _names(data.udf, public):
        raise IntegrityError(f"the {what}'s Udf {data.udf[:64]!r} is not the fingerprint of its public key")
    return public


def _parameters(public: PublicKey) -> Key:
    return from_tagged(public_to_jose(public), Key)


def _names(udf: str, public: PublicKey) -> bool:
    try:
        return any(same_name(udf, fingerprint(public, era=era)) for era in Era)
    except InvalidName:
        return False


def keys_of(value: MeshObject) -> dict[str, PublicKey]:
    """Every key that an object holds itself, by its member's name; lists count from 1.

    Raises as `public_key`.
    """
    found: dict[str, PublicKey] = {}
    for attribute, name in zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True):
        member = getattr(value, attribute)
        if isinstance(member, KeyData):
            found[name] = public_key(member, name)
        elif isinstance(member, tuple):
            listed = [item for item in member if isinstance(item, KeyData)]
            found |= {f"{name}[{i}]": public_key(item, name) for i, item in enumerate(listed, start=1)}
    return found
