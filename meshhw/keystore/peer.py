"""The check of a peer's public key before any token sees it (RFC 7748 section 6, SP 800-56A 5.6.2.3)."""

from __future__ import annotations

from meshhw.algorithms import Algorithm, PublicKey
from meshhw.errors import InvalidPublicKey, NotSupported


def checked_peer(algorithm: Algorithm, peer: PublicKey) -> PublicKey:
    """`peer` if a key of `algorithm` may agree with it.

    A NIST point must be on its curve; a Montgomery u must be canonical, on the curve (not its twist) and
    not of small order. Raises InvalidPublicKey, or NotSupported when the algorithms differ.
    """
    if peer.algorithm is not algorithm or not algorithm.agrees:
        raise NotSupported(f"a key of {algorithm} cannot agree with one of {peer.algorithm}")
    from meshhw.curves.check import is_valid_peer

    if not is_valid_peer(algorithm.value, peer.octets):
        raise InvalidPublicKey(
            f"the other side's {algorithm} key is off the curve or of small order",
            hint="ask for a correct public key; this one would leak or cancel the secret",
        )
    return peer
