"""Tasks of the dealing process: deal a key and give each token its share, or have the tokens make their own.

The whole scalar exists here only, while `deal` runs. Whatever fails, what was imported is destroyed again.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from meshhw.algorithms import Algorithm, Operation, PrivateKey, PublicKey
from meshhw.curves.named import curve_named
from meshhw.curves.point import Curve, Point
from meshhw.curves.scalar import field_of, token_scalar
from meshhw.errors import KeyNotFound, MeshError, ShareError
from meshhw.keystore.api import Generates, Key, KeySpec
from meshhw.keystore.uri import KeyURI
from meshhw.managers.threshold.hardening import wipe
from meshhw.managers.threshold.purpose import Place, Purpose, scalar_octets
from meshhw.managers.threshold.tokens import OpenTokens, having, require_share
from meshhw.threshold.holders import KeyHolder
from meshhw.threshold.shares import Dealing, Share
from meshhw.threshold.shares import deal as deal_shares

Tell = Callable[[Any], Any]
LEFT_BEHIND = "these keys were left behind"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What key to deal, and to which tokens (their URIs by the index of the share)."""

    identifier: bytes
    algorithm: str
    threshold: int
    generation: int
    tokens: dict[int, str]
    label: str
    sealed: bool
    """Whether shares are sealed to their tokens (for signing) rather than imported as keys."""
    renewable: bool = False
    """Whether a copy of each imported share is sealed to its token, too."""


def deal(arguments: dict[str, Any], tokens: OpenTokens, tell: Tell) -> dict[str, Any]:
    """Deal one key (`Order`). Tells the public shares before any import, and each key's URI after it, so that
    the manager can clean up whatever happens.
    """
    order = msgspec.convert(arguments, Order)
    curve = curve_named(order.algorithm)
    dealing = deal_shares(curve, field_of(curve).random(), order.threshold, list(order.tokens))
    dealer = _Dealer(order, tokens, curve, dealing)
    public = [point.encode() for point in dealing.commitments.points]
    tell({"shares": {share.index: dealer.point(share).encode() for share in dealing.shares}})
    with undone_on_error(tokens) as made:
        return {"commitments": public, "holders": [dealer.place(s, made, tell) for s in dealing.shares]}


@dataclass(frozen=True)
class _Dealer:
    """A dealing and where its shares go."""

    order: Order
    tokens: OpenTokens
    curve: Curve
    dealing: Dealing = field(repr=False)

    def point(self, share: Share) -> Point:
        """The public point of a share."""
        return self.dealing.commitments.share_point(share.index)

    def place(self, share: Share, made: list[str], tell: Tell) -> dict[str, Any]:
        """Give one token its share."""
        if self.order.sealed:
            blob = self._seal(share, Purpose.SIGNING)
            return {"index": share.index, "share": self.point(share).encode(), "sealed": blob}
        key = import_share(self.tokens, self.order.tokens[share.index], self.curve, share, self.order.label)
        made.append(str(key.uri))
        tell({"key": str(key.uri)})
        require_share(KeyHolder(share.index, key, self.point(share)))
        return {
            "index": share.index,
            "share": self.point(share).encode(),
            "key": str(key.uri),
            "tier": key.tier.value,
            "copy": self._seal(share, Purpose.RENEWAL) if self.order.renewable else None,
        }

    def _seal(self, share: Share, purpose: Purpose) -> bytes:
        bound = purpose.octets(
            self.order.identifier,
            self.dealing.commitments.public,
            Place(share.index, self.order.generation, self.point(share)),
        )
        return self.tokens.sealer(self.order.tokens[share.index]).seal(
            scalar_octets(self.curve, share.scalar), bound
        )


def import_share(tokens: OpenTokens, place: str, curve: Curve, share: Share, label: str) -> Key:
    """Load a share into a token as a key that only agrees and never comes out."""
    octets = bytearray(token_scalar(curve, share.scalar))
    algorithm = Algorithm(curve.name)
    spec = KeySpec(algorithm, label=f"{label} {share.index}", uses=frozenset({Operation.AGREE}))
    try:
        return tokens.importer(place).import_key(PrivateKey(algorithm, bytes(octets)), spec)
    finally:
        wipe(octets)


def generate(arguments: dict[str, Any], tokens: OpenTokens, tell: Tell) -> dict[str, Any]:
    """One holder of a dealerless key: its token makes its share inside, commits to it, then reveals it.

    No holder can choose its key by those of the others: all commitments are known before the first key is.
    """
    algorithm = Algorithm(arguments["algorithm"])
    curve = curve_named(algorithm)
    spec = KeySpec(
        algorithm,
        label=f"{arguments['label']} {arguments['index']}",
        uses=frozenset({Operation.AGREE}),
    )
    with undone_on_error(tokens) as made:
        token = having(tokens.token(arguments["token"]), Generates, "make a key")
        key = token.generate(spec)
        made.append(str(key.uri))
        nonce, index = secrets.token_bytes(32), arguments["index"]
        own = commitment_to(nonce, key.public)
        commitments = tell({"key": str(key.uri), "commitment": own})
        if commitments.get(index) != own:
            raise ShareError(f"the list holds another commitment of holder {index}", holder=str(index))
        revealed = tell({"nonce": nonce, "public": key.public.octets})
        check_revealed(algorithm, commitments, revealed)
        point = curve.decode(key.public.octets)
        require_share(KeyHolder(index, key, point))
        return {
            "index": index,
            "key": str(key.uri),
            "tier": key.tier.value,
            "share": point.encode(),
        }


def check_revealed(algorithm: Algorithm, commitments: dict[int, bytes], revealed: dict[int, Any]) -> None:
    """Raise ShareError unless every revealed public key is the one that was committed to, and all differ."""
    if revealed.keys() != commitments.keys():
        raise ShareError("a key was revealed that nobody committed to, or one was not revealed")
    for index, commitment in commitments.items():
        nonce, octets = revealed[index]["nonce"], revealed[index]["public"]
        if not hmac.compare_digest(commitment_to(nonce, PublicKey(algorithm, octets)), commitment):
            raise ShareError(f"holder {index} revealed another key than it committed to", holder=str(index))
    if len({told["public"] for told in revealed.values()}) != len(commitments):
        raise ShareError("two holders have the same key")


def commitment_to(nonce: bytes, public: PublicKey) -> bytes:
    """What a holder says of its key before any key is shown."""
    return hashlib.sha512(b"meshhw/threshold/commit/1" + nonce + public.octets).digest()


def destroy(arguments: dict[str, Any], tokens: OpenTokens, _tell: Tell | None) -> list[str]:
    """Destroy keys; those that are gone already are fine. The result names the ones that could not be, also
    because their tokens are not here.
    """
    left = []
    for uri in arguments["keys"]:
        if not tokens.present(KeyURI.parse(uri).token):
            left.append(uri)
            continue
        try:
            tokens.destroy(uri)
        except KeyNotFound:
            continue
        except MeshError:
            left.append(uri)
    return left


@contextmanager
def undone_on_error(tokens: OpenTokens) -> Iterator[list[str]]:
    """A list for the URIs of keys that are made in the block; they are destroyed if it raises."""
    made: list[str] = []
    try:
        yield made
    except BaseException as error:
        left = destroy({"keys": made}, tokens, None)
        if left and isinstance(error, MeshError):
            error.hint = f"{error.hint}; {LEFT_BEHIND}: {' '.join(left)}".removeprefix("; ")
        raise
