"""The demo's last part: a smartcard whose maker vouches for its keys, and a key over three makers' tokens."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from meshhw.errors import IntegrityError, MeshError
from meshhw.lab.client import Lab
from meshhw.lab.faults import Fault
from meshhw.lab.part import Order
from meshhw.managers.host import Host

HOME = "makers"
NAME = "crew"
_LIBRARIES = {"pkcs11": "pkcs11", "piv": "smartcard", "tpm": "tpm2_pytss"}
"""What the tokens of this part need, by the extra that brings it."""


class Player(Protocol):
    """What this part needs of the demo."""

    def title(self, text: str) -> None: ...

    def say(self, line: str) -> None: ...

    def meshhw(
        self, *arguments: str, home: str = "home", expected: int = 0, env: dict[str, str] | None = None
    ) -> None: ...

    def read(self, name: str) -> str: ...


def play(demo: Player, directory: Path, letter: str) -> None:
    """On a virtual card, a TPM and SoftHSM; where one of them cannot be emulated, that is said instead."""
    demo.title("15. A smartcard, a TPM and an HSM share a key; the card's maker vouches for one of its own")
    lab = Lab(directory / HOME)
    if lacking := [name for name, library in _LIBRARIES.items() if find_spec(library) is None]:
        demo.say(f"   left out: pip install 'meshhw[{','.join(lacking)}]'")
        return
    try:
        env: dict[str, str] = lab.up(Order(softhsm=2, tpm=1, piv=1))["env"]
    except MeshError as missing:
        demo.say(f"   left out, they cannot be emulated here: {missing.message}")
        return
    try:
        _play(demo, Host(directory / HOME), lab, env, letter)
    finally:
        lab.down()


def _play(demo: Player, host: Host, lab: Lab, env: dict[str, str], letter: str) -> None:
    def meshhw(*arguments: str) -> None:
        demo.meshhw(*arguments, home=HOME, env=env)

    meshhw("device", "create", "--on", "piv-1", "--label", "card")
    signature = host.profile("card").key("signature").uri
    meshhw("key", "attest", signature, "--out", "attestation.json")
    holders = ("--on", "piv-1", "--on", "tpm-1", "--on", "softhsm-1")
    meshhw("threshold", "provision", NAME, "--threshold", "2", "--renewable", *holders)
    meshhw("dare", "encode", "letter.txt", "crew.dare", "--encrypt", f"threshold:{NAME}", "--sign", "card")
    demo.title("16. The HSM's token is lost and replaced; then the TPM is gone, and still it opens")
    lab.fault("softhsm-1", Fault.PULL)
    meshhw("dare", "decode", "crew.dare", "crew-1.txt")
    meshhw("threshold", "replace", NAME, "--holder", "3", "--on", "softhsm-2")
    lab.fault("tpm-1", Fault.PULL)
    meshhw("dare", "decode", "crew.dare", "crew-2.txt")
    meshhw("threshold", "show", NAME)
    if {demo.read("crew-1.txt"), demo.read("crew-2.txt")} != {letter}:
        raise IntegrityError("the letter that two holders decrypted is not the one that was encrypted")
