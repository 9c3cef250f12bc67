"""The task of one signer: nonces live and die in this process; the share is unsealed in round two only.

It signs what one ceremony has to sign, and ends with it: the share is opened once, for the first answer, and
every answer is to a message of its own, with nonces of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from meshhw.curves.check import decode_checked
from meshhw.curves.point import Point
from meshhw.errors import ShareError
from meshhw.managers.threshold.purpose import Place, Purpose, scalar_from
from meshhw.managers.threshold.tokens import OpenTokens
from meshhw.threshold.ciphersuite import Ciphersuite, suite_of
from meshhw.threshold.frost import (
    Session,
    commit,
    decode_commitment,
    encode_commitment,
    make_nonces,
    sign_share,
)


def sign(arguments: dict[str, Any], tokens: OpenTokens, tell: Callable[[Any], Any]) -> NoReturn:
    """Commit, see the message and everybody's commitments, answer once; and again, until the manager ends the
    process. A round that it gives up, by saying nothing of a message, ends with its nonces.

    `arguments`: algorithm, public (the group's point), identifier, index, generation, share (its point),
    token, sealed, nonce_key. Raises ShareError when the own commitment is not on the list as it was made.
    """
    suite, index = suite_of(arguments["algorithm"]), arguments["index"]
    public = decode_checked(suite.curve, arguments["public"])
    scalar: int | None = None
    while True:
        nonces = make_nonces(suite, arguments["nonce_key"])
        own = encode_commitment(suite, commit(suite, index, nonces))
        asked = tell(own)
        if asked is None:
            continue
        if own not in asked["commitments"]:
            raise ShareError(f"the list holds another commitment of signer {index}", holder=str(index))
        listed = tuple(decode_commitment(suite, octets) for octets in asked["commitments"])
        session = Session(suite, public, asked["message"], listed)
        if scalar is None:
            scalar = _opened(arguments, suite, public, tokens)
        tell(suite.encode_scalar(sign_share(session, index, scalar, nonces)))


def _opened(arguments: dict[str, Any], suite: Ciphersuite, public: Point, tokens: OpenTokens) -> int:
    """The share. Its token is not kept from others after that."""
    share = decode_checked(suite.curve, arguments["share"])
    place = Place(arguments["index"], arguments["generation"], share)
    bound = Purpose.SIGNING.octets(arguments["identifier"], public, place)
    secret = tokens.sealer(arguments["token"]).unseal(arguments["sealed"], bound)
    tokens.close()
    return scalar_from(suite.curve, secret)
