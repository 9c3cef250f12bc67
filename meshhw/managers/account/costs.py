"""What a change of the account will ask of tokens, counted before anything is asked.

An operation is one that a token does with a private key; of a quorum it is the opening of a share, once for
each holder that is asked, however much it then signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from meshhw.algorithms import PublicKey
from meshhw.keystore.uri import TokenURI
from meshhw.managers.account.authority import Authority
from meshhw.managers.account.connect import OPENINGS, SIGNATURES
from meshhw.managers.account.listing import who_lists, who_unlists
from meshhw.managers.account.request import Request
from meshhw.managers.account.rights import Rights
from meshhw.managers.host import SHARED, KeyHandle
from meshhw.managers.threshold.signer import open_signer, told_of

_TOUCHED = ("always", "cached")


@dataclass(frozen=True, slots=True)
class Cost:
    """One part of it: at most so many operations, on these tokens."""

    what: str
    operations: int
    tokens: tuple[TokenURI, ...] = ()
    touches: int = 0


def signing(
    found: Authority, signatures: int, *, by_root: bool, root_on: TokenURI | None = None
) -> list[Cost]:
    """So many signatures by the administrator, and one by the root. A quorum that is both is asked once.

    Raises TokenNotFound when too few holders of a quorum are here.
    """
    quorum, tokens = found.quorum(), tuple(found.tokens())
    if quorum is None:
        own = f"{_counted(signatures)} by this administrator's key"
        parts = [Cost(own, signatures, tokens, signatures if found.touches() else 0)]
    elif by_root and quorum == found.root_quorum(root_on):
        what = f"{_counted(signatures + 1)} by the quorum of root and administrator"
        return [_asked(found, quorum, what), Cost("", 0, tokens)]
    else:
        what = f"{_counted(signatures)} by the quorum that administers"
        parts = [_asked(found, quorum, what), Cost("", 0, tokens)]
    return [*parts, _root(found, root_on)] if by_root else parts


def connecting(
    found: Authority,
    request: Request,
    rights: Rights | None,
    *,
    root_on: TokenURI | None = None,
    holders_of: Sequence[str] = (),
) -> list[Cost]:
    """Connecting a device with these rights, or with those of a PIN, as far as they are no more than others.
    Raises as `signing`, KeyNotFound for a key that is not here."""
    parts = signing(found, SIGNATURES, by_root=rights is not None and rights.administrator, root_on=root_on)
    parts.append(Cost(f"{OPENINGS} to open the account's keys", OPENINGS))
    if rights is not None and rights.shares:
        parts += listing(found, request, holders_of)
    return parts


def listing(found: Authority, request: Request, holders_of: Sequence[str] = ()) -> list[Cost]:
    """Letting a device ask the holders of these threshold keys, else of all that may be the account's."""
    return _descriptors(found, who_lists(found.host, holders_of, request.signature, found.options))


def unlisting(found: Authority, device: PublicKey) -> list[Cost]:
    """Taking that device out of the threshold keys that list it."""
    return _descriptors(found, who_unlists(found.host, device, found.options))


def by_pin(found: Authority, root_on: TokenURI | None = None) -> list[str]:
    """What a PIN may ask besides, which says what it grants when the account's keys are open."""
    quorum = found.root_quorum(root_on)
    root = "the root key" if quorum is None else f"the root's quorum {_told(found, quorum)}"
    return [
        f"and 1 by {root} if the PIN makes an administrator",
        "and 1 by this machine's device if the PIN lets it ask holders",
    ]


def operations(parts: Sequence[Cost]) -> int:
    """All of them."""
    return sum(part.operations for part in parts)


def _descriptors(found: Authority, groups: Sequence[tuple[KeyHandle | None, list[str]]]) -> list[Cost]:
    parts = []
    for device, names in groups:
        listed = ", ".join(names)
        if device is not None:
            touches = 1 if device.touch_policy in _TOUCHED else 0
            what = f"1 by this machine's device for the threshold keys {listed}"
            parts.append(Cost(what, 1, (device.key_uri.token,), touches))
        else:
            parts.append(_asked(found, SHARED + listed, "1 in place of a device by the holders of"))
    return parts


def _root(found: Authority, root_on: TokenURI | None) -> Cost:
    quorum = found.root_quorum(root_on)
    if quorum is not None:
        return _asked(found, quorum, "1 by the root's quorum")
    at = found.root_token(root_on)
    return Cost("1 by the root key", 1, (at,) if at else (), 1 if at and found.root_touches() else 0)


def _asked(found: Authority, quorum: str, what: str) -> Cost:
    """A quorum that opens its shares once."""
    demand = open_signer(quorum, found.host.home, found.options).expected()
    tokens = tuple(TokenURI.parse(uri) for uri in demand.names)
    needed, _ = told_of(quorum, found.host.home)
    return Cost(f"{what} {_told(found, quorum)}", needed, tokens, demand.touches)


def _told(found: Authority, quorum: str) -> str:
    needed, holders = told_of(quorum, found.host.home)
    return f"{quorum.removeprefix(SHARED)} ({needed} of its {holders} holders, once each)"


def _counted(signatures: int) -> str:
    return f"{signatures} signature{'' if signatures == 1 else 's'}"
