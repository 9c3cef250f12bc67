"""Derivation seeds (type Z): from a few secret octets, every private key of a profile (mesh-udf, section
4.4).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from enum import Enum, IntEnum

from meshhw.algorithms import Algorithm, PrivateKey
from meshhw.errors import InvalidName, NotSupported
from meshhw.udf.form import UDF, Kind

SEED_OCTETS = 32
_MAX_OCTETS = 128


class Specifier(IntEnum):
    """What a seed is for: the two octets before it."""

    ANY = 0
    X25519 = 1
    X448 = 2
    ED25519 = 3
    ED448 = 4
    P256 = 5
    P384 = 6
    P521 = 7
    RSA2048 = 8
    RSA3072 = 9
    RSA4096 = 10
    PROFILE_DEVICE = 256
    ACTIVATION_DEVICE = 257
    PROFILE_ACCOUNT = 258
    ACTIVATION_ACCOUNT = 259
    PROFILE_SERVICE = 260
    ACTIVATION_SERVICE = 261


class Formula(Enum):
    """How HKDF-SHA-512 is fed."""

    SALT_IS_TARGET = "A"
    """salt = the target's specifier, info = the parameter: the drafts' printed examples, read only."""
    INFO_IS_SPECIFIER = "B"
    """No salt, info = the seed's specifier, key name and parameter: every real profile."""


_TARGETS = {
    Algorithm.X25519: (Specifier.X25519, 32),
    Algorithm.X448: (Specifier.X448, 56),
    Algorithm.ED25519: (Specifier.ED25519, 32),
    Algorithm.ED448: (Specifier.ED448, 56),
    Algorithm.P256: (Specifier.P256, 40),
    Algorithm.P384: (Specifier.P384, 56),
}


@dataclass(frozen=True, slots=True)
class Seed:
    """A secret seed and the specifier of what it is for."""

    specifier: int
    octets: bytes = field(repr=False)

    @classmethod
    def generate(cls, specifier: Specifier) -> Seed:
        """A fresh random seed of 32 octets."""
        return cls(specifier, secrets.token_bytes(SEED_OCTETS))

    @classmethod
    def parse(cls, text: str) -> Seed:
        """The seed of a Z-UDF. Raises InvalidName."""
        udf = UDF.parse(text)
        if udf.kind is not Kind.SEED:
            raise InvalidName("this UDF is not a derivation seed (type Z)")
        return cls.from_data(udf.data)

    @classmethod
    def from_data(cls, data: bytes) -> Seed:
        """The seed of a Z-UDF's data: two octets of specifier, then the seed. Raises InvalidName."""
        if not 3 <= len(data) <= _MAX_OCTETS:
            raise InvalidName("a derivation seed has a specifier and at least one octet")
        return cls(int.from_bytes(data[:2], "big"), data[2:])

    @property
    def data(self) -> bytes:
        """Specifier and seed: the input keying material."""
        return self.specifier.to_bytes(2, "big") + self.octets

    @property
    def text(self) -> str:
        """The Z-UDF; as secret as every key that derives from it."""
        return UDF.make(Kind.SEED, self.data).text

    def derive(
        self,
        algorithm: Algorithm,
        key_name: str = "",
        parameter: str = "",
        *,
        formula: Formula = Formula.INFO_IS_SPECIFIER,
    ) -> PrivateKey:
        """The private key of that name, as the standard of its algorithm writes one.

        Ed448 keys have 56 octets here, one fewer than RFC 8032 takes. Raises NotSupported for RSA.
        """
        if algorithm not in _TARGETS:
            raise NotSupported(
                f"no {algorithm} key is derived from a seed", hint="one of " + ", ".join(_TARGETS)
            )
        target, length = _TARGETS[algorithm]
        if formula is Formula.SALT_IS_TARGET:
            material = self.expand(parameter.encode(), length, salt=target.to_bytes(2, "big"))
        else:
            info = self.specifier.to_bytes(2, "big") + key_name.encode() + parameter.encode()
            material = self.expand(info, length)
        return PrivateKey(algorithm, _private_octets(algorithm, material, formula))

    def expand(self, info: bytes, length: int, *, salt: bytes | None = None) -> bytes:
        """HKDF-SHA-512 of the seed's data."""
        from cryptography.hazmat.primitives.hashes import SHA512
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        return HKDF(SHA512(), length, salt=salt, info=info).derive(self.data)


def _private_octets(algorithm: Algorithm, material: bytes, formula: Formula) -> bytes:
    if algorithm not in (Algorithm.P256, Algorithm.P384):
        return material
    from meshhw.curves.named import curve_named

    curve = curve_named(algorithm)
    # The printed examples reduce by the field's prime; only the group's order always gives a valid key.
    modulus = curve.p if formula is Formula.SALT_IS_TARGET else curve.order
    return (int.from_bytes(material, "big") % (modulus - 1) + 1).to_bytes(curve.size, "big")
