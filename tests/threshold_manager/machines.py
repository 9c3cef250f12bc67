"""Two machines: one that asks, and one that has holders' tokens; requests and answers travel as files."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from meshhw.algorithms import Suite
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.prepare import Outline
from meshhw.dare.read import open_envelope
from meshhw.dare.write import seal
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.uri import TokenURI
from meshhw.managers.device import DeviceManager
from meshhw.managers.host import Host
from meshhw.managers.profilemaking import ProfileRequest
from meshhw.managers.threshold import descriptor
from meshhw.managers.threshold.answering import respond
from meshhw.managers.threshold.asking import answered_keys, request
from meshhw.managers.threshold.provision import Request, provision
from meshhw.managers.threshold.signed import sign_object
from meshhw.managers.threshold.store import Store
from meshhw.managers.threshold.tokens import OpenTokens
from meshhw.schema.threshold import ThresholdRequest
from tests.threshold_manager.conftest import NewVault

PAYLOAD = b"only together"


@dataclass
class Machines:
    """A requester that has no holder's token any more, and a machine that has one."""

    home: Path
    away: Path
    options: OpenOptions
    envelope: Envelope
    vaults: list[TokenURI]
    folder: Path

    def request(self) -> bytes:
        return request(io.BytesIO(self.envelope.octets()), self.home, self.options)

    def respond(self, octets: bytes, options: OpenOptions | None = None) -> bytes:
        return respond(octets, self.away, options or self.options)

    def decrypt(self, *answers: bytes) -> bytes:
        paths = []
        for number, octets in enumerate(answers):
            path = self.folder / f"answer-{number}"
            path.write_bytes(octets)
            paths.append(path)
        with answered_keys(paths, self.home, self.options) as keys:
            return open_envelope(self.envelope, KeyRing(keys)).payload

    def signed(self, asked: ThresholdRequest, home: Path) -> bytes:
        with OpenTokens(self.options) as tokens, descriptor.device_signer(Host(home), tokens) as signer:
            return sign_object(asked, signer).octets()


def two_machines(host: Host, options: OpenOptions, new_vault: NewVault, tmp_path: Path) -> Machines:
    """A two-of-three key of vaults that both reach; which are there is up to `hide` and `show`."""
    vaults = [new_vault(name) for name in ("one", "two", "three")]
    loaded = provision(
        Store(host.home).at("team"), host, options, Request(2, vaults, Suite.S25519, signs=False)
    )
    envelope = seal(
        PAYLOAD, Outline(readers=[RecipientKey(descriptor.group_public(loaded.key("decryption")))])
    )
    away = tmp_path / "away"
    with DeviceManager(Host(away), options) as manager:
        manager.create(ProfileRequest(tokens=[new_vault("away-device")], suite=Suite.S25519))
    return Machines(host.home, away, options, envelope, vaults, tmp_path)


def hide(vault: TokenURI) -> None:
    path = Path(vault.get("vault") or "")
    path.rename(path.with_suffix(".away"))


def show(vault: TokenURI) -> None:
    path = Path(vault.get("vault") or "")
    path.with_suffix(".away").rename(path)
