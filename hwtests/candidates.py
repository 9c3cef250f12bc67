"""The tokens that the conformance suite asks, each open, with what counts its calls beside its driver."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from meshhw_pkcs11.cryptoki import CryptokiError
from meshhw_pkcs11.library import loaded

from meshhw.algorithms import Algorithm, Operation
from meshhw.keystore.api import Attests, Generates, KeySpec, OpenOptions, PinPolicy, Token
from meshhw.keystore.home import VARIABLE
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.registry import open_token
from meshhw.keystore.uri import TokenURI
from meshhw.lab import shim
from meshhw.lab.piv.personality import PERSONALITIES
from meshhw.lab.piv.tlv import tlv
from meshhw.lab.piv.token import PIN, PUK
from meshhw.lab.pkcs11_token import Pkcs11Token

PKCS11_OVER_CARDS = {
    "opensc": ("/usr/lib/{}-linux-gnu/opensc-pkcs11.so", "apt-get install opensc-pkcs11"),
    "ykcs11": ("/usr/lib/{}-linux-gnu/libykcs11.so", "apt-get install ykcs11"),
}
CERTIFIED = (("9a", Operation.SIGN, 0x5FC105), ("9d", Operation.AGREE, 0x5FC10B))
"""Slots, their use, and the objects that hold their certificates (SP 800-73-4, table 3)."""


@dataclass(frozen=True)
class Candidate:
    """An open token, and how many calls it has had so far where the lab counts them too, below the driver."""

    token: Token
    counter: Callable[[], int] | None = None


def _software(request: pytest.FixtureRequest) -> Candidate:
    vault = request.getfixturevalue("tmp_path") / "vault"
    options = OpenOptions(Scripted({PinKind.VAULT: "correct horse"}))
    return Candidate(open_token(TokenURI.make("software", vault=str(vault)), options))


def _shimmed(token: Pkcs11Token, module: Path) -> Candidate:
    control = shim.Control(shim.control_of(module))
    return Candidate(token.open(), lambda: sum(control.calls().values()))


def _softhsm(request: pytest.FixtureRequest) -> Candidate:
    token, _ = request.getfixturevalue("troubled_softhsm")
    return _shimmed(token, Path(token.module_path))


def _nss(request: pytest.FixtureRequest) -> Candidate:
    token, _ = request.getfixturevalue("troubled_nss")
    return _shimmed(token, Path(Path(token.module_path).read_text().split()[1]))


def _opencryptoki(request: pytest.FixtureRequest) -> Candidate:
    return Candidate(request.getfixturevalue("opencryptoki_token").open())


def _tpm2_pkcs11(request: pytest.FixtureRequest) -> Candidate:
    return Candidate(request.getfixturevalue("tpm2_pkcs11_token").open())


def _swtpm(request: pytest.FixtureRequest) -> Candidate:
    tpm = request.getfixturevalue("swtpm_token")
    token = tpm.open()
    assert isinstance(token, Generates)  # a TPM has a PIN, and counts its tries, once a key wants one
    token.generate(KeySpec(Algorithm.P256, "protected", pin_policy=PinPolicy.ONCE))
    return Candidate(token, lambda: sum(tpm.proxy.counts.values()))


def _ctap(request: pytest.FixtureRequest) -> Candidate:
    home = request.getfixturevalue("tmp_path") / "home"
    request.getfixturevalue("monkeypatch").setenv(VARIABLE, str(home))
    virtual = request.getfixturevalue("ctap_card")
    virtual.set_pin(PIN)
    person = Scripted({PinKind.USER: PIN})
    return Candidate(virtual.open(OpenOptions(person)), lambda: len(virtual.card.commands))


def _piv(personality: str) -> Callable[[pytest.FixtureRequest], Candidate]:
    def candidate(request: pytest.FixtureRequest) -> Candidate:
        virtual = request.getfixturevalue("insert_card")(personality)
        person = Scripted({PinKind.USER: PIN, PinKind.CONTEXT: PIN, PinKind.PUK: PUK})
        token = virtual.open(OpenOptions(person))
        assert isinstance(token, Generates)  # a card seals to a key in it, so it must have one
        token.generate(KeySpec(Algorithm.P256, "seal", frozenset({Operation.AGREE})))
        return Candidate(token, virtual.card.count)

    return candidate


def _let_go(module: str) -> None:
    """Such a module keeps its connection with a reader for as long as it is initialised, and so would keep
    everybody from having a later test's card alone."""
    known = loaded(module)
    if known is not None:
        with suppress(CryptokiError):
            known.module.call("C_Finalize", None)
        known.module.stale = True  # initialised again when it is asked next


def _over_card(name: str) -> Callable[[pytest.FixtureRequest], Candidate]:
    """Somebody else's PKCS#11 module over a card that holds a signature and an agreement key."""

    def candidate(request: pytest.FixtureRequest) -> Candidate:
        pattern, hint = PKCS11_OVER_CARDS[name]
        modules = [Path(pattern.format(machine)) for machine in ("x86_64", "aarch64")]
        found = next((module for module in modules if module.exists()), None)
        if found is None:
            pytest.skip(f"{name} is not installed: {hint}")
        virtual = request.getfixturevalue("insert_card")("5.4", slot=2)
        person = Scripted({PinKind.USER: PIN, PinKind.CONTEXT: PIN, PinKind.PUK: PUK})
        native = virtual.open(OpenOptions(person))
        assert isinstance(native, Generates)
        assert isinstance(native, Attests)
        for slot, use, certificate in CERTIFIED:
            key = native.generate(KeySpec(Algorithm.P256, slot, frozenset({use}), place=slot))
            leaf = tlv(0x70, native.attest(key.uri).statement) + tlv(0x71, b"\0") + tlv(0xFE)
            virtual.card.lasting.objects[certificate] = leaf  # OpenSC shows a key by its certificate
        native.close()
        uri = TokenURI.make("pkcs11", {"module-path": str(found)})
        request.addfinalizer(partial(_let_go, str(found)))
        return Candidate(open_token(uri, OpenOptions(person)))

    return candidate


SINGLE_USE = frozenset({"bound"})
"""Cards with one slot for each use of a key, which is full before all promises have been asked for."""
CANDIDATES: dict[str, Callable[[pytest.FixtureRequest], Candidate]] = {
    "software": _software,
    "softhsm": _softhsm,
    "nss": _nss,
    "opencryptoki": _opencryptoki,
    "swtpm": _swtpm,
    "tpm2-pkcs11": _tpm2_pkcs11,
    "ctap": _ctap,
    **{f"piv-{name}": _piv(name) for name in PERSONALITIES if name not in SINGLE_USE},
    **{name: _over_card(name) for name in PKCS11_OVER_CARDS},
}
