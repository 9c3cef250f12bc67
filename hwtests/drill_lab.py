"""The people, machines and tokens of the lost-token drill, and the thief, who has a copy of one of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from meshhw.algorithms import Suite
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import KeyRing
from meshhw.dare.prepare import Outline
from meshhw.dare.read import open_envelope
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_read import SequenceReader
from meshhw.dare.write import seal
from meshhw.errors import KeyNotFound, PinRequired
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, PinRequest, Scripted
from meshhw.keystore.uri import TokenURI
from meshhw.managers.account.authority import Authority, authority
from meshhw.managers.account.complete import complete
from meshhw.managers.account.connect import Connector
from meshhw.managers.account.devices import opened_devices
from meshhw.managers.account.granted import epochs_of, private_key
from meshhw.managers.account.membership import Membership
from meshhw.managers.account.named import recipient
from meshhw.managers.account.request import make_request, read_request
from meshhw.managers.account.rights import rights_of
from meshhw.managers.account.stamp import Stamp
from meshhw.managers.account.standing import standing
from meshhw.managers.account.stores import opened_store
from meshhw.managers.device import DeviceManager
from meshhw.managers.host import Host
from meshhw.managers.openers import Keys
from meshhw.managers.profilemaking import ProfileRequest
from meshhw.managers.sync.syncing import Report, Synchroniser
from meshhw.schema.activation import ActivationCommon
from meshhw.schema.entry import CatalogedCredential, CatalogedDevice
from tests.account.vaults import cheap_vault

ALICE = "alice@example.com"
STORE = "MMM_Credential"
Versions = dict[tuple[str, int], set[tuple[str, str, int]]]


def knowing(pins: Mapping[TokenURI, str]) -> OpenOptions:
    """Somebody who knows the PINs of these tokens and of no other, and has a vault."""

    def pin(request: PinRequest) -> str:
        if request.kind is PinKind.VAULT:
            return "a passphrase"
        for uri, known in pins.items():
            if request.token.fits(uri):
                return known
        raise PinRequired(f"nobody here knows the PIN of {request.token}")

    return OpenOptions(Scripted(pin))


@dataclass
class Machine:
    """One home of the account, and whoever sits before it."""

    host: Host
    options: OpenOptions

    @property
    def authority(self) -> Authority:
        return authority(self.host, ALICE, self.options)

    def device(self, token: TokenURI | None = None) -> None:
        """A device profile, on that token or in a vault."""
        tokens = [token] if token else cheap_vault(self.host.home, self.options)
        with DeviceManager(self.host, self.options) as manager:
            manager.create(ProfileRequest(tokens=tokens, suite=Suite.P256))

    @property
    def device_udf(self) -> str:
        return self.host.profile(None, "ProfileDevice").udf

    def ask(self, by: Machine, *roles: str) -> Envelope:
        """What an administrator's machine answers to this one's request."""
        request = make_request(self.host, self.host.profile(None, "ProfileDevice"), ALICE, self.options)
        connector = Connector(by.host, by.authority, by.options)
        return connector.connect(read_request(request.octets()), rights_of(roles))

    def join(self, by: Machine, *roles: str) -> Membership:
        return complete(self.host, self.ask(by, *roles).octets(), self.options)

    def sync(self, shared: Path) -> Report:
        return Synchroniser(standing(self.host, ALICE), shared, self.options).run()

    def entry(self, device: str) -> CatalogedDevice:
        """A device of the account, as this machine's catalog has it."""
        with opened_devices(self.host, self.options, account=ALICE) as devices:
            return devices.device(device)

    def put(self, service: str) -> None:
        with opened_store(self.host, STORE, self.options, account=ALICE, writable=True) as store:
            store.put(service, CatalogedCredential(service=service, password="x"))

    def services(self) -> set[str]:
        with opened_store(self.host, STORE, self.options, account=ALICE) as store:
            return {key for key, _ in store.all(CatalogedCredential)}

    def letter(self) -> Envelope:
        """One to the account, by what this machine knows of it."""
        return seal(b"a letter", Outline(readers=[recipient(ALICE, self.host.home)]))

    def opens(self, letter: Envelope) -> bool:
        """Whether any key that this machine reaches opens it."""
        with Keys(self.host.home, self.options) as keys:
            try:
                return open_envelope(letter, keys).payload == b"a letter"
            except KeyNotFound:
                return False

    def stolen(self, home: Path, pins: Mapping[TokenURI, str]) -> Machine:
        """A copy in the hands of somebody who has these tokens, too."""
        shutil.copytree(self.host.home, home)
        return Machine(Host(home), knowing(pins))


def opened_versions(held: ActivationCommon, copies: Sequence[Path]) -> Versions:
    """Every version of every entry that one of these keys opens in one of these copies, by store and by the
    earliest key that does: each frame is tried with each key."""
    first: dict[tuple[str, tuple[str, str, int]], int] = {}
    for path in copies:
        store = path.stem if path.stem.startswith("MMM_") else path.parent.name
        for item in epochs_of(held, store):
            epoch = item.epoch or 0
            for version in _opened(path, KeyRing([private_key(item.key, store)])):
                first[store, version] = min(epoch, first.get((store, version), epoch))
    found: Versions = {}
    for (store, version), epoch in first.items():
        found.setdefault((store, epoch), set()).add(version)
    return found


def _opened(path: Path, ring: KeyRing) -> Iterator[tuple[str, str, int]]:
    with SequenceFile(path) as sequence:
        for index in range(1, len(sequence)):
            try:
                opened = SequenceReader(sequence, ring).open(index)
            except KeyNotFound:
                continue
            if opened.content.unique_id and opened.payload:
                stamp = Stamp.of(opened.content.key_values)
                yield opened.content.unique_id, stamp.author, stamp.time
