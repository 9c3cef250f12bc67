"""What this home is in an account: the machine that made it, or a device that was connected to it.

Either way it has a name there (the fingerprint of the key that it signs with), keys of stores, and a way to
sign. The machine on which the account was made has the stores' keys sealed to its token; a connected device
has those that its roles grant, encrypted to its connected key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from meshhw.dare.envelope import Envelope
from meshhw.dare.local import LocalKey
from meshhw.dare.signing import Signer
from meshhw.errors import KeyNotFound, NotSupported
from meshhw.keystore.api import OpenOptions
from meshhw.managers.account.administrators import profile_of
from meshhw.managers.account.directory import AccountDirectory
from meshhw.managers.account.granted import epochs_of, store_ring
from meshhw.managers.account.membership import Membership, membership, memberships
from meshhw.managers.account.roles import ADMINISTRATOR, STORES
from meshhw.managers.account.succession import made_on
from meshhw.managers.host import Host, ProfileRecord
from meshhw.managers.openers import signing
from meshhw.schema.activation import ActivationCommon
from meshhw.schema.keydata import public_key
from meshhw.schema.profile import ProfileUser
from meshhw.udf import fingerprint

KIND = "ProfileUser"


@dataclass(frozen=True, slots=True)
class Standing:
    """This home in one account. `record` is the account where it was made, `member` a connected device."""

    host: Host
    record: ProfileRecord | None
    member: Membership | None

    @property
    def udf(self) -> str:
        """The account profile's UDF."""
        return self._made.udf if self.member is None else self.member.udf

    @property
    def profile(self) -> ProfileUser:
        """The newest profile that is known here."""
        return profile_of(self._made) if self.member is None else self.member.profile

    @property
    def profile_envelope(self) -> Envelope:
        """The same, as it was signed."""
        return Envelope.parse(self._made.envelope) if self.member is None else self.member.profile_envelope

    @property
    def directory(self) -> AccountDirectory:
        """The account's directory."""
        return AccountDirectory(self.host.home, self.udf)

    @property
    def author(self) -> str:
        """This home's name in the account: the fingerprint of the key that signs for it."""
        if self.member is None:
            return self._made.key(ADMINISTRATOR).udf
        return fingerprint(public_key(self.member.connection.signature, "Signature"))

    @property
    def device_udf(self) -> str:
        """This home in the device catalog: the device's UDF, or `author` where the account was made."""
        return self.author if self.member is None else self.member.device.udf

    @property
    def connection(self) -> Envelope | None:
        """What an administrator has signed for this device; None where the administrator's own key signs."""
        found = self.member.entry.enveloped_connection_device if self.member else None
        return Envelope.from_array(found.array) if found else None

    def keys(self, options: OpenOptions) -> ActivationCommon:
        """The account's keys that this home may use, with one or two questions to the token."""
        return self.directory.keys(options) if self.member is None else self.member.common(options)

    def store_rings(self, options: OpenOptions) -> Mapping[str, list[LocalKey]]:
        """The keys of the stores that this home may read, of each the newest epoch's first; what is written
        goes to that one. Asks as `keys`."""
        return rings_of(self.keys(options))

    def refusal(self, store: str) -> NotSupported:
        """Why a store's key is not here."""
        roles = ", ".join(self.member.connection.roles) if self.member else "administrator"
        return NotSupported(
            f"this device is connected as {roles}, which does not grant {store}",
            hint="an administrator grants more with `meshhw account connect --roles`",
        )

    @contextmanager
    def signers(self, options: OpenOptions) -> Iterator[Sequence[Signer]]:
        """The keys that sign for this home, all together: two with `dual`. Their token is open
        until the end. Raises NotSupported."""
        if self.member is not None:
            with self.member.signers(options) as signers:
                yield signers
            return
        with signing(self._made.key(ADMINISTRATOR), self.host.home, options) as signer:
            yield [signer]

    @property
    def _made(self) -> ProfileRecord:
        if self.record is None:
            raise KeyNotFound("the account was not made on this machine")
        return self.record


def rings_of(held: ActivationCommon) -> Mapping[str, list[LocalKey]]:
    """The keys of the stores among these, of each the newest epoch's first."""
    return {name: store_ring(held, name) for name in STORES if epochs_of(held, name)}


def standing(host: Host, account: str | None = None) -> Standing:
    """This home in the account of that address or UDF; without one, in the only account here.

    Raises KeyNotFound when there is none, or several and none was named.
    """
    made_here = made_on(host, account)
    if len(made_here) > 1:
        raise KeyNotFound("several accounts are here", hint="say which with --account ADDRESS")
    if made_here:
        return Standing(host, made_here[0], None)
    return Standing(host, None, membership(host, account))


def standings(host: Host) -> list[Standing]:
    """This home in every account that it knows."""
    made = [Standing(host, record, None) for record in host.profiles(KIND)]
    here = {found.udf for found in made}
    return made + [Standing(host, None, found) for found in memberships(host) if found.udf not in here]
