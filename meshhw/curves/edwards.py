"""Edwards25519 and Edwards448: decoding, encoding and addition of points (RFC 8032, sections 5.1 and 5.2)."""

from __future__ import annotations

from meshhw.curves.point import Curve, Point, square_root, with_parity
from meshhw.errors import InvalidPublicKey

P25519 = 2**255 - 19
L25519 = 2**252 + 27742317777372353535851937790883648493
P448 = 2**448 - 2**224 - 1
L448 = 2**446 - 13818066809895115352007386748515426880336692474882178609894547503885


class EdwardsCurve(Curve):
    """a x² + y² = 1 + d x² y² with a square and d not, so that one addition formula serves all pairs.

    `encoded_size` is the length of an encoded point (32 or 57 octets).
    """

    def __init__(
        self,
        name: str,
        *,
        p: int,
        order: int,
        cofactor: int,
        size: int,
        base: tuple[int, int],
        a: int,
        d: int,
        encoded_size: int,
    ) -> None:
        self.a = a
        self.d = d
        self.encoded_size = encoded_size
        super().__init__(name, p=p, order=order, cofactor=cofactor, size=size, base=base)

    def _identity(self) -> Point:
        return Point(self, 0, 1)

    def contains(self, x: int, y: int) -> bool:
        """True if (x, y) satisfies the curve equation."""
        return (self.a * x * x + y * y - 1 - self.d * x * x % self.p * y * y) % self.p == 0

    def add(self, a: Point, b: Point) -> Point:
        """a + b by the complete affine formula."""
        p = self.p
        product = self.d * a.x * b.x % p * a.y % p * b.y % p
        x = (a.x * b.y + a.y * b.x) * self._inverse(1 + product) % p
        y = (a.y * b.y - self.a * a.x * b.x) * self._inverse(1 - product) % p
        return Point(self, x, y)

    def negate(self, a: Point) -> Point:
        """-a."""
        return Point(self, -a.x % self.p, a.y)

    def encode(self, a: Point) -> bytes:
        """y little-endian with the parity of x in the last octet's top bit (RFC 8032, 5.1.2 and 5.2.2)."""
        octets = bytearray(a.y.to_bytes(self.encoded_size, "little"))
        octets[-1] |= (a.x & 1) << 7
        return bytes(octets)

    def decode(self, octets: bytes) -> Point:
        """The point of an RFC 8032 encoding. Raises InvalidPublicKey on a wrong length, a y not below p, no
        x, or -0.
        """
        if len(octets) != self.encoded_size:
            raise InvalidPublicKey(
                f"a point of {self.name} has {self.encoded_size} octets, not {len(octets)}"
            )
        parity = octets[-1] >> 7
        y = int.from_bytes(octets, "little") & ~(1 << (8 * self.encoded_size - 1))
        if y >= self.p:
            raise InvalidPublicKey(f"the encoding is not canonical on {self.name}")
        x_squared = (y * y - 1) * self._inverse(self.d * y * y - self.a) % self.p
        x = square_root(x_squared, self.p)
        if x is None or (x == 0 and parity):
            raise InvalidPublicKey(f"the octets encode no point of {self.name}")
        return Point(self, with_parity(x, parity, self.p), y)

    def x_octets(self, a: Point) -> bytes:
        """Not an agreement curve: the encoding stands for the point."""
        return self.encode(a)


ED25519 = EdwardsCurve(
    "Ed25519",
    p=P25519,
    order=L25519,
    cofactor=8,
    size=32,
    base=(
        15112221349535400772501151409588531511454012693041857206046113283949847762202,
        46316835694926478169428394003475163141307993866256225615783033603165251855960,
    ),
    a=-1,
    d=-121665 * pow(121666, -1, P25519) % P25519,
    encoded_size=32,
)

ED448 = EdwardsCurve(
    "Ed448",
    p=P448,
    order=L448,
    cofactor=4,
    size=56,
    base=(
        224580040295924300187604334099896036246789641632564134246125461686950415467406032909029192869357953282578032075146446173674602635247710,
        298819210078481492676017930443930673437544040154080242095928241372331506189835876003536878655418784733982303233503462500531545062832660,
    ),
    a=1,
    d=-39081 % P448,
    encoded_size=57,
)
