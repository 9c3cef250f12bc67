"""Which key a `kid` names: the fingerprint of today, and on reading that of the drafts before 2020."""

from __future__ import annotations

from meshhw.algorithms import Algorithm, PublicKey
from meshhw.errors import InvalidName
from meshhw.udf import Era, fingerprint, same_name


def is_named(public: PublicKey, kid: str, era: Era = Era.CURRENT) -> bool:
    """Whether `kid` (with or without a group's `@domain`) is the fingerprint of this key in this era.

    A token does not know the sign of its X448 key, a kid does: either sign is this key, they agree alike.
    """
    return any(same_kid(kid, fingerprint(spelled, era=era)) for spelled in spellings(public))


def era_of(public: PublicKey, kid: str) -> Era | None:
    """The era in which `kid` is the fingerprint of this key; None when it is another key's."""
    return next((era for era in Era if is_named(public, kid, era)), None)


def spellings(public: PublicKey) -> tuple[PublicKey, ...]:
    """The key, and what it is where its sign is lost: PEM has no room for that of an X448 key."""
    if public.algorithm is not Algorithm.X448:
        return (public,)
    other = bytes([public.octets[-1] ^ 0x80])
    return public, PublicKey(public.algorithm, public.u + other)


def same_kid(kid: str, name: str) -> bool:
    """Whether two names are one to at least 100 bits."""
    try:
        return same_name(kid.partition("@")[0], name)
    except InvalidName:
        return False
