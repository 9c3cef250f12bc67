"""Tokens and a home with a device: what the tests of threshold keys share."""

from __future__ import annotations

from pathlib import Path

import msgspec
from meshhw_software.driver import SoftwareDriver
from meshhw_software.kdf import ITERATIONS, MEMORY_KIB, Cost

from meshhw.algorithms import Algorithm, Suite
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.prepare import Outline
from meshhw.dare.read import open_envelope
from meshhw.dare.write import seal
from meshhw.keystore.api import KeySpec, OpenOptions
from meshhw.keystore.interaction import PinKind, PinRequest, Scripted
from meshhw.keystore.uri import TokenURI
from meshhw.lab.pkcs11_token import Pkcs11Token
from meshhw.managers.device import DeviceManager
from meshhw.managers.host import Host
from meshhw.managers.profilemaking import ProfileRequest
from meshhw.managers.threshold import descriptor
from meshhw.managers.threshold.provision import Request, provision
from meshhw.managers.threshold.store import KeyStore, Store
from meshhw.managers.threshold.tokens import OpenTokens
from meshhw.managers.threshold.use import ThresholdPrivateKey

PAYLOAD = b"only together"
PASSPHRASE = "correct horse"


class Lab:
    """Tokens, the PINs of all of them, and a home with a device."""

    def __init__(self, home: Path, tokens: list[Pkcs11Token]) -> None:
        self.pins = {token.label: token.pin for token in tokens}
        self.options = OpenOptions(interaction=Scripted(self.pin))
        self.host = Host(home)
        self.store: KeyStore = Store(home).at("team")
        self.vault = TokenURI.make("software", vault=str(home / "holder"))
        self.uris = [token.uri for token in tokens]
        device = TokenURI.make("software", vault=str(home / "device"))
        for vault in (device, self.vault):
            self._cheap(vault)
        with DeviceManager(self.host, self.options) as manager:
            manager.create(ProfileRequest(tokens=[device], suite=Suite.S25519))

    def _cheap(self, vault: TokenURI) -> None:
        """Make a vault under the cheapest passphrase that is allowed: the time here belongs to the tokens."""
        token = SoftwareDriver(Cost(MEMORY_KIB[0], ITERATIONS[0])).open(vault, self.options)
        token.delete(token.generate(KeySpec(Algorithm.ED25519)).uri)
        token.close()

    def pin(self, request: PinRequest) -> str:
        if request.kind is PinKind.VAULT:
            return PASSPHRASE
        return self.pins[request.token.get("token") or ""]

    def provision(self, request: Request) -> descriptor.Loaded:
        return provision(self.store, self.host, self.options, request)

    def envelope(self, loaded: descriptor.Loaded) -> Envelope:
        """One that is encrypted to the key."""
        public = descriptor.group_public(loaded.key("decryption"))
        return seal(PAYLOAD, Outline(readers=[RecipientKey(public)]))

    def decrypts(
        self, loaded: descriptor.Loaded, holders: tuple[int, ...], envelope: Envelope | None = None
    ) -> bool:
        """Whether these holders, and no others, open an envelope for the key."""
        envelope = envelope or self.envelope(loaded)
        with OpenTokens(self.options) as tokens:
            key = ThresholdPrivateKey(only(loaded, holders), tokens)
            return open_envelope(envelope, KeyRing([key])).payload == PAYLOAD


def only(loaded: descriptor.Loaded, holders: tuple[int, ...]) -> descriptor.Loaded:
    """The descriptor as it is when the tokens of all other holders are away."""
    key = loaded.key("decryption")
    left = tuple(holder for holder in key.holders if holder.index in holders)
    changed = msgspec.structs.replace(key, holders=left)
    return descriptor.Loaded(msgspec.structs.replace(loaded.value, decryption=changed), loaded.signer)
