"""Putting a shared secret together again, and saying how far the result can be trusted.

With exactly `threshold` bare shares nothing tells a right secret from a wrong one. More shares, an expected
UDF, or the inner form of a derivation seed do, and often they name the share that is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from meshhw.algorithms import Algorithm
from meshhw.errors import InvalidName, MeshError, ShareError
from meshhw.privkeys import public_key_of
from meshhw.threshold.secret import SecretShare, consistent_set, value_at
from meshhw.udf.form import UDF, Kind, same_name
from meshhw.udf.key import fingerprint
from meshhw.udf.locator import content_id
from meshhw.udf.secret import symmetric_key_id
from meshhw.udf.seed import Seed, Specifier

_PROFILE_KEYS = {
    Specifier.PROFILE_DEVICE: "BaseDeviceProfile",
    Specifier.PROFILE_ACCOUNT: "CompleteAccountProfile",
    Specifier.PROFILE_SERVICE: "BaseServiceProfile",
}
_PROFILE_ALGORITHMS = (Algorithm.ED448, Algorithm.ED25519, Algorithm.P256)


@dataclass(frozen=True, slots=True)
class Recovered:
    """A recovered secret; `verified_by` says what confirms it, empty if nothing does.

    `wrong` are the indices of shares that do not belong to it.
    """

    secret: bytes = field(repr=False)
    verified_by: str
    wrong: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        """The secret as a UDF: a derivation seed if it has that form, else a symmetric key."""
        return secret_udf(self.secret).text


def recover(shares: Sequence[SecretShare], expect: str | None = None) -> Recovered:
    """The secret of these shares, at least as many as their threshold.

    `expect` is a UDF that the secret must have: its content identifier, the identifier of a symmetric key,
    or the UDF of the profile that a seed gives. Raises ShareError, naming the wrong share where that can be
    known.
    """
    points = consistent_set(shares)
    if expect is None:
        return _by_agreement(points)
    for candidate, wrong in _candidates(points):
        if is_named(candidate, expect):
            return Recovered(candidate, f"the expected {expect}", wrong)
    raise ShareError("the shares do not give the expected secret", hint="one is changed, or of another set")


def _by_agreement(points: Sequence[SecretShare]) -> Recovered:
    """Without an expected name: the secret on which most shares agree, if they are one more than needed."""
    threshold = points[0].threshold
    found: dict[tuple[int, ...], bytes] = {}
    for secret, wrong in _candidates(points):
        if not wrong:
            return Recovered(secret, _inner_check(secret, len(points) > threshold))
        found[wrong] = secret
    if not found:
        raise ShareError("the shares give no secret", hint="one is changed, or of another set")
    fewest = min(len(wrong) for wrong in found)
    best = [wrong for wrong in found if len(wrong) == fewest]
    if len(best) == 1 and len(points) - fewest > threshold:
        return Recovered(found[best[0]], "agreement of the other shares", best[0])
    seeds = [wrong for wrong in found if _seed_in(found[wrong]) is not None]
    if len(seeds) == 1:
        return Recovered(found[seeds[0]], "the form of a derivation seed", seeds[0])
    raise ShareError(
        f"the {len(points)} shares do not belong together",
        hint="one is changed or of another set; more shares, or --expect UDF, can tell which",
    )


def _inner_check(secret: bytes, redundant: bool) -> str:
    if redundant:
        return "agreement of all shares"
    return "the form of a derivation seed" if _seed_in(secret) is not None else ""


def _candidates(points: Sequence[SecretShare]) -> Iterator[tuple[bytes, tuple[int, ...]]]:
    """Every secret that some `threshold` of the shares give, with the shares that do not lie on its
    polynomial.
    """
    seen = set()
    for chosen in combinations(points, points[0].threshold):
        wrong = tuple(
            point.index
            for point in points
            if point not in chosen and value_at(chosen, point.index) != int.from_bytes(point.value, "big")
        )
        number, length = value_at(chosen, 0), len(chosen[0].value)
        if wrong not in seen and number >> 8 * length == 0:
            seen.add(wrong)
            yield number.to_bytes(length, "big"), wrong


def secret_octets(text: str) -> bytes:
    """What is split for a secret UDF: a symmetric key without, a derivation seed with its type octet.

    Raises InvalidName for other kinds.
    """
    udf = UDF.parse(text)
    if udf.kind is Kind.SYMMETRIC:
        return udf.data
    if udf.kind is Kind.SEED:
        return udf.octets
    raise InvalidName("only a symmetric key (type E) or a derivation seed (type Z) is split")


def secret_udf(secret: bytes) -> UDF:
    """The UDF of a recovered secret: type Z if it has the inner form of a seed, else type E."""
    seed = _seed_in(secret)
    return UDF.make(Kind.SYMMETRIC, secret) if seed is None else UDF.make(Kind.SEED, seed.data)


def is_named(secret: bytes, name: str) -> bool:
    """Whether a secret has this name: the content or symmetric-key identifier of its UDF, the UDF itself,
    or the UDF of the profile whose seed it is. Raises InvalidName for a name that is no UDF.
    """
    UDF.parse(name)
    return any(same_name(made, name) for made in _names(secret))


def _names(secret: bytes) -> Iterator[str]:
    udf = secret_udf(secret)
    yield udf.text
    yield content_id(udf)
    seed = _seed_in(secret)
    if seed is None:
        yield symmetric_key_id(udf)
        return
    key_name = _PROFILE_KEYS.get(Specifier(seed.specifier))
    for algorithm in _PROFILE_ALGORITHMS if key_name else ():
        yield fingerprint(public_key_of(seed.derive(algorithm, key_name or "")))


def _seed_in(secret: bytes) -> Seed | None:
    """The seed, if the octets (after leading zeros, as escrowed seeds have them) are a Z-UDF of a known
    use.
    """
    octets = secret.lstrip(b"\0")
    if not octets or octets[0] != Kind.SEED.value:
        return None
    try:
        seed = Seed.from_data(octets[1:])
        Specifier(seed.specifier)
    except (MeshError, ValueError):
        return None
    return seed
