"""Two-round threshold Schnorr signatures (RFC 9591, sections 4 and 5).

Round one: each signer makes two nonces and publishes their commitments. Round two: knowing the message and
all commitments, each signer answers with a signature share, once. The sum is an ordinary signature of the
group's key.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from meshhw.curves.check import decode_checked
from meshhw.curves.multiply import base_multiple, multiply
from meshhw.curves.point import Point
from meshhw.curves.scalar import field_of
from meshhw.errors import FormatError, InvalidPublicKey, ShareError, SignatureInvalid, UsageError
from meshhw.threshold.ciphersuite import Ciphersuite
from meshhw.threshold.shares import MAX_HOLDERS, lagrange

_RANDOM_OCTETS = 32


@dataclass(frozen=True, slots=True)
class Nonces:
    """A signer's two secret nonces. They live in the memory of one process and sign once."""

    hiding: int = field(repr=False)
    binding: int = field(repr=False)


@dataclass(frozen=True, slots=True)
class Commitment:
    """What a signer publishes in round one: the points of its nonces."""

    index: int
    hiding: Point
    binding: Point


def make_nonces(suite: Ciphersuite, nonce_key: bytes) -> Nonces:
    """Fresh nonces, H3(random || nonce key): safe if either the randomness or the holder's secret key is
    good.
    """
    return Nonces(*(suite.nonce(secrets.token_bytes(_RANDOM_OCTETS) + nonce_key) for _ in range(2)))


def commit(suite: Ciphersuite, index: int, nonces: Nonces) -> Commitment:
    """The commitment to a pair of nonces."""
    return Commitment(
        index, base_multiple(suite.curve, nonces.hiding), base_multiple(suite.curve, nonces.binding)
    )


def encode_commitment(suite: Ciphersuite, commitment: Commitment) -> bytes:
    """Identifier scalar, hiding and binding point (section 4.3)."""
    return b"".join(
        (
            suite.encode_scalar(commitment.index),
            suite.encode_point(commitment.hiding),
            suite.encode_point(commitment.binding),
        )
    )


def decode_commitment(suite: Ciphersuite, octets: bytes) -> Commitment:
    """The commitment of its encoding. Raises FormatError, ShareError for a point that is not of prime
    order.
    """
    scalar, point = suite.scalar_octets, (len(octets) - suite.scalar_octets) // 2
    index = suite.decode_scalar(octets[:scalar])
    try:
        hiding = decode_checked(suite.curve, octets[scalar : scalar + point])
        binding = decode_checked(suite.curve, octets[scalar + point :])
    except InvalidPublicKey as error:
        raise ShareError(f"signer {index} committed to no valid point", holder=str(index)) from error
    return Commitment(index, hiding, binding)


@dataclass(frozen=True, slots=True)
class Session:
    """What a signature is about: the group's key, the message and who committed to what."""

    suite: Ciphersuite
    public: Point
    message: bytes
    commitments: tuple[Commitment, ...]

    def __post_init__(self) -> None:
        indices = [commitment.index for commitment in self.commitments]
        if (
            not indices
            or sorted(set(indices)) != indices
            or not 1 <= indices[0] <= indices[-1] <= MAX_HOLDERS
        ):
            raise UsageError("signers are listed once each, in rising order")
        for commitment in self.commitments:
            if commitment.hiding.is_identity or commitment.binding.is_identity:
                raise ShareError(f"signer {commitment.index} committed to zero", holder=str(commitment.index))

    def commitment_of(self, index: int) -> Commitment:
        """The entry of a signer. Raises ShareError if it has none."""
        for commitment in self.commitments:
            if commitment.index == index:
                return commitment
        raise ShareError(f"signer {index} is not on the list", holder=str(index))

    def binding_factors(self) -> dict[int, int]:
        """Each signer's factor: it ties its answer to this message and these commitments (section 4.4)."""
        suite = self.suite
        listed = b"".join(encode_commitment(suite, commitment) for commitment in self.commitments)
        prefix = (
            suite.encode_point(self.public) + suite.message_hash(self.message) + suite.commitment_hash(listed)
        )
        return {
            commitment.index: suite.binding_factor(prefix + suite.encode_scalar(commitment.index))
            for commitment in self.commitments
        }

    def group_commitment(self, factors: dict[int, int]) -> Point:
        """R, the sum of all commitments (section 4.5)."""
        total = self.suite.curve.identity
        for commitment in self.commitments:
            total += commitment.hiding + multiply(commitment.binding, factors[commitment.index])
        if total.is_identity:
            raise ShareError("the commitments cancel each other")
        return total

    def challenge(self, group_commitment: Point) -> int:
        """c = H2(R || public key || message) (section 4.6)."""
        suite = self.suite
        encoded = suite.encode_point(group_commitment) + suite.encode_point(self.public)
        return suite.challenge(encoded + self.message)

    def factor(self, index: int) -> int:
        """The signer's Lagrange factor."""
        return lagrange(self.suite.curve.order, [c.index for c in self.commitments], index)


def sign_share(session: Session, index: int, scalar: int, nonces: Nonces) -> int:
    """Round two of one signer, who has seen the message (section 5.2).

    Raises ShareError when its own commitment is not on the list as it made it. The nonces must not be used
    again.
    """
    if commit(session.suite, index, nonces) != session.commitment_of(index):
        raise ShareError(f"the list holds another commitment of signer {index}", holder=str(index))
    numbers = field_of(session.suite.curve)
    factors = session.binding_factors()
    challenge = session.challenge(session.group_commitment(factors))
    weighted = numbers.multiply(scalar, numbers.multiply(session.factor(index), challenge))
    bound = numbers.multiply(nonces.binding, factors[index])
    return numbers.sum((nonces.hiding, bound, weighted))


def check_sign_share(session: Session, index: int, share: Point, answer: int) -> None:
    """Raise ShareError, naming the signer, unless its answer fits its commitment and public share (5.4)."""
    factors = session.binding_factors()
    challenge = session.challenge(session.group_commitment(factors))
    commitment = session.commitment_of(index)
    own = commitment.hiding + multiply(commitment.binding, factors[index])
    if base_multiple(session.suite.curve, answer) != own + multiply(share, challenge * session.factor(index)):
        raise ShareError(
            f"signer {index} gave a wrong signature share",
            holder=str(index),
            hint="sign again without this holder, and replace its share",
        )


def aggregate(session: Session, answers: dict[int, int], shares: dict[int, Point]) -> bytes:
    """The signature R || z of all signers' answers, verified (section 5.3).

    Raises ShareError that names a signer whose answer is wrong or missing.
    """
    for commitment in session.commitments:
        if commitment.index not in answers:
            raise ShareError(f"signer {commitment.index} has not answered", holder=str(commitment.index))
    suite = session.suite
    group_commitment = session.group_commitment(session.binding_factors())
    total = field_of(suite.curve).sum(answers[c.index] for c in session.commitments)
    signature = suite.encode_point(group_commitment) + suite.encode_scalar(total)
    try:
        verify(suite, session.public, session.message, signature)
    except SignatureInvalid:
        for index, answer in answers.items():
            check_sign_share(session, index, shares[index], answer)
        raise
    return signature


def verify(suite: Ciphersuite, public: Point, message: bytes, signature: bytes) -> None:
    """Check a Schnorr signature R || z of the suite's form. Raises SignatureInvalid."""
    size = len(signature) - suite.scalar_octets
    try:
        commitment = suite.curve.decode(signature[: max(size, 0)])
        response = suite.decode_scalar(signature[max(size, 0) :])
    except (InvalidPublicKey, FormatError) as error:
        raise SignatureInvalid("the signature is malformed") from error
    encoded = suite.encode_point(commitment) + suite.encode_point(public)
    challenge = suite.challenge(encoded + message)
    if base_multiple(suite.curve, response) != commitment + multiply(public, challenge):
        raise SignatureInvalid("the signature does not verify")
