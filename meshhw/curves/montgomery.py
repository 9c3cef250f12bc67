"""Curve25519 and Curve448: full points from u-coordinates, and their addition (RFC 7748, section 4).

A token answers with u alone. The Mesh's extended form adds one octet with the parity of v; where it is
missing, v is taken even, on both sides of every exchange.
"""

from __future__ import annotations

from meshhw.curves.edwards import L448, L25519, P448, P25519
from meshhw.curves.point import Curve, Point, square_root, with_parity
from meshhw.errors import InvalidPublicKey

_ODD, _EVEN = 0x80, 0x00


class MontgomeryCurve(Curve):
    """v² = u³ + a u² + u."""

    def __init__(
        self, name: str, *, p: int, order: int, cofactor: int, size: int, base: tuple[int, int], a: int
    ) -> None:
        self.a = a
        super().__init__(name, p=p, order=order, cofactor=cofactor, size=size, base=base)

    def _identity(self) -> Point:
        return Point(self, 0, 0, at_infinity=True)

    def _v_squared(self, u: int) -> int:
        return (u * u % self.p * u + self.a * u * u + u) % self.p

    def contains(self, x: int, y: int) -> bool:
        """True if (u, v) satisfies the curve equation."""
        return y * y % self.p == self._v_squared(x)

    def lift(self, u: int, parity: int = 0) -> Point:
        """The point with this u whose v has the given parity. Raises InvalidPublicKey when u belongs to the
        twist.
        """
        v = square_root(self._v_squared(u), self.p) if 0 <= u < self.p else None
        if v is None:
            raise InvalidPublicKey(f"the u-coordinate is not one of {self.name}", hint=_TWIST_HINT)
        return Point(self, u, with_parity(v, parity, self.p))

    def add(self, a: Point, b: Point) -> Point:
        """a + b by chord and tangent, with the neutral and opposite cases."""
        if a.at_infinity:
            return b
        if b.at_infinity:
            return a
        p = self.p
        if a.x == b.x:
            if (a.y + b.y) % p == 0:
                return self.identity
            slope = (3 * a.x * a.x + 2 * self.a * a.x + 1) * self._inverse(2 * a.y) % p
        else:
            slope = (b.y - a.y) * self._inverse(b.x - a.x) % p
        u = (slope * slope - self.a - a.x - b.x) % p
        return Point(self, u, (slope * (a.x - u) - a.y) % p)

    def negate(self, a: Point) -> Point:
        """-a."""
        return a if a.at_infinity else Point(self, a.x, -a.y % self.p)

    def encode(self, a: Point) -> bytes:
        """The extended form: u little-endian, then 0x80 if v is odd, else 0x00 (33 or 57 octets).

        Raises InvalidPublicKey for the neutral element, which has no coordinates.
        """
        return self.x_octets(a) + bytes([_ODD if a.y & 1 else _EVEN])

    def decode(self, octets: bytes) -> Point:
        """The point of a plain (u, v even) or extended encoding. Raises InvalidPublicKey on anything not
        canonical.
        """
        if len(octets) == self.size:
            return self.lift(int.from_bytes(octets, "little"))
        if len(octets) != self.size + 1 or octets[-1] not in {_ODD, _EVEN}:
            raise InvalidPublicKey(
                f"a point of {self.name} has {self.size} octets, or one more with 00 or 80"
            )
        point = self.lift(int.from_bytes(octets[:-1], "little"), octets[-1] >> 7)
        if point.encode() != octets:
            raise InvalidPublicKey(f"the encoding is not canonical on {self.name}")
        return point

    def x_octets(self, a: Point) -> bytes:
        """u, little-endian. Raises InvalidPublicKey for the neutral element."""
        if a.at_infinity:
            raise InvalidPublicKey("the neutral element has no u-coordinate")
        return a.x.to_bytes(self.size, "little")


_TWIST_HINT = "the sender's key is damaged, or was made to attack this one; do not use it"

CURVE25519 = MontgomeryCurve(
    "X25519",
    p=P25519,
    order=L25519,
    cofactor=8,
    size=32,
    base=(9, 14781619447589544791020593568409986887264606134616475288964881837755586237401),
    a=486662,
)

CURVE448 = MontgomeryCurve(
    "X448",
    p=P448,
    order=L448,
    cofactor=4,
    size=56,
    base=(
        5,
        355293926785568175264127502063783334808976399387714271831880898435169088786967410002932673765864550910142774147268105838985595290606362,
    ),
    a=156326,
)
