"""New keys for stores: random, never derived from anything that a lost device may hold, and escrowed.

One statement by an administrator names the stores' new public keys, and holds the private ones for the
account's escrow key. It stands in every store that it is about, as the frame with which the new epoch begins
(`meshhw.dare.policy`), and so is wherever the store is: who recovers the account can read the store.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace

from meshhw.algorithms import Algorithm, PrivateKey, PublicKey, Suite
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import KeyFinder, RecipientKey
from meshhw.dare.policy import begin_epoch, epoch_frames, policy_of, readers_of
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_write import SequenceWriter
from meshhw.dare.signing import Signer
from meshhw.errors import IntegrityError
from meshhw.managers.account.directory import AccountDirectory
from meshhw.managers.account.granted import entry, private_data, private_key
from meshhw.managers.host import now
from meshhw.schema.activation import ActivationCommon, ActivationEntry, StoreEpochs
from meshhw.schema.assertion import enclose, open_assertion, sign_assertion
from meshhw.schema.codec import decode
from meshhw.schema.core import Enveloped
from meshhw.schema.entry import CatalogedDevice
from meshhw.schema.keydata import key_data, public_key
from meshhw.schema.profile import ProfileUser
from meshhw.udf import Seed, Specifier

_FOR_EVER = datetime(9000, 1, 1, tzinfo=UTC)


def random_key(algorithm: Algorithm) -> PrivateKey:
    """A fresh private key."""
    return Seed.generate(Specifier.ANY).derive(algorithm, secrets.token_hex(16))


def new_keys(
    held: ActivationCommon, stores: Iterable[str], suite: Suite, *, common: bool
) -> ActivationCommon:
    """Fresh keys for these stores, under the next epoch; with `common` fresh common keys of the account."""
    epoch = 1 + max((item.epoch or 0 for item in held.entries), default=0)
    entries = tuple(entry(store, random_key(suite.agreement), epoch) for store in sorted(stores))
    if not common:
        return ActivationCommon(entries=entries)
    return ActivationCommon(
        entries=entries,
        encryption=private_data(random_key(suite.agreement)),
        authentication=private_data(random_key(suite.agreement)),
        signature=private_data(random_key(suite.signature)),
    )


def rotated(profile: ProfileUser, keys: ActivationCommon) -> ProfileUser:
    """The profile with these common keys, the earlier encryption key among the previous ones."""
    if keys.encryption is None or profile.common_encryption is None:
        return profile
    return replace(
        profile,
        common_encryption=key_data(private_key(keys.encryption, "encryption").public),
        common_authentication=key_data(private_key(keys.authentication, "authentication").public),
        common_signature=key_data(private_key(keys.signature, "signature").public),
        previous_encryptions=(*profile.previous_encryptions, profile.common_encryption),
    )


def statement(
    keys: ActivationCommon,
    account: str,
    escrow: PublicKey,
    admin: Signer,
    removed: Sequence[str] = (),
    *,
    after: datetime | None = None,
) -> Envelope:
    """What an administrator says of new keys, and of the devices that left; two signatures. It is no earlier
    than the connection of the last one, made `after` all by the clock of another administrator."""
    epoch = max(item.epoch or 0 for item in keys.entries)
    said = StoreEpochs(
        updated=max(now(), after or now()),
        account_udf=account,
        epoch=epoch,
        entries=tuple(_public(item) for item in keys.entries),
        enveloped_escrow=Enveloped(enclose(keys, admin, escrow, account).array()),
        removed=tuple(removed),
    )
    return sign_assertion(said, admin, account)


def take_statements(directory: AccountDirectory, said: Iterable[Envelope]) -> None:
    """Keep statements, and begin their epochs in the stores that are there. Doing it again changes nothing.

    Raises StateError while another process writes to one of the stores, FormatError.
    """
    for statement in said:
        found = decode(statement.body, StoreEpochs)
        directory.keep_statement(statement, found.epoch or 0)
        for name, public in public_keys(statement).items():
            path = directory.path / "stores" / f"{name}.dcat"
            if path.exists():
                _begin(path, public, statement)


def statements_of(entry: CatalogedDevice) -> list[Envelope]:
    """The statements that an entry brings to its device."""
    return [Envelope.from_array(item.array) for item in entry.enveloped_store_epochs]


def needed(said: Sequence[Envelope]) -> list[Envelope]:
    """Of these statements, oldest first, those that name a newest key of some store."""
    epochs = [decode(statement.body, StoreEpochs).epoch or 0 for statement in said]
    newest = {name: epoch for epoch, one in zip(epochs, said, strict=True) for name in public_keys(one)}
    return [
        one
        for epoch, one in zip(epochs, said, strict=True)
        if any(newest[name] == epoch for name in public_keys(one))
    ]


def left_before(directory: AccountDirectory, still: Collection[str]) -> list[str]:
    """The devices that left by what was said until now, but for those that are connected `still` or anew. The
    newest statement names all of them, since who comes later gets it alone."""
    said = (decode(statement.body, StoreEpochs).removed for statement in directory.statements())
    return list(dict.fromkeys(name for names in said for name in names if name not in still))


def left_when(said: Iterable[StoreEpochs]) -> dict[str, datetime]:
    """When each device was said last to have left: a connection made later counts."""
    found: dict[str, datetime] = {}
    for one in said:
        when = one.updated or _FOR_EVER
        found |= {name: max(when, found.get(name, when)) for name in one.removed if name}
    return found


def left(directory: AccountDirectory) -> dict[str, datetime]:
    """The same, by the statements that are kept here."""
    return left_when(decode(statement.body, StoreEpochs) for statement in directory.statements())


def _begin(path: Path, public: PublicKey, said: Envelope) -> None:
    with SequenceWriter(path) as writer:
        policies = [readers_of(writer), *(policy_of(frame) for frame in epoch_frames(writer))]
        known = {reader.public.octets for policy in policies for reader in policy}
        if public.octets not in known:
            begin_epoch(writer, [RecipientKey(public)], said.octets())


def public_keys(said: Envelope) -> dict[str, PublicKey]:
    """The stores' new keys that a statement names, its signature not looked at. Raises FormatError."""
    found = decode(said.body, StoreEpochs)
    return {item.resource or "": public_key(item.key, "store key") for item in found.entries}


def statements_in(path: Path) -> list[Envelope]:
    """The statements in a store, newest first, found without any key. Raises FormatError."""
    with SequenceFile(path) as sequence:
        frames = list(epoch_frames(sequence))
        return [Envelope.parse(b"".join(sequence.body(frame))) for frame in frames]


def escrowed(said: Envelope, signers: Sequence[PublicKey], escrow: KeyFinder) -> ActivationCommon:
    """The private keys of a statement by one of `signers`, with the account's escrow key.

    Raises SignatureInvalid when none of them made it, IntegrityError when the keys are not those that it
    names.
    """
    found = open_assertion(said, StoreEpochs, signers).value
    if found.enveloped_escrow is None:
        raise IntegrityError("the statement of new store keys holds no escrow")
    inner = Envelope.from_array(found.enveloped_escrow.array)
    keys = open_assertion(inner, ActivationCommon, signers, escrow).value
    _require_named(found.entries, keys)
    return keys


def _require_named(named: Sequence[ActivationEntry], keys: ActivationCommon) -> None:
    private = {(item.resource, item.epoch): private_key(item.key, "store").public for item in keys.entries}
    for item in named:
        if private.get((item.resource, item.epoch)) != public_key(item.key, "store key"):
            raise IntegrityError(f"the escrow does not hold the key that is named for {item.resource}")


def _public(item: ActivationEntry) -> ActivationEntry:
    return replace(item, key=key_data(private_key(item.key, item.resource or "store").public))
