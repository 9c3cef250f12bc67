"""Octet-string secrets in shares: the published format of UDF type S (mesh-udf, sections 4.5 and appendix
A).

A share carries its threshold and index and nothing that names its set, so a share of another set, or a
changed one, is noticed only where there is something to compare with: see `meshhw.threshold.recovery`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from meshhw.curves.scalar import ScalarField
from meshhw.errors import ShareError, UsageError
from meshhw.udf.form import UDF, Kind

MAX_SHARES = 15
MAX_OCTETS = 64

# The smallest prime above 2^(8n) is 2^(8n) + _PRIME_OFFSETS[n-1] (appendix A); sixteen a line.
_TO_16 = (1, 1, 43, 15, 15, 21, 81, 13, 15, 13, 7, 61, 111, 25, 451, 51)
_TO_32 = (85, 175, 253, 7, 87, 427, 27, 133, 235, 375, 423, 735, 357, 115, 81, 297)
_TO_48 = (175, 57, 45, 127, 61, 37, 91, 27, 15, 241, 231, 55, 105, 127, 115, 231)
_TO_64 = (207, 181, 37, 235, 163, 1093, 187, 211, 21, 841, 445, 165, 777, 583, 133, 75)
_PRIME_OFFSETS = (*_TO_16, *_TO_32, *_TO_48, *_TO_64)


@dataclass(frozen=True, slots=True)
class SecretShare:
    """One share: how many are needed, its index (1 to 15), and its value, as long as the secret."""

    threshold: int
    index: int
    value: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> SecretShare:
        """The share of an S-UDF. Raises InvalidName for text that is no UDF, ShareError for another kind."""
        udf = UDF.parse(text)
        if udf.kind is not Kind.SHARE:
            raise ShareError("this UDF is not a share (type S)")
        header, value = udf.data[0], udf.data[1:]
        if not value or len(value) > MAX_OCTETS:
            raise ShareError(f"a share holds 1 to {MAX_OCTETS} octets")
        return cls(header >> 4, (header & 15) + 1, value)

    @property
    def text(self) -> str:
        """The S-UDF."""
        header = self.threshold << 4 | (self.index - 1)
        return UDF.make(Kind.SHARE, bytes([header]) + self.value).text


def prime_for(octets: int) -> int:
    """The modulus for secrets of that many octets (1 to 64)."""
    return (1 << 8 * octets) + _PRIME_OFFSETS[octets - 1]


def split(secret: bytes, threshold: int, count: int) -> list[SecretShare]:
    """`count` shares of which any `threshold` give the secret again. Raises UsageError for impossible
    numbers.
    """
    if not 2 <= threshold <= count <= MAX_SHARES:
        raise UsageError(f"shares need 2 <= threshold <= count <= {MAX_SHARES}, not {threshold} of {count}")
    if not 1 <= len(secret) <= MAX_OCTETS:
        raise UsageError(f"a secret to split has 1 to {MAX_OCTETS} octets, not {len(secret)}")
    numbers = ScalarField(prime_for(len(secret)))
    while True:
        coefficients = [int.from_bytes(secret, "big"), *(numbers.random() for _ in range(threshold - 1))]
        values = [numbers.evaluate(coefficients, x) for x in range(1, count + 1)]
        # A value between 2^(8n) and the prime has no place in n octets: such a polynomial is not used.
        if all(value >> 8 * len(secret) == 0 for value in values):
            return [
                SecretShare(threshold, x, value.to_bytes(len(secret), "big"))
                for x, value in enumerate(values, 1)
            ]


def consistent_set(shares: Sequence[SecretShare]) -> list[SecretShare]:
    """The shares without exact repetitions, if they can belong together and are enough.

    Raises ShareError that names what does not fit: thresholds, lengths, an index twice, or too few.
    """
    if not shares:
        raise ShareError("no share was given")
    kept = list(dict.fromkeys(shares))
    first = kept[0]
    for share in kept[1:]:
        if share.threshold != first.threshold:
            raise ShareError(
                f"share {share.index} needs {share.threshold} shares, share {first.index} {first.threshold}",
                hint="they are of different sets",
            )
        if len(share.value) != len(first.value):
            raise ShareError(f"shares {first.index} and {share.index} are of different length")
    if first.threshold < 1:
        raise ShareError("this share says that none is needed")
    indices = [share.index for share in kept]
    twice = sorted({index for index in indices if indices.count(index) > 1})
    if twice:
        raise ShareError(
            f"index {twice[0]} stands on two different shares", hint="one of them is of another set"
        )
    if len(kept) < first.threshold:
        raise ShareError(
            f"{first.threshold} shares are needed and {len(kept)} are here",
            hint="the same share twice counts once",
        )
    return kept


def value_at(points: Sequence[SecretShare], x: int) -> int:
    """The value at x of the one polynomial through these shares, modulo their prime (Lagrange)."""
    numbers = ScalarField(prime_for(len(points[0].value)))
    terms = []
    for point in points:
        weight, divisor = 1, 1
        for other in points:
            if other is not point:
                weight *= x - other.index
                divisor *= point.index - other.index
        factor = weight * pow(divisor, -1, numbers.order) % numbers.order
        terms.append(numbers.multiply(int.from_bytes(point.value, "big"), factor))
    return numbers.sum(terms)
