"""Escrow shares kept by tokens, as private data behind their PINs, in place of sheets of paper."""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from meshhw.errors import Ambiguous, IntegrityError, KeyNotFound, MeshError, NotSupported, UsageError
from meshhw.keystore import registry
from meshhw.keystore.api import OpenOptions, StoresData
from meshhw.keystore.uri import TokenURI
from meshhw.managers.account.escrow import Sheet

PREFIX = "meshhw/share/"


def provision(sheets: Sequence[Sheet], tokens: Sequence[TokenURI], options: OpenOptions) -> list[Sheet]:
    """Give one share to each token, and read it back; the sheets that are left for paper. If one token
    refuses, the others keep what they had before.

    Raises UsageError for a token that is named twice or more tokens than shares, NotSupported for a token
    that keeps no data, TokenFull.
    """
    if len(set(tokens)) != len(tokens):
        raise UsageError("a token is named twice: each share has a token of its own")
    if len(tokens) > len(sheets):
        raise UsageError(f"{len(tokens)} tokens are named for {len(sheets)} shares")
    before: list[tuple[TokenURI, str, bytes | None]] = []
    try:
        for sheet, token in zip(sheets, tokens, strict=False):
            with _opened(token, options) as store:
                name = PREFIX + sheet.udf
                before.append((token, name, store.load_data(name)))
                _keep(sheet, name, store)
    except BaseException:
        for token, name, data in before:
            _put_back(token, name, data, options)
        raise
    return list(sheets[len(tokens) :])


def share_on(token: TokenURI, options: OpenOptions, account: str | None = None) -> str:
    """The share that a token keeps, with the name of its account.

    Raises KeyNotFound when it keeps none, Ambiguous for shares of several accounts.
    """
    with _opened(token, options) as store:
        names = [name for name in store.data_names() if name.startswith(PREFIX)]
        fitting = [name for name in names if account in (None, name.removeprefix(PREFIX))]
        if not fitting:
            raise KeyNotFound(f"{token} keeps no share of an account")
        if len(fitting) > 1:
            shown = tuple(name.removeprefix(PREFIX) for name in fitting)
            raise Ambiguous(f"{token} keeps shares of {len(fitting)} accounts", candidates=shown)
        return (store.load_data(fitting[0]) or b"").decode("ascii", "replace")


def _keep(sheet: Sheet, name: str, store: StoresData) -> None:
    store.store_data(name, sheet.code.encode(), private=True)
    if not hmac.compare_digest(store.load_data(name) or b"", sheet.code.encode()):
        raise IntegrityError("a token does not give back the share that it was given")


def _put_back(token: TokenURI, name: str, data: bytes | None, options: OpenOptions) -> None:
    try:
        with _opened(token, options) as store:
            if data is None:
                store.delete_data(name)
            else:
                store.store_data(name, data, private=True)
    except MeshError:  # the fault that is on its way says more
        return


@contextmanager
def _opened(token: TokenURI, options: OpenOptions) -> Iterator[StoresData]:
    found = registry.open_token(token, options)
    try:
        if not isinstance(found, StoresData):
            raise NotSupported(
                f"{found.info().label or token} keeps no data",
                hint="print that share, or give it to a PIV card or a software vault; a TPM keeps none, "
                "since it would be lost with its machine",
            )
        yield found
    finally:
        found.close()
