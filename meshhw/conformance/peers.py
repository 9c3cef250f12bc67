"""Bad peers that every key must refuse, in the manner of Wycheproof, made from the curves' equations."""

from __future__ import annotations

from meshhw.algorithms import Algorithm, PublicKey

_P25519 = 2**255 - 19
_P448 = 2**448 - 2**224 - 1
# Small-order u-coordinates: RFC 7748 section 7 names the danger, https://cr.yp.to/ecdh.html lists the values.
_SMALL_25519 = (
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    _P25519 - 1,
)


def bad_peers(algorithm: Algorithm) -> dict[str, PublicKey]:
    """Name of the defect -> a public key that has it."""
    if algorithm is Algorithm.X25519:
        octets = {f"small order {n}": u.to_bytes(32, "little") for n, u in enumerate(_SMALL_25519)}
        octets |= {"twist": (2).to_bytes(32, "little"), "not canonical": (_P25519 + 9).to_bytes(32, "little")}
    elif algorithm is Algorithm.X448:
        octets = {f"small order {n}": _x448(u) for n, u in enumerate((0, 1, _P448 - 1))}
        octets |= {"twist": _x448(_twist_448()), "not canonical": _x448(_P448 + 5)}
    else:
        size = algorithm.field_length
        octets = {
            "zero": b"\4" + bytes(2 * size),
            "off the curve": b"\4" + (1).to_bytes(size, "big") + (1).to_bytes(size, "big"),
            "coordinate too large": b"\4" + b"\xff" * 2 * size,
        }
    return {name: PublicKey(algorithm, value) for name, value in octets.items()}


def _x448(u: int) -> bytes:
    return u.to_bytes(56, "little") + b"\0"


def _twist_448() -> int:
    u = 2
    while pow(u * (u * u + 156326 * u + 1), (_P448 - 1) // 2, _P448) != _P448 - 1:
        u += 1
    return u
