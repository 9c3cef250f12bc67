"""Keys in the Mesh's own JSON: `{"PublicKeyECDH": {"crv": ..., "Public": ...}}` and its siblings.

Octets are the written form of meshhw.algorithms. On reading, X25519 may carry a 33rd octet and X448 may lack
its 57th (a sign that agreement does not need).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import rsa

from meshhw.algorithms import Algorithm, Family, PrivateKey, PublicKey, SecretForm
from meshhw.errors import FormatError, InvalidPublicKey
from meshhw.jsonbcd import Value, decode_base64url
from meshhw.pubkeys import from_cryptography, to_cryptography
from meshhw.udf import Seed

_CURVES = {a.value: a for a in Algorithm if a.family is not Family.RSA}
_SCALAR_SUFFIX = "z"
_SEED_LENGTHS = {
    Algorithm.ED25519: (32,),
    Algorithm.ED448: (57, 56),
    Algorithm.X25519: (32,),
    Algorithm.X448: (56,),
    Algorithm.P256: (32,),
    Algorithm.P384: (48,),
}
_SCALAR_LENGTHS = {Algorithm.ED448: (57, 56)}


@dataclass(frozen=True, slots=True)
class SeedKey:
    """A secret seed (`PrivateKeyUDF`) and the algorithms that it asks for, where it names them."""

    seed: Seed
    key_type: str = ""
    sign: Algorithm | None = None
    encrypt: Algorithm | None = None
    authenticate: Algorithm | None = None


def public_to_jose(public: PublicKey) -> dict[str, Value]:
    """The tagged public key."""
    if public.algorithm.family is Family.RSA:
        return {"PublicKeyRSA": _rsa_members(public)}
    return {"PublicKeyECDH": {"crv": public.algorithm.value, "Public": public.octets}}


def public_from_jose(value: Value) -> PublicKey:
    """The public key of a tagged object. Raises FormatError, InvalidPublicKey."""
    tag, members = _tagged(value)
    if tag == "PublicKeyRSA":
        return _rsa_public(members)
    if tag != "PublicKeyECDH":
        raise FormatError(f"a {tag[:40]} is not a public key")
    algorithm, is_scalar = _curve(members)
    if is_scalar:
        raise FormatError("a public key has no scalar form")
    return PublicKey(algorithm, _written_form(algorithm, octets_of(members, "Public")))


def private_to_jose(private: PrivateKey) -> dict[str, Value]:
    """The tagged private key of a curve. It is as secret as the key."""
    suffix = _SCALAR_SUFFIX if private.form is SecretForm.SCALAR else ""
    return {"PrivateKeyECDH": {"crv": private.algorithm.value + suffix, "Private": private.octets}}


def private_from_jose(value: Value) -> PrivateKey | SeedKey:
    """The private key, or the seed, of a tagged object. Raises FormatError, InvalidName."""
    tag, members = _tagged(value)
    if tag == "PrivateKeyUDF":
        return _seed(members)
    if tag != "PrivateKeyECDH":
        raise FormatError(f"a {tag[:40]} is not a private key that can be used here")
    algorithm, is_scalar = _curve(members)
    octets = octets_of(members, "Private")
    lengths = _SEED_LENGTHS[algorithm]
    if is_scalar:
        lengths = _SCALAR_LENGTHS.get(algorithm, lengths)
    if len(octets) not in lengths:
        raise FormatError(f"a private key of {algorithm} does not have {len(octets)} octets")
    if not is_scalar:
        return PrivateKey(algorithm, octets)
    return PrivateKey(algorithm, octets.ljust(lengths[0], b"\0"), SecretForm.SCALAR)


def octets_of(members: Mapping[str, Value], name: str) -> bytes:
    """A binary member, in JSON base64url that may be wrapped or padded. Raises FormatError."""
    value = members.get(name)
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise FormatError(f"{name} is missing, or is not binary")
    return decode_base64url(value, lenient=True)


def _tagged(value: Value) -> tuple[str, Mapping[str, Value]]:
    if isinstance(value, Mapping) and len(value) == 1:
        ((tag, members),) = value.items()
        if isinstance(members, Mapping):
            return tag, members
    raise FormatError('a key is one object under its tag, such as {"PublicKeyECDH": {...}}')


def _curve(members: Mapping[str, Value]) -> tuple[Algorithm, bool]:
    crv = members.get("crv")
    if isinstance(crv, str):
        is_scalar = crv.endswith(_SCALAR_SUFFIX)
        algorithm = _CURVES.get(crv.removesuffix(_SCALAR_SUFFIX) if is_scalar else crv)
        if algorithm is not None:
            return algorithm, is_scalar
    raise FormatError("crv names no curve that is known here", hint="one of " + ", ".join(_CURVES))


def _written_form(algorithm: Algorithm, octets: bytes) -> bytes:
    if algorithm is Algorithm.X448 and len(octets) == 56:
        return octets + b"\0"
    if algorithm is Algorithm.X25519 and len(octets) == 33:
        return octets[:32]
    return octets


def _seed(members: Mapping[str, Value]) -> SeedKey:
    text, key_type = members.get("PrivateValue"), members.get("KeyType", "")
    if not isinstance(text, str) or not isinstance(key_type, str):
        raise FormatError("PrivateValue is missing")
    sign, encrypt, authenticate = (
        Algorithm.parse(str(members[name])) if members.get(name) else None
        for name in ("AlgorithmSign", "AlgorithmEncrypt", "AlgorithmAuthenticate")
    )
    return SeedKey(Seed.parse(text), key_type, sign, encrypt, authenticate)


def _rsa_members(public: PublicKey) -> dict[str, Value]:
    key = to_cryptography(public)
    if not isinstance(key, rsa.RSAPublicKey):
        raise InvalidPublicKey("not an RSA public key")
    numbers = key.public_numbers()
    return {
        name: n.to_bytes(-(-n.bit_length() // 8), "big") for name, n in (("n", numbers.n), ("e", numbers.e))
    }


def _rsa_public(members: Mapping[str, Value]) -> PublicKey:
    n, e = (int.from_bytes(octets_of(members, name), "big") for name in ("n", "e"))
    try:
        return from_cryptography(rsa.RSAPublicNumbers(e, n).public_key())
    except ValueError as error:
        raise InvalidPublicKey("not an RSA public key") from error
