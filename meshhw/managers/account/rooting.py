"""Further root keys: tokens that sign an account's profile when the first root's token is lost or broken.

The account keeps the name of its first root, which states that the other counts as well; both have signed
that, and it stands in the profile. So who knows the name alone can check what the second root signs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from meshhw.algorithms import Operation
from meshhw.dare.signing import Signer
from meshhw.errors import UsageError
from meshhw.keystore.placement import Role
from meshhw.keystore.uri import TokenURI
from meshhw.managers.host import KeyHandle, now
from meshhw.managers.profilemaking import ROOT
from meshhw.schema.assertion import MAX_FURTHER_ROOTS, sign_assertion
from meshhw.schema.core import Enveloped
from meshhw.schema.keydata import key_data
from meshhw.schema.roots import FurtherRoot
from meshhw.udf import fingerprint

ONE_ROOT = (
    "when the root's token is lost, nobody can change the list of administrators again; a second --root-on "
    "TOKEN signs in its place then, and with --root-threshold NAME any quorum of several tokens is the root"
)
SEVERAL_ROOTS = (
    "each of the root tokens alone can change the account, so keep them apart: when one is lost the others "
    "sign in its place, and whoever has one with its PIN is the account's owner"
)


def root_roles(tokens: Sequence[TokenURI]) -> dict[str, TokenURI]:
    """Which role of the account each root's token has, the first one's key naming the account.

    Raises UsageError for a token that is named twice, and for too many.
    """
    if len(set(tokens)) < len(tokens):
        raise UsageError("the same token is named twice: a second root key on it would be lost with it")
    if len(tokens) > MAX_FURTHER_ROOTS + 1:
        raise UsageError(f"an account has at most {MAX_FURTHER_ROOTS + 1} root tokens")
    names = [ROOT, *(further_root(number).name for number in range(2, len(tokens) + 1))]
    return dict(zip(names, tokens, strict=False))


def further_root(number: int) -> Role:
    """The role of a root key after the first, counted from 2."""
    return Role(f"{ROOT}-{number}", Operation.SIGN)


def is_root(role: str) -> bool:
    """Whether it is the role of a root key, the first or a further one."""
    return role == ROOT or role.startswith(f"{ROOT}-")


def further_roles(names: Iterable[str]) -> list[Role]:
    """The further roots among these roles."""
    return [Role(name, Operation.SIGN) for name in names if name != ROOT and is_root(name)]


def root_handles(keys: Iterable[KeyHandle]) -> list[KeyHandle]:
    """The root keys among these, the first one first."""
    return sorted((handle for handle in keys if is_root(handle.role)), key=lambda handle: handle.role)


def stated(signers: Mapping[str, Signer]) -> tuple[Enveloped[FurtherRoot], ...]:
    """What makes the further ones of these roots count, by role. Raises what the tokens raise."""
    root, names = signers[ROOT], sorted(filter(is_root, signers))
    return tuple(statement(root, fingerprint(root.public), signers[name]) for name in names[1:])


def statement(root: Signer, account: str, added: Signer) -> Enveloped[FurtherRoot]:
    """That `added` is a root of the account, signed by both. Raises what the tokens raise."""
    said = FurtherRoot(updated=now(), account_udf=account, root_signature=key_data(added.public))
    return Enveloped(sign_assertion(said, [root, added], fingerprint(added.public)).array())
