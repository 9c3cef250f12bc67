"""The SSH keys of an account's devices in the application catalog: who has which, for every device to see."""

from __future__ import annotations

from dataclasses import dataclass

from meshhw.algorithms import PublicKey
from meshhw.keystore.api import OpenOptions
from meshhw.managers.account.stamp import is_copy
from meshhw.managers.account.stores import opened_store
from meshhw.managers.host import Host
from meshhw.schema.entry import CatalogedApplication, CatalogedApplicationSsh
from meshhw.schema.keydata import key_data, public_key
from meshhw.udf import fingerprint

STORE = "MMM_Application"


@dataclass(frozen=True, slots=True)
class ListedKey:
    """One SSH key of the account: its public part, and what it is called."""

    public: PublicKey
    comment: str


def list_key(host: Host, public: PublicKey, comment: str, account: str | None, options: OpenOptions) -> str:
    """List a key; the UDF under which it is. Its private part stays in its token.

    Raises KeyNotFound without an account, NotSupported when no role grants the catalog.
    """
    udf = fingerprint(public)
    entry = CatalogedApplicationSsh(key=udf, local_name=comment or None, client_key=key_data(public))
    with opened_store(host, STORE, options, account=account, writable=True) as store:
        store.put(udf, entry)
    return udf


def listed_keys(host: Host, account: str | None, options: OpenOptions) -> list[ListedKey]:
    """The SSH keys of all devices. Raises as `list_key`, IntegrityError for an entry that lies of its key."""
    with opened_store(host, STORE, options, account=account) as store:
        found = [entry for key, entry in store.all(CatalogedApplication) if not is_copy(key)]
    return [
        ListedKey(public_key(entry.client_key, "ClientKey"), entry.local_name or "")
        for entry in found
        if isinstance(entry, CatalogedApplicationSsh)
    ]
