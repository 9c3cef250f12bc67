"""The task of one signer: nonces live and die in this process; the share is unsealed in round two only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshhw.curves.check import decode_checked
from meshhw.errors import ShareError
from meshhw.managers.threshold.purpose import Place, Purpose, scalar_from
from meshhw.managers.threshold.tokens import OpenTokens
from meshhw.threshold.ciphersuite import suite_of
from meshhw.threshold.frost import (
    Session,
    commit,
    decode_commitment,
    encode_commitment,
    make_nonces,
    sign_share,
)


def sign(arguments: dict[str, Any], tokens: OpenTokens, tell: Callable[[Any], Any]) -> bytes:
    """Commit, see the message and everybody's commitments, answer once.

    `arguments`: algorithm, public (the group's point), identifier, index, generation, share (its point),
    token, sealed, nonce_key. Raises ShareError when the own commitment is not on the list as it was made.
    """
    suite, index = suite_of(arguments["algorithm"]), arguments["index"]
    public = decode_checked(suite.curve, arguments["public"])
    share = decode_checked(suite.curve, arguments["share"])
    nonces = make_nonces(suite, arguments["nonce_key"])
    own = encode_commitment(suite, commit(suite, index, nonces))
    asked = tell(own)
    if own not in asked["commitments"]:
        raise ShareError(f"the list holds another commitment of signer {index}", holder=str(index))
    listed = tuple(decode_commitment(suite, octets) for octets in asked["commitments"])
    session = Session(suite, public, asked["message"], listed)
    bound = Purpose.SIGNING.octets(
        arguments["identifier"], public, Place(index, arguments["generation"], share)
    )
    secret = tokens.sealer(arguments["token"]).unseal(arguments["sealed"], bound)
    return suite.encode_scalar(sign_share(session, index, scalar_from(suite.curve, secret), nonces))
