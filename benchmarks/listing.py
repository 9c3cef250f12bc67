"""`token list` over three readers, a TPM and three modules, against the slowest of them alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.cards import daemon
from benchmarks.harness import Figure
from meshhw.keystore import registry
from meshhw.keystore.home import VARIABLE
from meshhw.lab.nss import NSS
from meshhw.lab.piv.card import PivCard
from meshhw.lab.piv.faults import Kind
from meshhw.lab.piv.token import VirtualPivToken
from meshhw.lab.softhsm import SoftHSM
from meshhw.lab.swtpm import SoftwareTpm

ANSWER_SECONDS = 0.02
"""How long a card takes for an answer; real ones take 5 to 50 ms over USB."""
FOR_EVER = 1 << 30
READERS = 3


def figures() -> Iterator[Figure]:
    """All drivers at once, in one process, after their imports."""
    with ExitStack() as running:
        directory = Path(running.enter_context(tempfile.TemporaryDirectory()))
        os.environ[VARIABLE] = str(directory / "home")
        _cards(running)
        os.environ["MESHHW_TPM_TCTI"] = running.enter_context(SoftwareTpm()).tcti
        _modules(running, directory)
        found = registry.discover()
        assert len([info for info in found.tokens if info.driver == "yubikey"]) == READERS
        alone = registry.driver("yubikey").tokens
        yardstick = "the readers alone, the slowest"
        yield Figure("list 3 readers, 1 TPM, 3 modules", registry.discover, alone, yardstick, 1.5)


def _cards(running: ExitStack) -> None:
    for reader in daemon().readers[:READERS]:
        card = PivCard("5.7")
        card.faults.plan(Kind.DELAY, ANSWER_SECONDS, times=FOR_EVER)
        running.callback(VirtualPivToken.insert(card, daemon(), reader).pull)


def _modules(running: ExitStack, directory: Path) -> None:
    softhsm = running.enter_context(SoftHSM(directory / "softhsm"))
    softhsm.add("bench")
    os.environ["SOFTHSM2_CONF"] = softhsm.env["SOFTHSM2_CONF"]
    others = [running.enter_context(NSS(label, directory / label)) for label in ("nss-1", "nss-2")]
    paths = [softhsm.module_path, *(lab.token.module_path for lab in others)]
    os.environ["MESHHW_PKCS11_MODULES"] = os.pathsep.join(paths)
