"""Which TPM is meant: by the name of its storage primary, which the owner's seed determines."""

from __future__ import annotations

from meshhw.errors import InvalidURI, TokenMismatch
from meshhw.keystore.uri import KeyURI, TokenURI
from meshhw_tpm.store import Store


def identity(uri: TokenURI | KeyURI) -> bytes | None:
    """The name that a URI gives, None if it gives none. Raises InvalidURI."""
    name = uri.get("name")
    if name is None:
        return None
    try:
        identity = bytes.fromhex(name)
    except ValueError as error:
        raise InvalidURI(f"name={name} in the URI is not hexadecimal") from error
    if len(identity) != 34 or identity[:2] != b"\x00\x0b":
        raise InvalidURI("name in the URI is no TPM name", hint="`meshhw token list` shows it")
    return identity


def mismatch(former: Store) -> TokenMismatch:
    """The error for a TPM that is not the one that is meant, with what that one kept."""
    return TokenMismatch(
        "the TPM was cleared or replaced" + former.describe_loss(),
        hint="restore from escrow or enrol anew: what the former state protected cannot be opened",
    )
