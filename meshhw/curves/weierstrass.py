"""P-256 and P-384: SEC 1 encodings and addition of points (FIPS 186-5; SEC 1, section 2.3)."""

from __future__ import annotations

from meshhw.curves.point import Curve, Point, square_root, with_parity
from meshhw.errors import InvalidPublicKey

_UNCOMPRESSED = 4


class WeierstrassCurve(Curve):
    """y² = x³ - 3x + b, of prime order."""

    def __init__(self, name: str, *, p: int, order: int, size: int, base: tuple[int, int], b: int) -> None:
        self.b = b
        super().__init__(name, p=p, order=order, cofactor=1, size=size, base=base)

    def _identity(self) -> Point:
        return Point(self, 0, 0, at_infinity=True)

    def _y_squared(self, x: int) -> int:
        return (x * x * x - 3 * x + self.b) % self.p

    def contains(self, x: int, y: int) -> bool:
        """True if (x, y) satisfies the curve equation."""
        return y * y % self.p == self._y_squared(x)

    def lift(self, x: int, parity: int = 0) -> Point:
        """The point with this x whose y has the given parity. Raises InvalidPublicKey when there is none."""
        y = square_root(self._y_squared(x), self.p) if 0 <= x < self.p else None
        if y is None:
            raise InvalidPublicKey(f"the x-coordinate is not one of {self.name}")
        return Point(self, x, with_parity(y, parity, self.p))

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
            slope = 3 * (a.x * a.x - 1) * self._inverse(2 * a.y) % p
        else:
            slope = (b.y - a.y) * self._inverse(b.x - a.x) % p
        x = (slope * slope - a.x - b.x) % p
        return Point(self, x, (slope * (a.x - x) - a.y) % p)

    def negate(self, a: Point) -> Point:
        """-a."""
        return a if a.at_infinity else Point(self, a.x, -a.y % self.p)

    def encode(self, a: Point) -> bytes:
        """SEC 1 uncompressed: 04, x, y. Raises InvalidPublicKey for the neutral element."""
        return bytes([_UNCOMPRESSED]) + self.x_octets(a) + a.y.to_bytes(self.size, "big")

    def encode_compressed(self, a: Point) -> bytes:
        """SEC 1 compressed: 02 or 03, x. Raises InvalidPublicKey for the neutral element."""
        return bytes([2 + (a.y & 1)]) + self.x_octets(a)

    def decode(self, octets: bytes) -> Point:
        """The point of a SEC 1 encoding, compressed or not. Raises InvalidPublicKey when it is off the
        curve.
        """
        size = self.size
        if len(octets) == 2 * size + 1 and octets[0] == _UNCOMPRESSED:
            return self.point(
                int.from_bytes(octets[1 : size + 1], "big"), int.from_bytes(octets[size + 1 :], "big")
            )
        if len(octets) == size + 1 and octets[0] in {2, 3}:
            return self.lift(int.from_bytes(octets[1:], "big"), octets[0] & 1)
        raise InvalidPublicKey(f"the octets are not a SEC 1 point of {self.name}")

    def x_octets(self, a: Point) -> bytes:
        """x, big-endian. Raises InvalidPublicKey for the neutral element."""
        if a.at_infinity:
            raise InvalidPublicKey("the neutral element has no x-coordinate")
        return a.x.to_bytes(self.size, "big")


P256 = WeierstrassCurve(
    "P-256",
    p=2**256 - 2**224 + 2**192 + 2**96 - 1,
    order=0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    size=32,
    base=(
        0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
        0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
    ),
    b=0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
)

P384 = WeierstrassCurve(
    "P-384",
    p=2**384 - 2**128 - 2**96 + 2**32 - 1,
    order=0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
    size=48,
    base=(
        0xAA87CA22BE8B05378EB1C71EF320AD746E1D3B628BA79B9859F741E082542A385502F25DBF55296C3A545E3872760AB7,
        0x3617DE4A96262C6F5D9E98BF9292DC29F8F41DBD289A147CE9DA3113B5F0B8C00A60B1CE1D7E819D7A431D7C90EA0E5F,
    ),
    b=0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
)
