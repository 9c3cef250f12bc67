"""Escrow: an account's seed in shares on paper, and the account made again from them.

What is split is the published form, the seed's UDF with its type octet, so that other Mesh tools recover it
too. A share alone does not say whose it is; every sheet therefore carries the account profile's UDF, and what
is recovered must give exactly that profile's root key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from meshhw.algorithms import Suite
from meshhw.errors import IntegrityError, InvalidName, NotSupported, ShareError, UsageError
from meshhw.keystore.api import OpenOptions
from meshhw.managers.account.authority import Founder, opened_catalog
from meshhw.managers.account.directory import AccountDirectory
from meshhw.managers.account.founding import founder_entry, founder_roles
from meshhw.managers.account.roles import SEED_NAMES
from meshhw.managers.host import Host, ProfileRecord
from meshhw.managers.profilemaking import ROOT
from meshhw.privkeys import public_key_of
from meshhw.threshold.recovery import recover, secret_octets
from meshhw.threshold.secret import SecretShare, split
from meshhw.udf import UDF, Kind, Seed, Specifier, fingerprint, same_name


@dataclass(frozen=True, slots=True)
class Sheet:
    """One share as it is written down: whose it is, which of how many, and the share itself."""

    udf: str
    address: str
    share: str = field(repr=False)
    index: int
    threshold: int
    count: int

    @property
    def title(self) -> str:
        """What a person reads above the share."""
        whose = f"{self.address} " if self.address else ""
        return f"share {self.index} of {self.count} of {whose}{self.udf}; {self.threshold} of them recover it"

    @property
    def code(self) -> str:
        """What the sheet's QR code holds, and `account recover` takes: the profile's UDF and the share."""
        return f"{self.udf} {self.share}"


@dataclass(frozen=True, slots=True)
class RecoveredSeed:
    """A seed that shares gave, the suite of its account, and what confirms it."""

    seed: Seed = field(repr=False)
    suite: Suite
    udf: str
    verified_by: str
    wrong: tuple[int, ...] = ()
    """The indices of shares that were changed or belong elsewhere."""


def root_udf(seed: Seed, suite: Suite) -> str:
    """The UDF of the account profile that this seed gives in this suite."""
    return fingerprint(public_key_of(seed.derive(suite.signature, SEED_NAMES[ROOT])))


def make_sheets(
    host: Host, record: ProfileRecord, options: OpenOptions, threshold: int, count: int
) -> list[Sheet]:
    """The seed in shares, proved to give the account again before they are returned. Changes nothing.

    Raises NotSupported for an account without a seed here, UsageError for impossible numbers, IntegrityError
    when the sealed seed is not the account's.
    """
    if record.key(ROOT).is_shared:
        raise NotSupported(
            f"the root of {record.label or record.udf} is the threshold key {record.key(ROOT).uri}, "
            "which no seed gives and no sheets bring back",
            hint="its own shares are its safety: `meshhw threshold replace`, `meshhw threshold refresh`",
        )
    seed = AccountDirectory(host.home, record.udf).seed(options)
    if seed is None:
        raise NotSupported(
            f"the seed of {record.label or record.udf} is not here, so it cannot be split",
            hint="it was escrowed and erased already, or the account's keys are native to their tokens",
        )
    if root_udf(seed, record.suite) != record.udf:
        raise IntegrityError("the sealed seed is not the one of this account")
    shares = split(secret_octets(seed.text), threshold, count)
    _prove(shares, threshold, record)
    return [Sheet(record.udf, record.label, share.text, share.index, threshold, count) for share in shares]


def erase_seed(host: Host, record: ProfileRecord) -> None:
    """Forget the seed, now that the sheets are written down."""
    AccountDirectory(host.home, record.udf).erase_seed()


def state_roles(host: Host, record: ProfileRecord, options: OpenOptions) -> None:
    """Say in the device catalog that this machine holds the seed no more, if that changes what its loss would
    mean; one signature then."""
    roles = founder_roles(record, seed=False)
    if roles == ("super",):
        return
    found = Founder(host, record, options)
    with opened_catalog(found, found.held(common=False)) as devices, found.administrator() as admin:
        before = devices.device(fingerprint(admin.public))
        devices.put(replace(founder_entry(record, admin, roles), local_name=before.local_name))


def not_covered(host: Host, record: ProfileRecord) -> tuple[str, ...]:
    """The keys of this machine that no share of the account brings back, by name."""
    return tuple(
        f"{handle.role} of {other.label or other.udf} ({handle.udf})"
        for other in host.profiles()
        if other.udf != record.udf
        for handle in other.keys
    )


def recovered_seed(texts: Sequence[str], suite: Suite | None = None) -> RecoveredSeed:
    """The seed of shares, as typed or as read from the sheets' codes.

    The account's suite is the one in which the seed gives the profile that the sheets name; bare shares give
    `suite`, or 448. Raises ShareError for too few, mixed or changed shares, InvalidName for other text.
    """
    shares, expected = _read(texts)
    found = recover(shares, expected)
    seed = _account_seed(found.text)
    suites = [suite] if suite else [option for option in Suite if expected == root_udf(seed, option)]
    chosen = suites[0] if suites else Suite.S448
    udf = root_udf(seed, chosen)
    if expected is not None and not same_name(expected, udf):
        raise ShareError(f"the shares give the account {udf}, and the sheets are of {expected}")
    return RecoveredSeed(seed, chosen, udf, found.verified_by, found.wrong)


def _prove(shares: Sequence[SecretShare], threshold: int, record: ProfileRecord) -> None:
    """Recover from the first and from the last shares, through their written form."""
    for chosen in (shares[:threshold], shares[-threshold:]):
        texts = [f"{record.udf} {share.text}" for share in chosen]
        if recovered_seed(texts, record.suite).udf != record.udf:
            raise IntegrityError("the shares do not give the account again; nothing was changed")


def _read(texts: Sequence[str]) -> tuple[list[SecretShare], str | None]:
    """The shares in these texts, and the one profile that the sheets name, if they name any."""
    shares, names = [], set()
    for word in (word for text in texts for word in text.split()):
        udf = UDF.parse(word)
        if udf.kind is Kind.SHARE:
            shares.append(SecretShare.parse(word))
        elif udf.kind in (Kind.DIGEST_SHA2, Kind.DIGEST_SHA3):
            names.add(udf.text)
        else:
            raise InvalidName("this UDF is neither a share (S...) nor the name of a profile (M...)")
    if not shares:
        raise UsageError("no share was given", hint="give shares as text, -, or @FILE")
    if len(names) > 1:
        raise ShareError(f"the sheets are of {len(names)} different accounts: {', '.join(sorted(names))}")
    return shares, names.pop() if names else None


def _account_seed(text: str) -> Seed:
    udf = UDF.parse(text)
    if udf.kind is not Kind.SEED or Seed.parse(text).specifier != Specifier.PROFILE_ACCOUNT:
        raise ShareError("the shares give a secret that is not an account's seed")
    return Seed.parse(text)
