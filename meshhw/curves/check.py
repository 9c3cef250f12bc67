"""Whether a peer's public point may be multiplied by a secret at all. Only public values are handled here.

For Montgomery curves a u-coordinate passes when it is canonical, lies on the curve and not on its twist,
and is not of small order. For NIST curves the point must be on the curve (the group's order is prime).
"""

from __future__ import annotations

_MONTGOMERY = {  # p, A, and log2 of the cofactor (RFC 7748 section 4)
    "X25519": (2**255 - 19, 486662, 3),
    "X448": (2**448 - 2**224 - 1, 156326, 2),
}
_NIST = {  # p and b; a is -3 (SP 800-186 section 3.2.1)
    "P-256": (
        2**256 - 2**224 + 2**192 + 2**96 - 1,
        0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
    ),
    "P-384": (
        2**384 - 2**128 - 2**96 + 2**32 - 1,
        0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
    ),
}


def is_valid_peer(curve: str, octets: bytes) -> bool:
    """Whether `octets` (u little-endian with or without a parity octet, or SEC 1 uncompressed) pass."""
    if curve in _MONTGOMERY:
        return _valid_u(octets, *_MONTGOMERY[curve])
    return _valid_sec1(octets, *_NIST[curve])


def _valid_u(octets: bytes, p: int, a: int, doublings: int) -> bool:
    u = int.from_bytes(octets[: (p.bit_length() + 7) // 8], "little")
    if u >= p or pow(u * (u * u + a * u + 1) % p, (p - 1) // 2, p) == p - 1:
        return False
    x, z = u, 1
    for _ in range(doublings):  # RFC 7748 section 5, the doubling of the ladder alone
        s, d = (x + z) ** 2 % p, (x - z) ** 2 % p
        e = (s - d) % p
        x, z = s * d % p, e * (s + (a - 2) // 4 * e) % p
    return z != 0


def _valid_sec1(octets: bytes, p: int, b: int) -> bool:
    length = (p.bit_length() + 7) // 8
    if len(octets) != 1 + 2 * length or octets[0] != 4:
        return False
    x, y = int.from_bytes(octets[1 : 1 + length], "big"), int.from_bytes(octets[1 + length :], "big")
    return x < p and y < p and (y * y - x * x * x + 3 * x - b) % p == 0
